package bao_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/fstree/fstree/cas/bao"
)

func openReader(t testing.TB, o *object, data, outboard []byte) *bao.ReaderAt {
	t.Helper()
	r, err := bao.NewReaderAt(o.digest, o.size(), bytes.NewReader(data), bytes.NewReader(outboard))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReaderAtReadsLikeAFile(t *testing.T) {
	for _, size := range sizes {
		o := newObject(t, size)
		r := openReader(t, o, o.data, o.outboard)
		file := bytes.NewReader(o.data)
		for _, at := range ranges(o.size()) {
			for _, beyond := range []int64{0, 1, group} {
				got, want := make([]byte, at[1]+beyond), make([]byte, at[1]+beyond)
				n, err := r.ReadAt(got, at[0])
				m, fileErr := file.ReadAt(want, at[0])
				// bytes.Reader ends with io.EOF even if nothing was asked.
				if n != m || !bytes.Equal(got, want) || err != fileErr && len(got) > 0 {
					t.Fatalf("size %d, %d bytes at %d: %d, %v; a file: %d, %v", size, len(got), at[0], n, err, m, fileErr)
				}
			}
		}
		if size <= 4096 {
			if err := iotest.TestReader(io.NewSectionReader(r, 0, r.Size()), o.data); err != nil {
				t.Errorf("size %d: %v", size, err)
			}
		}
	}
}

func TestReaderAtIsClearAboutOffsets(t *testing.T) {
	o := newObject(t, 10)
	r := openReader(t, o, o.data, o.outboard)
	if n, err := r.ReadAt(make([]byte, 1), 10); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if n, err := r.ReadAt(make([]byte, 1), 1<<62); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
		t.Errorf("before the beginning: %v", err)
	}
}

func TestFlippedBitInAFileIsNeverServed(t *testing.T) {
	o := newObject(t, 9*group+1000)
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		bad := bytes.Clone(o.data)
		at := random.IntN(len(bad))
		bad[at] ^= 1 << random.IntN(8)
		r := openReader(t, o, bad, o.outboard)
		off := random.IntN(len(bad))
		p := make([]byte, random.IntN(len(bad)-off)+1)
		n, err := r.ReadAt(p, int64(off))
		o.expect(t, part{int64(off), p[:n]})
		touched := at/group >= off/group && at/group <= (off+len(p)-1)/group
		if touched != isMismatch(err) || !touched && err != nil {
			t.Fatalf("byte %d flipped, %d bytes read at %d: %v", at, len(p), off, err)
		}
	}
}

func TestDamagedOutboardIsToldFromDamagedBytes(t *testing.T) {
	o := newObject(t, 9*group+1000)
	p := make([]byte, len(o.data))
	for at := range o.outboard {
		bad := bytes.Clone(o.outboard)
		bad[at] ^= 1
		r := openReader(t, o, o.data, bad)
		n, err := r.ReadAt(p, 0)
		o.expect(t, part{0, p[:n]})
		if !errors.Is(err, bao.ErrOutboard) || isMismatch(err) {
			t.Fatalf("byte %d flipped: %v", at, err)
		}
	}
	for _, size := range []int{0, 63, len(o.outboard) - 1} {
		_, err := openReader(t, o, o.data, o.outboard[:size]).ReadAt(p, 0)
		if !errors.Is(err, bao.ErrOutboard) || isMismatch(err) {
			t.Errorf("outboard cut to %d bytes: %v", size, err)
		}
	}
}

func TestShortFileIsAMismatchAndABrokenDiskIsNot(t *testing.T) {
	o := newObject(t, 3*group)
	p := make([]byte, len(o.data))
	n, err := openReader(t, o, o.data[:2*group+1], o.outboard).ReadAt(p, 0)
	if n != 2*group || !isMismatch(err) {
		t.Errorf("a short file: %d, %v", n, err)
	}
	broken := errors.New("input/output error")
	for _, r := range [][2]io.ReaderAt{
		{brokenDisk{broken}, bytes.NewReader(o.outboard)},
		{bytes.NewReader(o.data), brokenDisk{broken}},
	} {
		reader, err := bao.NewReaderAt(o.digest, o.size(), r[0], r[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reader.ReadAt(p, 0); !errors.Is(err, broken) || isMismatch(err) || errors.Is(err, bao.ErrOutboard) {
			t.Errorf("a broken disk: %v", err)
		}
		if err := bao.WriteSlice(io.Discard, r[0], r[1], bao.Slice{Size: o.size(), Len: o.size(), ProveSize: true}); !errors.Is(err, broken) {
			t.Errorf("a broken disk under WriteSlice: %v", err)
		}
	}
}

type brokenDisk struct{ err error }

func (d brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, d.err }
