package bao_test

import (
	"bytes"
	"io"
	"math"
	"testing"

	"github.com/fstree/fstree/cas/bao"
	reference "lukechampine.com/blake3/bao"
)

func TestSliceDeliversTheGroupsOfItsRange(t *testing.T) {
	for _, size := range sizes {
		o := newObject(t, size)
		for _, r := range ranges(o.size()) {
			for _, prove := range []bool{false, true} {
				s := bao.Slice{Size: o.size(), Off: r[0], Len: r[1], ProveSize: prove}
				b := o.slice(t, s)
				if int64(len(b)) != s.EncodedSize() {
					t.Errorf("%s: %d bytes, EncodedSize says %d", name(size, s), len(b), s.EncodedSize())
				}
				parts, err := decode(o.digest, s, bytes.NewReader(b))
				if err != nil {
					t.Fatalf("%s: %v", name(size, s), err)
				}
				expectRange(t, o, s, parts)
			}
		}
	}
}

// expectRange fails unless parts are the groups of s, in order.
func expectRange(t *testing.T, o *object, s bao.Slice, parts []part) {
	t.Helper()
	at := s.Off - s.Off%group
	for _, p := range parts {
		if p.off != at {
			t.Fatalf("%s: group at %d, want %d", name(len(o.data), s), p.off, at)
		}
		o.expect(t, p)
		at += int64(len(p.data))
	}
	if s.Len > 0 && (at < s.Off+s.Len || at >= s.Off+s.Len+group) || s.Len == 0 && len(parts) > 0 {
		t.Fatalf("%s: groups end at %d", name(len(o.data), s), at)
	}
}

func TestSliceWithoutProofIsThatOfTheBaoSpecification(t *testing.T) {
	for _, size := range sizes {
		o := newObject(t, size)
		whole, root := reference.EncodeBuf(o.data, 6, false)
		for _, r := range ranges(o.size()) {
			if r[1] == 0 {
				continue // the library and the specification differ
			}
			s := bao.Slice{Size: o.size(), Off: r[0], Len: r[1]}
			var want bytes.Buffer
			if err := reference.ExtractSlice(&want, bytes.NewReader(whole), nil, 6, uint64(s.Off), uint64(s.Len)); err != nil {
				t.Fatal(err)
			}
			got := append(header(s.Size), o.slice(t, s)...)
			if !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%s: the slice differs", name(size, s))
			}
			if data, ok := reference.VerifySlice(got, 6, uint64(s.Off), uint64(s.Len), root); !ok || !bytes.Equal(data, o.data[s.Off:s.Off+s.Len]) {
				t.Errorf("%s: the library refuses it", name(size, s))
			}
		}
	}
}

func TestRangesOutsideTheObjectAreRefused(t *testing.T) {
	o := newObject(t, 100)
	for _, s := range []bao.Slice{
		{Size: 100, Off: 101},
		{Size: 100, Off: 50, Len: 51},
		{Size: 100, Off: -1, Len: 5},
		{Size: 100, Off: 5, Len: -1},
		{Size: 100, Off: 5, Len: math.MaxInt64},
		{Size: -1},
	} {
		if err := bao.WriteSlice(io.Discard, bytes.NewReader(o.data), o.outboard, s); err == nil {
			t.Errorf("WriteSlice took %+v", s)
		}
		if _, err := bao.NewDecoder(o.digest, s, bytes.NewReader(nil)); err == nil {
			t.Errorf("NewDecoder took %+v", s)
		}
	}
}

// What a small read of a large object costs on the wire.
func TestSmallReadMovesOneGroupAndLittleMore(t *testing.T) {
	const size = 512 << 20
	var outboard bao.Buffer
	d, err := bao.HashAt(t.Context(), pattern{}, size, &outboard)
	if err != nil {
		t.Fatal(err)
	}
	const parents = 13 * 64 // above each of 8192 groups
	for _, test := range []struct {
		what string
		s    bao.Slice
		want int64
	}{
		{"the size alone", bao.Slice{Size: size, ProveSize: true}, parents + 6*64 + 1024},
		{"4 KiB", bao.Slice{Size: size, Off: 123456789 &^ 4095, Len: 4096}, parents + group},
		{"4 KiB and the size", bao.Slice{Size: size, Off: 123456789 &^ 4095, Len: 4096, ProveSize: true}, 2*parents - 64 + 6*64 + 1024 + group},
		{"16 MiB", bao.Slice{Size: size, Off: 64 << 20, Len: 16 << 20}, 16<<20 + 255*64 + 5*64},
	} {
		var b bytes.Buffer
		if err := bao.WriteSlice(&b, pattern{}, outboard, test.s); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", test.what, b.Len())
		if int64(b.Len()) != test.want || test.s.EncodedSize() != test.want {
			t.Errorf("%s: %d bytes, EncodedSize says %d, want %d", test.what, b.Len(), test.s.EncodedSize(), test.want)
		}
		if _, err := decode(d, test.s, &b); err != nil {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}

func TestEncodedSizeOfTheLargestObjectIsFound(t *testing.T) {
	s := bao.Slice{Size: math.MaxInt64, Off: 1 << 40, Len: 1 << 20, ProveSize: true}
	if n := s.EncodedSize(); n < 1<<20 || n > 1<<20+20000 {
		t.Errorf("%d bytes", n)
	}
}
