package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

func open(t testing.TB, dir string, opt Options) *Store {
	t.Helper()
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// own opens a store that owns its index.
func openOwner(t testing.TB, dir string) *Store {
	t.Helper()
	s := open(t, dir, Options{})
	stats(t, s)
	if _, ok := s.ways.current.(*owner); !ok {
		t.Fatalf("the first store is a %T", s.ways.current)
	}
	return s
}

// openClient opens a store whose index belongs to another one.
func openClient(t testing.TB, dir string) *Store {
	t.Helper()
	s := open(t, dir, Options{})
	stats(t, s)
	if _, ok := s.ways.current.(*client); !ok {
		t.Fatalf("the second store is a %T", s.ways.current)
	}
	return s
}

func stats(t testing.TB, s *Store) Stats {
	t.Helper()
	stats, err := s.Stats(t.Context())
	if err != nil {
		t.Fatalf("Stats: %v", err)
	}
	return stats
}

func put(t testing.TB, s *Store, data []byte) cas.Digest {
	t.Helper()
	d := cas.Sum(data)
	if err := s.Put(t.Context(), d, bytes.NewReader(data)); err != nil {
		t.Fatalf("Put of %d bytes: %v", len(data), err)
	}
	return d
}

func expect(t testing.TB, s *Store, want []byte) {
	t.Helper()
	got, err := cas.ReadAll(t.Context(), s, cas.Sum(want), 1<<30)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("Get of %d bytes: %d bytes, %v", len(want), len(got), err)
	}
}

func expectAbsent(t testing.TB, s *Store, d cas.Digest) {
	t.Helper()
	if _, err := s.Get(t.Context(), d); !errors.Is(err, cas.ErrNotFound) {
		t.Fatalf("Get: %v, want ErrNotFound", err)
	}
	present, err := s.Has(t.Context(), []cas.Digest{d})
	if err != nil || present[0] {
		t.Fatalf("Has: %v, %v, want false", present, err)
	}
}

func TestOwner(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store { return openOwner(t, t.TempDir()) })
}

func TestClient(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store {
		dir := t.TempDir()
		openOwner(t, dir)
		return openClient(t, dir)
	})
}

func TestObjectsSurviveReopening(t *testing.T) {
	dir := t.TempDir()
	small, large := castest.Bytes(5000, 1), castest.Bytes(500_000, 1)
	s := openOwner(t, dir)
	put(t, s, small)
	put(t, s, large)
	before := stats(t, s)
	s.Close()
	s = openOwner(t, dir)
	expect(t, s, small)
	expect(t, s, large)
	after := stats(t, s)
	after.Hits = before.Hits
	if after != before || after.Objects != 2 || after.Bytes != 505_000 || after.Files != 1 {
		t.Errorf("stats were %+v, are %+v", before, after)
	}
}

func TestAllStoresOnOneDirectorySeeTheSame(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 50), strings.Repeat("path", 50))
	a, b, c := openOwner(t, dir), openClient(t, dir), openClient(t, dir)
	small, large := castest.Bytes(5000, 1), castest.Bytes(500_000, 1)
	put(t, b, small)
	put(t, b, large)
	for _, s := range []*Store{a, b, c} {
		expect(t, s, small)
		expect(t, s, large)
	}
}

