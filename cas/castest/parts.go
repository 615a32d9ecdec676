package castest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/memory"
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
				expectSlice(t, s, d, slice, data)
			}
		}
	}
}

func expectSlice(t *testing.T, s bao.Slicer, d cas.Digest, slice bao.Slice, data []byte) {
	t.Helper()
	r, err := s.Slice(t.Context(), d, slice)
	if err != nil {
		t.Fatalf("%+v: %v", slice, err)
	}
	defer r.Close()
	decoder, err := bao.NewDecoder(d, slice, r)
	if err != nil {
		t.Fatalf("%+v: %v", slice, err)
	}
	covered := int64(0)
	for {
		off, group, err := decoder.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%+v: %v", slice, err)
		}
		if !bytes.Equal(group, data[off:off+int64(len(group))]) {
			t.Fatalf("%+v: wrong bytes at %d", slice, off)
		}
		covered += min(off+int64(len(group)), slice.Off+slice.Len) - max(off, slice.Off)
	}
	if covered != slice.Len {
		t.Errorf("%+v: %d bytes of the range came", slice, covered)
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
		err := readSlice(t.Context(), s, test.d, test.slice)
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
	err := readSlice(t.Context(), s, d, bao.Slice{Size: 2 << 20, Len: 1, ProveSize: true})
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

// readSlice returns the error of opening or reading a slice.
func readSlice(ctx context.Context, s bao.Slicer, d cas.Digest, slice bao.Slice) error {
	r, err := s.Slice(ctx, d, slice)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
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

// source is an object and a store that proves its parts.
type source struct {
	memory.Store
	data   []byte
	digest cas.Digest
}

func newSource(t *testing.T, n int) *source {
	t.Helper()
	s := &source{data: Bytes(n, 7)}
	s.digest = put(t, &s.Store, s.data)
	return s
}

func (s *source) size() int64 { return int64(len(s.data)) }

func (s *source) open(t *testing.T, in bao.PartialStore) bao.PartialObject {
	t.Helper()
	p, err := in.OpenPartial(t.Context(), s.digest, s.size())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// fill adds to p what is missing of n bytes from off.
func (s *source) fill(ctx context.Context, p bao.PartialObject, off, n int64) error {
	for _, slice := range p.Missing(off, n) {
		r, err := s.Slice(ctx, s.digest, slice)
		if err != nil {
			return err
		}
		if err := p.Add(ctx, slice, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) mustFill(t *testing.T, p bao.PartialObject, off, n int64) {
	t.Helper()
	if err := s.fill(t.Context(), p, off, n); err != nil {
		t.Fatalf("%d bytes from %d: %v", n, off, err)
	}
}

func (s *source) expect(t *testing.T, p io.ReaderAt, off, n int64) {
	t.Helper()
	got := make([]byte, n)
	m, err := p.ReadAt(got, off)
	if err != nil && (err != io.EOF || int64(m) != n) {
		t.Fatalf("%d bytes from %d: %v", n, off, err)
	}
	if !bytes.Equal(got, s.data[off:off+n]) {
		t.Fatalf("%d bytes from %d are wrong", n, off)
	}
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
		from := newSource(t, n)
		p := from.open(t, s)
		for _, r := range parts(from.size()) {
			if r[1] == from.size() {
				continue
			}
			from.mustFill(t, p, r[0], r[1])
			from.expect(t, p, r[0], r[1])
			if isPresent(t, s, from.digest) {
				t.Fatal("the object is there before it is whole")
			}
		}
		from.mustFill(t, p, 0, from.size())
		from.expect(t, p, 0, from.size())
		expect(t, s, from.digest, from.data)
		from.expect(t, from.open(t, s), 5, 100)
	}
}

func sharedParts(t *testing.T, s PartialStore) {
	from := newSource(t, 3<<20)
	one, two := from.open(t, s), from.open(t, s)
	from.mustFill(t, one, 1<<20, 100)
	if missing := two.Missing(1<<20, 100); len(missing) != 0 {
		t.Errorf("what another has added is missing: %+v", missing)
	}
	from.expect(t, two, 1<<20, 100)
	one.Close()
	from.expect(t, from.open(t, s), 1<<20, 100)
}

func missingParts(t *testing.T, s PartialStore) {
	from := newSource(t, 3<<20)
	p := from.open(t, s)
	from.mustFill(t, p, 0, 1)
	for _, r := range [][2]int64{{bao.GroupSize - 1, 2}, {2 << 20, 1}} {
		if _, err := p.ReadAt(make([]byte, r[1]), r[0]); !errors.Is(err, bao.ErrMissing) {
			t.Errorf("%d bytes from %d: %v, want ErrMissing", r[1], r[0], err)
		}
	}
}

func wrongSlice(t *testing.T, s PartialStore) {
	from := newSource(t, 3<<20)
	p := from.open(t, s)
	slice := p.Missing(0, 2<<20)[0]
	r, err := from.Slice(t.Context(), from.digest, slice)
	if err != nil {
		t.Fatal(err)
	}
	encoded, _ := io.ReadAll(r)
	encoded[len(encoded)-1] ^= 1
	err = p.Add(t.Context(), slice, bytes.NewReader(encoded))
	if !errors.As(err, new(*bao.Error)) {
		t.Errorf("%v, want a *bao.Error", err)
	}
	if _, err := p.ReadAt(make([]byte, 1), 2<<20-1); !errors.Is(err, bao.ErrMissing) {
		t.Errorf("the damaged part: %v, want ErrMissing", err)
	}
	from.mustFill(t, p, 0, 2<<20)
	from.expect(t, p, 0, 2<<20)
}

func wrongClaim(t *testing.T, s PartialStore) {
	from := newSource(t, 3<<20)
	liar, err := s.OpenPartial(t.Context(), from.digest, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	defer liar.Close()
	slice := liar.Missing(0, 1)[0]
	r, err := from.Slice(t.Context(), from.digest, bao.Slice{Size: from.size(), Len: 1, ProveSize: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := liar.Add(t.Context(), slice, r); !errors.As(err, new(*bao.Error)) {
		t.Errorf("%v, want a *bao.Error", err)
	}
	if _, err := liar.ReadAt(make([]byte, 1), 0); !errors.Is(err, bao.ErrMissing) {
		t.Errorf("%v, want ErrMissing", err)
	}
	p := from.open(t, s)
	from.mustFill(t, p, 0, from.size())
	expect(t, s, from.digest, from.data)
}

func brokenSlice(t *testing.T, s PartialStore) {
	from := newSource(t, 3<<20)
	p := from.open(t, s)
	slice := p.Missing(0, from.size())[0]
	r, err := from.Slice(t.Context(), from.digest, slice)
	if err != nil {
		t.Fatal(err)
	}
	broken := io.MultiReader(io.LimitReader(r, 1<<20), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := p.Add(t.Context(), slice, broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want the reader's error", err)
	}
	from.expect(t, p, 0, 512<<10)
	if rest := p.Missing(0, from.size()); len(rest) != 1 || rest[0].Off < 512<<10 {
		t.Errorf("missing are %+v, want what did not come", rest)
	}
	from.mustFill(t, p, 0, from.size())
	expect(t, s, from.digest, from.data)
}

func partsAtOnce(t *testing.T, s PartialStore) {
	from := newSource(t, 3<<20+17)
	var all sync.WaitGroup
	for i := range int64(8) {
		p := from.open(t, s)
		all.Go(func() {
			for at := range int64(8) {
				off := (i + at) % 8 * from.size() / 8
				if err := from.fill(t.Context(), p, off, from.size()/8+8); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	expect(t, s, from.digest, from.data)
}

func unprovableParts(t *testing.T, s PartialStore) {
	_, err := s.OpenPartial(t.Context(), otherDigest(cas.SHA1, []byte("x")), 1)
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, want errors.ErrUnsupported", err)
	}
}
