package bao_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/fstree/fstree/cas/bao"
)

// victims returns small slices of every shape, to be damaged.
func victims(t testing.TB) (os []*object, ss []bao.Slice) {
	for _, size := range []int{0, 1, 1024, 3000, group, group + 1, 3*group + 1025, 7 * group} {
		o := newObject(t, size)
		for _, s := range []bao.Slice{
			{Size: o.size(), ProveSize: true},
			{Size: o.size(), Len: min(o.size(), 10), ProveSize: true},
			{Size: o.size(), Len: min(o.size(), 10)},
			{Size: o.size(), Off: o.size() / 2, Len: o.size() - o.size()/2, ProveSize: true},
		} {
			os, ss = append(os, o), append(ss, s)
		}
	}
	return os, ss
}

func TestEveryFlippedBitIsFoundAndNoWrongByteDelivered(t *testing.T) {
	objects, slices := victims(t)
	random := rand.New(rand.NewPCG(1, 2))
	for i, o := range objects {
		s := slices[i]
		good := o.slice(t, s)
		// All of what is not group data, and a sample of the rest.
		for at := 0; at < len(good); at++ {
			if at > 600 && at < len(good)-100 && random.IntN(len(good)/40+1) != 0 {
				continue
			}
			bad := bytes.Clone(good)
			bad[at] ^= 1 << random.IntN(8)
			parts, err := decode(o.digest, s, bytes.NewReader(bad))
			for _, p := range parts {
				o.expect(t, p)
			}
			if !isMismatch(err) {
				t.Fatalf("%s: byte %d of %d flipped: %v", name(len(o.data), s), at, len(good), err)
			}
		}
	}
}

func TestShortAndLongSlicesAreRefused(t *testing.T) {
	objects, slices := victims(t)
	for i, o := range objects {
		s := slices[i]
		good := o.slice(t, s)
		for _, cut := range []int{0, 1, 63, 64, 65, 500, len(good) / 2, len(good) - 1} {
			if cut >= len(good) || cut < 0 {
				continue
			}
			parts, err := decode(o.digest, s, bytes.NewReader(good[:cut]))
			for _, p := range parts {
				o.expect(t, p)
			}
			if !isMismatch(err) {
				t.Errorf("%s: cut to %d of %d: %v", name(len(o.data), s), cut, len(good), err)
			}
		}
		if _, err := decode(o.digest, s, bytes.NewReader(append(bytes.Clone(good), 0))); !isMismatch(err) {
			t.Errorf("%s: with a byte more: %v", name(len(o.data), s), err)
		}
	}
}

// forgeries returns sizes that o does not have: near ones, and some whose tree
// has the same way to most groups.
func forgeries(size int64) (forged []int64) {
	for _, other := range []int64{0, 1, size - 1, size + 1, size - 64, size + 64, size - 1024, size + 1024, size - group, size + group,
		size / 2, size * 2, (size + group - 1) / group * group, size - size%group, size - size%1024, math.MaxInt64} {
		if other >= 0 && other != size {
			forged = append(forged, other)
		}
	}
	return forged
}

func TestForgedSizeIsRefusedBeforeAnyByte(t *testing.T) {
	for _, size := range []int{0, 1, 1023, 1024, 1025, group - 1, group, group + 1, 2 * group, 5*group + 77, 64*group - 3, 1<<20 + 1} {
		o := newObject(t, size)
		for _, forged := range forgeries(o.size()) {
			s := bao.Slice{Size: forged, ProveSize: true, Len: min(forged, o.size(), 1)}
			// An honest server's bytes, and those of one that makes the best of the lie.
			for _, sent := range [][]byte{
				o.slice(t, bao.Slice{Size: o.size(), Len: s.Len, ProveSize: true}),
				lie(t, o, s),
			} {
				parts, err := decode(o.digest, s, bytes.NewReader(sent))
				if !isMismatch(err) || len(parts) > 0 {
					t.Errorf("size %d passes for %d: %d groups, %v", size, forged, len(parts), err)
				}
			}
		}
	}
}