func TestTheNextTakesOverWhenTheOwnerCloses(t *testing.T) {
	dir := t.TempDir()
	owner := openOwner(t, dir)
	var wg sync.WaitGroup
	for worker := range 4 {
		s := openClient(t, dir)
		wg.Go(func() {
			for i := range 200 {
				data := castest.Bytes(100+worker, uint64(i))
				if err := s.Put(t.Context(), cas.Sum(data), bytes.NewReader(data)); err != nil {
					t.Errorf("Put: %v", err)
					return
				}
				if i == 100 {
					owner.Close()
				}
				if got, err := cas.ReadAll(t.Context(), s, cas.Sum(data), 1000); err != nil || !bytes.Equal(got, data) {
					t.Errorf("Get: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestLargeObjectGivesItsFile(t *testing.T) {
	s := openOwner(t, t.TempDir())
	data := castest.Bytes(100_000, 1)
	o, err := s.Get(t.Context(), put(t, s, data))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	f := o.(interface{ File() *os.File }).File()
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("the file holds %d bytes, %v", len(got), err)
	}
	info, _ := f.Stat()
	if info.Mode().Perm()&0o222 != 0 {
		t.Errorf("the file's mode is %v", info.Mode())
	}
}

func TestDamagedObjectIsAbsentUntilPutAnew(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"flipped bit": func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			os.Chmod(path, 0o600)
			if err := os.WriteFile(path, data, 0); err != nil {
				t.Fatal(err)
			}
		},
		"truncated": func(t *testing.T, path string) {
			os.Chmod(path, 0o600)
			if err := os.Truncate(path, 10); err != nil {
				t.Fatal(err)
			}
		},
		"removed": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, size := range []int{5000, 500_000} {
			t.Run(name, func(t *testing.T) {
				s := openOwner(t, t.TempDir())
				data := castest.Bytes(size, 1)
				d := put(t, s, data)
				damage(t, fileOf(t, s, d))
				expectAbsent(t, s, d)
				if left := stats(t, s); left.Objects != 0 || left.Bytes != 0 {
					t.Errorf("%d objects of %d bytes are left", left.Objects, left.Bytes)
				}
				s.Close()
				s = openOwner(t, s.dir)
				put(t, s, data)
				expect(t, s, data)
			})
		}
	}
}

// fileOf returns the file that d lies in.
func fileOf(t *testing.T, s *Store, d cas.Digest) string {
	t.Helper()
	e, err := s.lookupOne(t.Context(), d)
	if err != nil || e.kind == 0 {
		t.Fatalf("lookup: %+v, %v", e, err)
	}
	if e.kind == filed {
		return s.objectPath(d)
	}
	return s.path(packsDir, packName(e.place.pack))
}

func TestTouchedFileIsProvedOnceAndServed(t *testing.T) {
	s := openOwner(t, t.TempDir())
	data := castest.Bytes(500_000, 1)
	d := put(t, s, data)
	if err := os.Chmod(s.objectPath(d), 0o400); err != nil {
		t.Fatal(err)
	}
	expect(t, s, data)
	e, _ := s.lookupOne(t.Context(), d)
	info, _ := os.Stat(s.objectPath(d))
	if e.identity != identityOf(info) {
		t.Error("the index does not know how the file looks")
	}
}

func TestDirectoryThatIsNoCacheIsRefused(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	os.WriteFile(plain, nil, 0o600)
	shared := filepath.Join(dir, "shared")
	os.Mkdir(shared, 0o700)
	os.WriteFile(filepath.Join(shared, "other"), nil, 0o600)
	os.Chmod(shared, 0o777)
	for path, want := range map[string]string{
		plain:                     "not a directory",
		filepath.Join(plain, "x"): "not a directory",
		shared:                    "others can write",
	} {
		s, err := Open(path, Options{})
		if err == nil {
			s.Close()
			t.Fatalf("Open of %s succeeded", path)
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("Open of %s: %v, want %q", path, err, want)
		}
	}
}

func TestDirectoryIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		open(t, dir, Options{}).Close()
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Fatalf("%v, %v", info.Mode(), err)
		}
		os.Chmod(dir, 0o755)
	}
}

func TestUseAfterCloseIsAnError(t *testing.T) {
	s := openOwner(t, t.TempDir())
	s.Close()
	if err := s.Put(t.Context(), cas.Sum(nil), bytes.NewReader(nil)); !errors.Is(err, cas.ErrUnavailable) {
		t.Errorf("Put: %v", err)
	}
	if _, err := s.Get(t.Context(), cas.Sum(nil)); !errors.Is(err, cas.ErrUnavailable) {
		t.Errorf("Get: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestLeftoversOfDeadProcessesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s := openOwner(t, dir)
	s.Close()
	dead := s.path(tmpDir, "dead")
	os.WriteFile(dead, []byte("half"), 0o444)
	writer := open(t, dir, Options{})
	alive, err := writer.newTemp()
	if err != nil {
		t.Fatal(err)
	}
	defer alive.discard()
	openOwner(t, dir)
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the leftover is still there: %v", err)
	}
	if _, err := os.Stat(alive.file.Name()); err != nil {
		t.Errorf("the file of a living writer is gone: %v", err)
	}
}

func TestCancelledQuestionEnds(t *testing.T) {
	dir := t.TempDir()
	openOwner(t, dir)
	s := openClient(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Has(ctx, []cas.Digest{cas.Sum(nil)}); !errors.Is(err, context.Canceled) {
		t.Errorf("Has: %v", err)
	}
}

func TestErrorsKeepTheirCauseOnTheWay(t *testing.T) {
	err := decodeError(encodeError(&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}))
	if !errors.Is(err, syscall.ENOSPC) || err.Error() != "write x: no space left on device" {
		t.Errorf("%v", err)
	}
}

func TestDeletedDirectoryIsAnErrorNotAHang(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.patience = time.Second
	put(t, s, castest.Bytes(5000, 1))
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	for i := uint64(0); ; i++ {
		data := castest.Bytes(100, i)
		if err := s.Put(t.Context(), cas.Sum(data), bytes.NewReader(data)); err != nil {
			t.Logf("Put %d: %v", i, err)
			break
		}
		if i > 100_000 {
			t.Fatal("one can put into nothing")
		}
	}
	start := time.Now()
	t.Logf("Close: %v", s.Close())
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Close took %s", took)
	}
}
