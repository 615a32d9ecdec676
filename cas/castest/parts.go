package castest

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// SlicingStore is a store that proves parts of its objects.
type SlicingStore interface {
	cas.Store
	bao.Slicer
}

// RunSlicer tests what bao.Slicer promises, on the stores that open returns, a
// fresh and empty one for each call.
func RunSlicer(t *testing.T, open func(t *testing.T) SlicingStore) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, SlicingStore)
	}{
		{"SlicesProveTheirBytes", slices},
		{"AbsentObjectHasNoSlices", absentSlice},
		{"OtherAlgorithmsHaveNoSlices", unprovable},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// parts are ranges of an object of size bytes, around what divides it.
func parts(size int64) (ranges [][2]int64) {
	for _, r := range [][2]int64{
		{0, 1}, {0, size}, {size - 1, 1}, {size, 0}, {bao.GroupSize - 1, 2}, {3*bao.GroupSize + 5, 2 * bao.GroupSize},
	} {
		if r[0] >= 0 && r[0]+r[1] <= size {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

func slices(t *testing.T, s SlicingStore) {
	for _, n := range lengths {
		data := Bytes(n, 1)
		d := put(t, s, data)
		for _, r := range parts(int64(n)) {
			for _, proof := range []bool{true, false} {
				slice := bao.Slice{Size: int64(n), Off: r[0], Len: r[1], ProveSize: proof}
				if err := ReadSlice(t.Context(), s, d, slice, data); err != nil {
					t.Fatalf("%+v: %v", slice, err)
				}
			}
		}
	}
}

func absentSlice(t *testing.T, s SlicingStore) {
	held := put(t, s, Bytes(3<<20, 1))
	for _, test := range []struct {
		name  string
		d     cas.Digest
		slice bao.Slice
	}{
		{"absent", cas.Sum([]byte("absent")), bao.Slice{Size: 6, Len: 6, ProveSize: true}},
		{"of another size", held, bao.Slice{Size: 3<<20 + 1, Len: 1, ProveSize: true}},
	} {
		err := ReadSlice(t.Context(), s, test.d, test.slice, nil)
		if !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("%s: %v, want a not-found error", test.name, err)
		}
	}
}

func unprovable(t *testing.T, s SlicingStore) {
	data := Bytes(2<<20, 1)
	d := otherDigest(cas.SHA256, data)
	if err := s.Put(t.Context(), d, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	err := ReadSlice(t.Context(), s, d, bao.Slice{Size: 2 << 20, Len: 1, ProveSize: true}, data)
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, want errors.ErrUnsupported", err)
	}
}

func otherDigest(a cas.Algorithm, data []byte) cas.Digest {
	h := cas.NewHasher(a)
	defer h.Release()
	h.Write(data)
	return h.Digest()
}

// PartialStore is a store that keeps parts of objects.
type PartialStore interface {
	cas.Store
	bao.PartialStore
}

// RunPartials tests what bao.PartialStore promises, on the stores that open
// returns, a fresh and empty one for each call.
func RunPartials(t *testing.T, open func(t *testing.T) PartialStore) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, PartialStore)
	}{
		{"PartsAddUpToTheObject", addUp},
		{"PartsAreSharedByAllWhoOpenThem", sharedParts},
		{"MissingPartsAreNotRead", missingParts},
		{"WrongSliceIsRefused", wrongSlice},
		{"WrongSizeHarmsNobodyElse", wrongClaim},
		{"BrokenSliceKeepsWhatCame", brokenSlice},
		{"PartsArriveAtOnce", partsAtOnce},
		{"OtherAlgorithmsHaveNoParts", unprovableParts},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func openPartial(t *testing.T, in bao.PartialStore, from *Source) bao.PartialObject {
	t.Helper()
	p, err := in.OpenPartial(t.Context(), from.Digest, from.Size())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func isPresent(t *testing.T, s cas.Haser, d cas.Digest) bool {
	t.Helper()
	present, err := s.Has(t.Context(), []cas.Digest{d})
	if err != nil {
		t.Fatal(err)
	}
	return present[0]
}

func addUp(t *testing.T, s PartialStore) {
	for _, n := range []int{1<<20 + 1, 3<<20 + 17} {
		from := NewSource(n, 7)
		p := openPartial(t, s, from)
		for _, r := range parts(from.Size()) {
			if r[1] == from.Size() {
				continue
			}
			from.MustFill(t, p, r[0], r[1])
			from.Expect(t, p, r[0], r[1])
			if isPresent(t, s, from.Digest) {
				t.Fatal("the object is there before it is whole")
			}
		}
		from.MustFill(t, p, 0, from.Size())
		from.Expect(t, p, 0, from.Size())
		expect(t, s, from.Digest, from.Data)
		from.Expect(t, openPartial(t, s, from), 5, 100)
	}
}

func sharedParts(t *testing.T, s PartialStore) {
	from := NewSource(3<<20, 7)
	one, two := openPartial(t, s, from), openPartial(t, s, from)
	from.MustFill(t, one, 1<<20, 100)
	if missing := two.Missing(1<<20, 100); len(missing) != 0 {
		t.Errorf("what another has added is missing: %+v", missing)
	}
	from.Expect(t, two, 1<<20, 100)
	one.Close()
	from.Expect(t, openPartial(t, s, from), 1<<20, 100)
}

func missingParts(t *testing.T, s PartialStore) {
	from := NewSource(3<<20, 7)
	p := openPartial(t, s, from)
	from.MustFill(t, p, 0, 1)
	for _, r := range [][2]int64{{bao.GroupSize - 1, 2}, {2 << 20, 1}} {
		if _, err := p.ReadAt(make([]byte, r[1]), r[0]); !errors.Is(err, bao.ErrMissing) {
			t.Errorf("%d bytes from %d: %v, want ErrMissing", r[1], r[0], err)
		}
	}
}

func wrongSlice(t *testing.T, s PartialStore) {
	from := NewSource(3<<20, 7)
	p := openPartial(t, s, from)
	slice := p.Missing(0, 2<<20)[0]
	encoded := from.Slice(slice)
	encoded[len(encoded)-1] ^= 1
	err := p.Add(t.Context(), slice, bytes.NewReader(encoded))
	if !errors.As(err, new(*bao.Error)) {
		t.Errorf("%v, want a *bao.Error", err)
	}
	if _, err := p.ReadAt(make([]byte, 1), 2<<20-1); !errors.Is(err, bao.ErrMissing) {
		t.Errorf("the damaged part: %v, want ErrMissing", err)
	}
	from.MustFill(t, p, 0, 2<<20)
	from.Expect(t, p, 0, 2<<20)
}

func wrongClaim(t *testing.T, s PartialStore) {
	from := NewSource(3<<20, 7)
	liar, err := s.OpenPartial(t.Context(), from.Digest, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	defer liar.Close()
	encoded := from.Slice(bao.Slice{Size: from.Size(), Len: 1, ProveSize: true})
	if err := liar.Add(t.Context(), liar.Missing(0, 1)[0], bytes.NewReader(encoded)); !errors.As(err, new(*bao.Error)) {
		t.Errorf("%v, want a *bao.Error", err)
	}
	if _, err := liar.ReadAt(make([]byte, 1), 0); !errors.Is(err, bao.ErrMissing) {
		t.Errorf("%v, want ErrMissing", err)
	}
	p := openPartial(t, s, from)
	from.MustFill(t, p, 0, from.Size())
	expect(t, s, from.Digest, from.Data)
}

func brokenSlice(t *testing.T, s PartialStore) {
	from := NewSource(3<<20, 7)
	p := openPartial(t, s, from)
	slice := p.Missing(0, from.Size())[0]
	broken := io.MultiReader(bytes.NewReader(from.Slice(slice)[:1<<20]), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := p.Add(t.Context(), slice, broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want the reader's error", err)
	}
	from.Expect(t, p, 0, 512<<10)
	if rest := p.Missing(0, from.Size()); len(rest) != 1 || rest[0].Off < 512<<10 {
		t.Errorf("missing are %+v, want what did not come", rest)
	}
	from.MustFill(t, p, 0, from.Size())
	expect(t, s, from.Digest, from.Data)
}

func partsAtOnce(t *testing.T, s PartialStore) {
	from := NewSource(3<<20+17, 7)
	var all sync.WaitGroup
	for i := range int64(8) {
		p := openPartial(t, s, from)
		all.Go(func() {
			for at := range int64(8) {
				off := (i + at) % 8 * from.Size() / 8
				if err := from.Fill(t.Context(), p, off, from.Size()/8+8); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	expect(t, s, from.Digest, from.Data)
}

func unprovableParts(t *testing.T, s PartialStore) {
	_, err := s.OpenPartial(t.Context(), otherDigest(cas.SHA1, []byte("x")), 1)
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, want errors.ErrUnsupported", err)
	}
}