// lie returns s as a server sends it that has only o, padded with zeros.
func lie(t testing.TB, o *object, s bao.Slice) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := bao.WriteSlice(&b, padded{o.data}, padded{o.outboard}, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type padded struct{ data []byte }

func (p padded) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	if off < int64(len(p.data)) {
		copy(b, p.data[off:])
	}
	return len(b), nil
}

// The reason for the proof of the size: without it a lie goes unnoticed. The
// bytes are right nevertheless.
func TestWithoutProofAWrongSizePassesButNoWrongByte(t *testing.T) {
	o := newObject(t, 5*group+77)
	passed := 0
	for _, forged := range forgeries(o.size()) {
		for off := int64(0); off < min(forged, o.size()); off += group {
			parts, err := decode(o.digest, bao.Slice{Size: forged, Off: off, Len: 1}, bytes.NewReader(lie(t, o, bao.Slice{Size: forged, Off: off, Len: 1})))
			for _, p := range parts {
				o.expect(t, p)
			}
			if err == nil {
				passed++
			}
		}
	}
	if passed == 0 {
		t.Error("no forged size passed: the proof of the size is for nothing")
	}
}

func TestBrokenConnectionIsNotTakenForALie(t *testing.T) {
	o := newObject(t, 5*group)
	s := bao.Slice{Size: o.size(), Len: o.size(), ProveSize: true}
	good := o.slice(t, s)
	for _, cause := range []error{errors.New("connection reset"), io.ErrUnexpectedEOF} {
		for _, cut := range []int{0, 100, 2 * group, len(good)} {
			r := io.MultiReader(bytes.NewReader(good[:cut]), iotest.ErrReader(cause))
			parts, err := decode(o.digest, s, r)
			for _, p := range parts {
				o.expect(t, p)
			}
			if !errors.Is(err, cause) || isMismatch(err) {
				t.Errorf("cut at %d: %v, want %v", cut, err, cause)
			}
		}
	}
}

func TestSliceMayArriveInAnyPieces(t *testing.T) {
	o := newObject(t, 3*group+5)
	s := bao.Slice{Size: o.size(), Off: group + 5, Len: 2 * group, ProveSize: true}
	good := o.slice(t, s)
	for _, r := range []io.Reader{
		iotest.OneByteReader(bytes.NewReader(good)),
		iotest.HalfReader(bytes.NewReader(good)),
		iotest.DataErrReader(bytes.NewReader(good)),
	} {
		parts, err := decode(o.digest, s, r)
		if err != nil {
			t.Fatal(err)
		}
		expectRange(t, o, s, parts)
	}
}

func TestErrorStaysTheSame(t *testing.T) {
	o := newObject(t, 3*group)
	d, err := bao.NewDecoder(o.digest, bao.Slice{Size: o.size(), Len: 1}, bytes.NewReader(make([]byte, 100)))
	if err != nil {
		t.Fatal(err)
	}
	_, _, first := d.Next()
	_, _, again := d.Next()
	if !isMismatch(first) || first != again {
		t.Errorf("%v, then %v", first, again)
	}
}

func FuzzDecoder(f *testing.F) {
	objects, slices := victims(f)
	for i, o := range objects {
		s := slices[i]
		f.Add(uint8(i), s.Size, s.Off, s.Len, s.ProveSize, o.slice(f, s))
	}
	f.Fuzz(func(t *testing.T, which uint8, size, off, n int64, prove bool, sent []byte) {
		o := objects[int(which)%len(objects)]
		s := bao.Slice{Size: size, Off: off, Len: n, ProveSize: prove}
		parts, err := decode(o.digest, s, bytes.NewReader(sent))
		for _, p := range parts {
			o.expect(t, p)
		}
		if prove && size != o.size() && (err == nil || len(parts) > 0) {
			t.Fatalf("%d bytes pass for %d", o.size(), size)
		}
		if err == nil && int64(len(sent)) != s.EncodedSize() {
			t.Fatalf("%d bytes pass for a slice of %d", len(sent), s.EncodedSize())
		}
	})
}
