package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
)

func TestOwnerSlices(t *testing.T) {
	castest.RunSlicer(t, func(t *testing.T) castest.SlicingStore { return openOwner(t, t.TempDir()) })
}

func TestClientSlices(t *testing.T) {
	castest.RunSlicer(t, func(t *testing.T) castest.SlicingStore {
		dir := t.TempDir()
		openOwner(t, dir)
		return openClient(t, dir)
	})
}

// readSlice returns the error of reading a range of data from s.
func readSlice(t testing.TB, s bao.Slicer, data []byte, off, n int64) error {
	slice := bao.Slice{Size: int64(len(data)), Off: off, Len: n, ProveSize: true}
	return castest.ReadSlice(t.Context(), s, cas.Sum(data), slice, data)
}

func expectSlice(t testing.TB, s bao.Slicer, data []byte, off, n int64) {
	t.Helper()
	if err := readSlice(t, s, data, off, n); err != nil {
		t.Fatalf("%d bytes from %d of %d: %v", n, off, len(data), err)
	}
}

// expectOutboard fails unless the outboard of data is there as it should be.
func expectOutboard(t testing.TB, s *Store, data []byte) {
	t.Helper()
	var want bao.Buffer
	d, err := bao.HashAt(t.Context(), bytes.NewReader(data), int64(len(data)), &want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(s.outboardPath(d)); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the outboard of %d bytes: %d bytes, %v, want %d bytes", len(data), len(got), err, len(want))
	}
}

func expectNoOutboard(t testing.TB, s *Store, d cas.Digest) {
	t.Helper()
	if _, err := os.Lstat(s.outboardPath(d)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("an outboard of %s: %v", d, err)
	}
}

func expectNoTemps(t testing.TB, s *Store) {
	t.Helper()
	if left, err := os.ReadDir(s.path(tmpDir)); err != nil || len(left) > 0 {
		t.Fatalf("%d temporary files are left, %v", len(left), err)
	}
}

func TestLargeObjectHasAnOutboardAsLongAsItIsThere(t *testing.T) {
	s := openOwner(t, t.TempDir())
	for _, n := range []int{rangeThreshold, rangeThreshold + 1, 70 << 20} {
		data := castest.Bytes(n, 1)
		d := put(t, s, data)
		expectNoTemps(t, s)
		if n == rangeThreshold {
			expectNoOutboard(t, s, d)
			continue
		}
		expectOutboard(t, s, data)
		s.opt.Size = 1
		evict(t, s)
		s.opt.Size = 0
		expectAbsent(t, s, d)
		expectNoOutboard(t, s, d)
	}
}

func TestOutboardGoesWithADamagedObject(t *testing.T) {
	s := openOwner(t, t.TempDir())
	data := castest.Bytes(2<<20, 1)
	d := put(t, s, data)
	writeAt(t, s.objectPath(d), 1<<20)
	if err := readSlice(t, s, data, 0, 1); !errors.Is(err, cas.ErrNotFound) {
		t.Fatalf("a slice of a damaged object: %v", err)
	}
	expectNoOutboard(t, s, d)
	put(t, s, data)
	expectSlice(t, s, data, 0, 2<<20)
}

// Caches of earlier versions have none.
func TestMissingOrCutOutboardIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	owner := openOwner(t, dir)
	data := castest.Bytes(3<<20+17, 1)
	d := put(t, owner, data)
	for _, s := range []*Store{owner, openClient(t, dir)} {
		for _, damage := range []func(string) error{os.Remove, func(path string) error { return os.Truncate(path, 100) }} {
			if err := damage(s.outboardPath(d)); err != nil {
				t.Fatal(err)
			}
			expectSlice(t, s, data, 1<<20, 1)
			expectOutboard(t, s, data)
			expectNoTemps(t, s)
		}
	}
}

func TestObjectIsProvedWhileItsOutboardIsMade(t *testing.T) {
	s := openOwner(t, t.TempDir())
	data := castest.Bytes(2<<20, 1)
	d := put(t, s, data)
	if err := os.Remove(s.outboardPath(d)); err != nil {
		t.Fatal(err)
	}
	flipUnnoticed(t, s, d, 1<<20)
	if err := readSlice(t, s, data, 0, 1); !errors.Is(err, cas.ErrNotFound) {
		t.Fatalf("a slice of a damaged object: %v", err)
	}
	expectAbsent(t, s, d)
	expectNoOutboard(t, s, d)
}

// flipUnnoticed changes the file of d and tells the index that it looks right.
func flipUnnoticed(t *testing.T, s *Store, d cas.Digest, offset int64) {
	t.Helper()
	writeAt(t, s.objectPath(d), offset)
	info := stat(t, s.objectPath(d))
	it := item{d, entry{kind: filed, size: info.Size(), identity: identityOf(info)}}
	if err := owned(s).record(t.Context(), []item{it}, limits{}); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFindsDamagedOutboards(t *testing.T) {
	s := openOwner(t, t.TempDir())
	data := castest.Bytes(2<<20, 1)
	d := put(t, s, data)
	writeAt(t, s.outboardPath(d), 64)
	if err := readSlice(t, s, data, 0, 2<<20); !errors.As(err, new(*bao.Error)) {
		t.Errorf("with a damaged outboard: %v", err)
	}
	if _, damaged := verify(t, s); len(damaged) > 0 {
		t.Errorf("damaged objects: %v", damaged)
	}
	expectSlice(t, s, data, 0, 2<<20)
	expectOutboard(t, s, data)
}

func TestRebuiltIndexKeepsOutboardsOfWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	s := openOwner(t, dir)
	here, gone := castest.Bytes(2<<20, 1), castest.Bytes(2<<20, 2)
	put(t, s, here)
	lost := put(t, s, gone)
	s.Close()
	for _, path := range []string{s.path(indexDir), s.objectPath(lost)} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	s = openOwner(t, dir)
	expectOutboard(t, s, here)
	expectNoOutboard(t, s, lost)
}

func TestSliceEndsWithItsContext(t *testing.T) {
	s := openOwner(t, t.TempDir())
	data := castest.Bytes(3<<20, 1)
	d := put(t, s, data)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := s.Slice(ctx, d, bao.Slice{Size: 3 << 20, Len: 3 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

func TestSliceIsReadableUntilItIsClosed(t *testing.T) {
	s := openOwner(t, t.TempDir())
	data := castest.Bytes(3<<20, 1)
	d := put(t, s, data)
	r, err := s.Slice(t.Context(), d, bao.Slice{Size: 3 << 20, Len: 3 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.opt.Size = 1
	evict(t, s)
	n, err := io.Copy(io.Discard, r)
	if err != nil || n != 3<<20+47*64 {
		t.Errorf("%d bytes of an evicted object: %v", n, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestSliceIsAUse(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{})
	old, used := castest.Bytes(2<<20, 1), castest.Bytes(2<<20, 2)
	put(t, s, used)
	unused := put(t, s, old)
	c.advance(time.Hour)
	expectSlice(t, s, used, 0, 1)
	s.opt.Size = 3 << 20
	evict(t, s)
	expect(t, s, used)
	expectAbsent(t, s, unused)
}
