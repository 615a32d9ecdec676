package bao_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// files are what a Partial's caller keeps; writing them is safe for concurrent
// use, as it is for *os.File.
type files struct {
	mu             sync.Mutex
	data, outboard bao.Buffer
}

type lockedFile struct {
	*files
	b *bao.Buffer
}

func (f lockedFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.b.WriteAt(p, off)
}

func (f *files) add(p *bao.Partial, s bao.Slice, r io.Reader) error {
	return p.Add(s, r, lockedFile{f, &f.data}, lockedFile{f, &f.outboard})
}

func newPartial(t testing.TB, d cas.Digest, size int64) *bao.Partial {
	t.Helper()
	p, err := bao.NewPartial(d, size)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fetch adds what p misses of a range.
func fetch(t testing.TB, o *object, p *bao.Partial, f *files, off, n int64) {
	t.Helper()
	for _, s := range p.Missing(off, n) {
		if err := f.add(p, s, bytes.NewReader(o.slice(t, s))); err != nil {
			t.Fatalf("Add %+v: %v", s, err)
		}
	}
	if missing := p.Missing(off, n); len(missing) > 0 {
		t.Fatalf("%d bytes from %d still miss %+v", n, off, missing)
	}
}

// present returns how many bytes are not missing.
func present(p *bao.Partial) int64 {
	n, _ := p.Size()
	for _, s := range p.Missing(0, n) {
		n -= s.Len
	}
	return n
}

func TestPartialBecomesTheObject(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, size := range sizes {
		o := newObject(t, size)
		p, f := newPartial(t, o.digest, o.size()), &files{}
		for i := 0; !p.Complete() && i < 100; i++ {
			off := random.Int64N(o.size() + 1)
			n := random.Int64N(min(o.size()-off, 10*group) + 1)
			fetch(t, o, p, f, off, n)
			got := make([]byte, n)
			if _, err := openReader(t, o, f.data, f.outboard).ReadAt(got, off); err != nil {
				t.Fatalf("size %d, %d bytes at %d: %v", size, n, off, err)
			}
			o.expect(t, part{off, got})
		}
		fetch(t, o, p, f, 0, o.size())
		if n := present(p); !p.Complete() || n != o.size() {
			t.Fatalf("size %d: %d bytes are present", size, n)
		}
		if !bytes.Equal(f.data, o.data) || !bytes.Equal(f.outboard, o.outboard) {
			t.Fatalf("size %d: the files are not the object and its outboard", size)
		}
	}
}

func TestPartialAsksForTheSizeFirst(t *testing.T) {
	o := newObject(t, 5*group)
	p, f := newPartial(t, o.digest, o.size()), &files{}
	if p.Complete() {
		t.Error("complete without anything")
	}
	if missing := p.Missing(0, 0); len(missing) != 1 || missing[0] != (bao.Slice{Size: o.size(), ProveSize: true}) {
		t.Errorf("to read nothing: %+v", missing)
	}
	bare := bao.Slice{Size: o.size(), Len: 1}
	if err := f.add(p, bare, bytes.NewReader(o.slice(t, bare))); err == nil {
		t.Error("a slice without proof of the size was added first")
	}
	fetch(t, o, p, f, 0, 0)
	if _, proved := p.Size(); !proved {
		t.Error("the size is not proved")
	}
	if err := f.add(p, bare, bytes.NewReader(o.slice(t, bare))); err != nil {
		t.Error(err)
	}
	if missing := p.Missing(-5, math.MaxInt64); len(missing) != 1 || missing[0] != (bao.Slice{Size: o.size(), Off: group, Len: 4 * group}) {
		t.Errorf("the rest: %+v", missing)
	}
}

func TestForgedSizeNeverEntersAPartial(t *testing.T) {
	o := newObject(t, 5*group+77)
	for _, forged := range forgeries(o.size()) {
		p := newPartial(t, o.digest, forged)
		for _, s := range p.Missing(0, min(forged, 1)) {
			var f files
			err := f.add(p, s, bytes.NewReader(lie(t, o, s)))
			_, proved := p.Size()
			if !isMismatch(err) || proved || present(p) != 0 || len(f.data)+len(f.outboard) > 0 {
				t.Errorf("size %d: %v, %d bytes are present", forged, err, present(p))
			}
		}
	}
	p := newPartial(t, o.digest, o.size())
	other := bao.Slice{Size: o.size() + 1, ProveSize: true}
	if err := (&files{}).add(p, other, bytes.NewReader(nil)); err == nil {
		t.Error("a slice of another size was added")
	}
}

func TestWhatCameBeforeAnErrorStays(t *testing.T) {
	o := newObject(t, 10*group)
	cut := errors.New("connection reset")
	for _, failure := range []io.Reader{iotest.ErrReader(cut), bytes.NewReader(nil), bytes.NewReader(make([]byte, 1<<20))} {
		p, f := newPartial(t, o.digest, o.size()), &files{}
		s := p.Missing(0, o.size())[0]
		err := f.add(p, s, io.MultiReader(bytes.NewReader(o.slice(t, s)[:6*group]), failure))
		if err == nil || present(p) != 5*group {
			t.Fatalf("%v, and %d bytes are present", err, present(p))
		}
		if missing := p.Missing(0, o.size()); len(missing) != 1 || missing[0] != (bao.Slice{Size: o.size(), Off: 5 * group, Len: 5 * group}) {
			t.Fatalf("then misses %+v", missing)
		}
		fetch(t, o, p, f, 0, o.size())
		if !p.Complete() || !bytes.Equal(f.data, o.data) {
			t.Fatal("not the object")
		}
	}
}

func TestGroupThatWasNotWrittenIsMissing(t *testing.T) {
	o := newObject(t, 3*group)
	p, f := newPartial(t, o.digest, o.size()), &files{}
	s := p.Missing(0, o.size())[0]
	for _, full := range [][2]io.WriterAt{{fullDisk{}, &f.outboard}, {&f.data, fullDisk{}}} {
		if err := p.Add(s, bytes.NewReader(o.slice(t, s)), full[0], full[1]); err != errFull {
			t.Errorf("full disk: %v", err)
		}
		if present(p) != 0 {
			t.Errorf("%d bytes are said to be present", present(p))
		}
	}
}

func TestDroppedGroupsAreFetchedAgain(t *testing.T) {
	o := newObject(t, 8*group+5)
	p, f := newPartial(t, o.digest, o.size()), &files{}
	fetch(t, o, p, f, 0, o.size())
	clear(f.data[3*group : 4*group])
	got := make([]byte, 10)
	r := openReader(t, o, f.data, f.outboard)
	if _, err := r.ReadAt(got, 3*group+5); !isMismatch(err) {
		t.Fatalf("lost bytes: %v", err)
	}
	p.Drop(3*group+5, 10)
	if p.Complete() || present(p) != o.size()-group {
		t.Fatalf("%d bytes are present", present(p))
	}
	fetch(t, o, p, f, 3*group+5, 10)
	if _, err := r.ReadAt(got, 3*group+5); err != nil || !p.Complete() {
		t.Error(err)
	}
}

func TestWhatIsInTheFilesCountsOnceItIsVerified(t *testing.T) {
	o := newObject(t, 8*group+5)
	f := &files{data: bytes.Clone(o.data), outboard: bytes.Clone(o.outboard)}
	f.data[5*group] ^= 1
	p := newPartial(t, o.digest, o.size())
	p.TrustSize()
	err := p.Verify(openReader(t, o, f.data, f.outboard), group+1, o.size())
	if !isMismatch(err) || present(p) != 4*group {
		t.Fatalf("%v, %d bytes are present", err, present(p))
	}
	fetch(t, o, p, f, 5*group, 1)
	if err := p.Verify(openReader(t, o, f.data, f.outboard), 0, o.size()); err != nil || !p.Complete() {
		t.Errorf("%v, %d bytes are present", err, present(p))
	}
}

func TestManyRangesArriveAtOnce(t *testing.T) {
	o := newObject(t, 100*group+9)
	p, f := newPartial(t, o.digest, o.size()), &files{}
	var wg sync.WaitGroup
	for i := range int64(8) {
		wg.Go(func() {
			for off := i * 10 * group; off < o.size(); off += 20 * group {
				for _, s := range p.Missing(off, 15*group) {
					if err := f.add(p, s, bytes.NewReader(o.slice(t, s))); err != nil {
						t.Error(err)
					}
				}
				present(p)
			}
		})
	}
	wg.Wait()
	fetch(t, o, p, f, 0, o.size())
	if !p.Complete() || !bytes.Equal(f.data, o.data) || !bytes.Equal(f.outboard, o.outboard) {
		t.Error("not the object")
	}
}

func TestOtherDigestsHaveNoRanges(t *testing.T) {
	sha := cas.MustParseDigest("sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709")
	if _, err := bao.NewDecoder(sha, bao.Slice{}, bytes.NewReader(nil)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("NewDecoder: %v", err)
	}
	if _, err := bao.NewPartial(sha, 0); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("NewPartial: %v", err)
	}
	if _, err := bao.NewReaderAt(sha, 0, nil, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("NewReaderAt: %v", err)
	}
}
