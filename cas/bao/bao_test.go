package bao_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

const group = bao.GroupSize

// sizes lie around every boundary of the format: chunks, groups, complete
// trees, trees with a right edge of every kind.
var sizes = []int{
	0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 16<<10 - 1, 16 << 10, 16<<10 + 1,
	group - 1, group, group + 1, group + 1024, 2*group - 1, 2 * group, 2*group + 1,
	3*group - 1, 3 * group, 4*group + 1, 7*group + 100,
	1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 17,
}

// An object with its outboard, made by HashAt.
type object struct {
	data     []byte
	digest   cas.Digest
	outboard bao.Buffer
}

func (o *object) size() int64 { return int64(len(o.data)) }

// slice returns s as a server sends it.
func (o *object) slice(t testing.TB, s bao.Slice) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := bao.WriteSlice(&b, bytes.NewReader(o.data), o.outboard, s); err != nil {
		t.Fatalf("WriteSlice %+v: %v", s, err)
	}
	return b.Bytes()
}

var noise = sync.OnceValue(func() []byte {
	b := make([]byte, 16<<20)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
})

// newObject returns an object of random bytes. Do not change them.
func newObject(t testing.TB, size int) *object {
	t.Helper()
	o := &object{data: noise()[:size:size]}
	var err error
	o.digest, err = bao.HashAt(context.Background(), bytes.NewReader(o.data), int64(size), &o.outboard)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// decode returns the groups that a slice delivers, and how it ends.
func decode(d cas.Digest, s bao.Slice, r io.Reader) (parts []part, err error) {
	decoder, err := bao.NewDecoder(d, s, r)
	if err != nil {
		return nil, err
	}
	for {
		off, data, err := decoder.Next()
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return parts, err
		}
		parts = append(parts, part{off, bytes.Clone(data)})
	}
}

type part struct {
	off  int64
	data []byte
}

// expect fails the test if p is not what o has in that place.
func (o *object) expect(t testing.TB, p part) {
	t.Helper()
	if end := p.off + int64(len(p.data)); p.off < 0 || end > o.size() || !bytes.Equal(p.data, o.data[p.off:end]) {
		t.Fatalf("%d wrong bytes delivered at %d of %d", len(p.data), p.off, o.size())
	}
}

func isMismatch(err error) bool {
	var mismatch *cas.MismatchError
	return errors.As(err, &mismatch)
}

// ranges returns ranges of every kind that an object of size bytes has.
func ranges(size int64) (rs [][2]int64) {
	var at []int64
	for _, x := range []int64{0, 1, 1024, group - 1, group, group + 1, size / 2, size - group - 1, size - group, size - 1024, size - 1, size} {
		if x >= 0 && x <= size {
			at = append(at, x)
		}
	}
	for _, off := range at {
		for _, n := range []int64{0, 1, 4096, group, group + 1, 5 * group, size - off} {
			if off+n <= size {
				rs = append(rs, [2]int64{off, n})
			}
		}
	}
	return rs
}

// preorder returns a parent's records in the order of the Bao specification.
func preorder(outboard []byte, from, to int64) []byte {
	if to-from <= 1 {
		return nil
	}
	mid := from + 1<<(bits.Len64(uint64(to-from-1))-1)
	out := bytes.Clone(outboard[(mid-1)*64:][:64])
	out = append(out, preorder(outboard, from, mid)...)
	return append(out, preorder(outboard, mid, to)...)
}

// header returns what precedes outboards and slices in the Bao specification.
func header(size int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(size)) }

func name(size int, s bao.Slice) string {
	return fmt.Sprintf("size %d, %d bytes from %d, proof %v", size, s.Len, s.Off, s.ProveSize)
}
