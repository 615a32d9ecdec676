package disk

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

func verify(t *testing.T, s *Store) (Verified, map[cas.Digest]error) {
	t.Helper()
	damaged := map[cas.Digest]error{}
	v, err := s.Verify(t.Context(), func(d cas.Digest, err error) { damaged[d] = err })
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return v, damaged
}

func TestVerifyNamesWhatIsDamaged(t *testing.T) {
	dir := t.TempDir()
	owner := openOwner(t, dir)
	n := populate(t, owner)
	for _, s := range []*Store{owner, openClient(t, dir)} {
		v, damaged := verify(t, s)
		if v.Objects != int64(n)+1 || v.Bytes != stats(t, s).Bytes || len(damaged) != 0 {
			t.Errorf("%+v, damaged: %v", v, damaged)
		}
	}

	small := put(t, owner, castest.Bytes(50_000, 1))
	e, err := owner.lookupOne(t.Context(), small)
	if err != nil {
		t.Fatal(err)
	}
	writeAt(t, fileOf(t, owner, small), int64(e.place.offset)+packHeader)
	large, gone := cas.Sum(populated(30)), cas.Sum(populated(60))
	// Even a change that leaves no trace but in the bytes is found.
	before := stat(t, owner.objectPath(large))
	writeAt(t, owner.objectPath(large), 50_000)
	os.Chtimes(owner.objectPath(large), time.Time{}, before.ModTime())
	if err := os.Remove(owner.objectPath(gone)); err != nil {
		t.Fatal(err)
	}

	s := openClient(t, dir)
	_, damaged := verify(t, s)
	var mismatch *cas.MismatchError
	if len(damaged) != 3 || !errors.As(damaged[small], &mismatch) || !errors.As(damaged[large], &mismatch) || !errors.Is(damaged[gone], fs.ErrNotExist) {
		t.Fatalf("damaged: %v", damaged)
	}
	for d := range damaged {
		if err := s.SetAside(t.Context(), d); err != nil {
			t.Errorf("SetAside: %v", err)
		}
		expectAbsent(t, s, d)
	}
	if _, damaged := verify(t, s); len(damaged) != 0 {
		t.Errorf("still damaged: %v", damaged)
	}
	if left, _ := os.ReadDir(s.path(damagedDir)); len(left) != 1 {
		t.Errorf("%d files were set aside, want 1", len(left))
	}
}

func writeAt(t *testing.T, path string, offset int64) {
	t.Helper()
	os.Chmod(path, 0o600)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("wrong"), offset)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestVerifyObjectsLooksAtTheseAlone(t *testing.T) {
	s := openOwner(t, t.TempDir())
	absent := cas.Sum([]byte("never stored"))
	var ds []cas.Digest
	for _, size := range []int{10, 100_000} {
		ds = append(ds, put(t, s, castest.Bytes(size, 1)))
		put(t, s, castest.Bytes(size, 2)) // not asked for
	}
	damaged := map[cas.Digest]error{}
	v, err := s.VerifyObjects(t.Context(), append(ds, absent), func(d cas.Digest, err error) { damaged[d] = err })
	if err != nil || v.Objects != 2 || v.Bytes != 100_010 {
		t.Errorf("verified %+v, %v", v, err)
	}
	if len(damaged) != 1 || !errors.Is(damaged[absent], cas.ErrNotFound) {
		t.Errorf("damaged: %v", damaged)
	}
}
