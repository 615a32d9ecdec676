package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
)

func TestOwnerKeepsParts(t *testing.T) {
	castest.RunPartials(t, func(t *testing.T) castest.PartialStore { return openOwner(t, t.TempDir()) })
}

func TestClientKeepsParts(t *testing.T) {
	castest.RunPartials(t, func(t *testing.T) castest.PartialStore {
		dir := t.TempDir()
		openOwner(t, dir)
		return openClient(t, dir)
	})
}

// source is an object that is sent to stores of this package.
type source struct{ *castest.Source }

const group = bao.GroupSize

func newSource(n int, seed uint64) *source { return &source{castest.NewSource(n, seed)} }

func (s *source) open(t testing.TB, in *Store) *partial {
	t.Helper()
	p, err := in.OpenPartial(t.Context(), s.Digest, s.Size())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p.(*partial)
}

// expectMissing fails unless the range can't be read and is asked for.
func (s *source) expectMissing(t testing.TB, p bao.PartialObject, off, n int64) {
	t.Helper()
	if err := s.Read(p, off, n); !errors.Is(err, bao.ErrMissing) {
		t.Fatalf("%d bytes from %d: %v, want ErrMissing", n, off, err)
	}
	if len(p.Missing(off, n)) == 0 {
		t.Fatalf("%d bytes from %d can't be read, and are not missing", n, off)
	}
}

// makeWhole fills and reads p until the store holds the object.
func (s *source) makeWhole(t testing.TB, in *Store, p bao.PartialObject) {
	t.Helper()
	for range 5 { // what is damaged is noticed when it is read
		s.MustFill(t, p, 0, s.Size())
		if s.Read(p, 0, s.Size()) == nil {
			break
		}
	}
	s.expectWhole(t, in)
}

// expectWhole fails unless the object is there, and none of its parts.
func (s *source) expectWhole(t testing.TB, in *Store) {
	t.Helper()
	expect(t, in, s.Data)
	if _, err := os.Lstat(in.partPath(s.Digest, s.Size())); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("parts of the object are left: %v", err)
	}
	if err := readSlice(t, in, s.Data, 0, s.Size()); err != nil {
		t.Fatalf("a slice of what was made of parts: %v", err)
	}
}

func (s *source) path(in *Store, name string) string {
	return filepath.Join(in.partPath(s.Digest, s.Size()), name)
}

func expectNoParts(t testing.TB, s *Store) {
	t.Helper()
	if names, err := os.ReadDir(s.path(partialDir)); err != nil || len(names) > 0 {
		t.Fatalf("parts that are there: %v, %v", names, err)
	}
}

func TestWrongClaimLeavesNothingOnDisk(t *testing.T) {
	s := openOwner(t, t.TempDir())
	from := newSource(3<<20, 1)
	liar, err := s.OpenPartial(t.Context(), from.Digest, 5<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer liar.Close()
	for _, sent := range [][]byte{from.Slice(bao.Slice{Size: from.Size(), Len: 1, ProveSize: true}), nil} {
		if err := liar.Add(t.Context(), liar.Missing(0, 1)[0], bytes.NewReader(sent)); !errors.As(err, new(*bao.Error)) {
			t.Errorf("%v, want a *bao.Error", err)
		}
	}
	from.open(t, s)
	expectNoParts(t, s)
}

func TestSmallObjectsHaveNoParts(t *testing.T) {
	s := openOwner(t, t.TempDir())
	from := newSource(rangeThreshold, 1)
	if _, err := s.OpenPartial(t.Context(), from.Digest, from.Size()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, want errors.ErrUnsupported", err)
	}
}

func TestPartsSurviveTheStoreAndItsIndex(t *testing.T) {
	dir := t.TempDir()
	from := newSource(3<<20+17, 1)
	s := openOwner(t, dir)
	from.MustFill(t, from.open(t, s), 1<<20, 100_000)
	s.Close()
	for _, damage := range []func(){func() {}, func() { os.RemoveAll(s.path(indexDir)) }} {
		damage()
		s = openOwner(t, dir)
		p := from.open(t, s)
		if missing := p.Missing(1<<20, 100_000); len(missing) > 0 {
			t.Errorf("missing is %+v", missing)
		}
		from.Expect(t, p, 1<<20, 100_000)
		from.expectMissing(t, p, 0, 1)
		if got := stats(t, s); got.Objects != 0 || got.Partial != 1 || got.InPartial < 2*group || got.InPartial > 10*group {
			t.Errorf("stats are %+v", got)
		}
		s.Close()
	}
	s = openOwner(t, dir)
	from.makeWhole(t, s, from.open(t, s))
	if got := stats(t, s); got.Objects != 1 || got.Partial != 0 || got.Bytes != from.Size() {
		t.Errorf("stats are %+v", got)
	}
	expectExactTotals(t, s)
}

func TestCompletePartsAreAnObjectLikeAnyOther(t *testing.T) {
	s := openOwner(t, t.TempDir())
	from := newSource(3<<20+17, 1)
	p := from.open(t, s)
	for _, off := range []int64{2 << 20, 0, 1 << 20, 3 << 20} {
		stats(t, s) // counts the parts
		from.MustFill(t, p, off, 1<<20)
	}
	if left := owned(s).partialBytes.Load(); left < -group || left > group {
		t.Errorf("%d bytes count as parts", left)
	}
	from.expectWhole(t, s)
	expectOutboard(t, s, from.Data)
	if info := stat(t, s.objectPath(from.Digest)); info.Mode() != 0o444 {
		t.Errorf("its file has mode %s", info.Mode())
	}
	e, err := s.lookupOne(t.Context(), from.Digest)
	if err != nil || !s.fits(e.identity, stat(t, s.objectPath(from.Digest))) {
		t.Errorf("its file would be read again: %v", err)
	}
	from.Expect(t, p, 0, from.Size())
	if err := p.Add(t.Context(), bao.Slice{Size: from.Size(), Len: 1}, iotest.ErrReader(io.ErrUnexpectedEOF)); err != nil {
		t.Errorf("Add to what is complete: %v", err)
	}
	if v, damaged := verify(t, s); v.Objects != 1 || len(damaged) > 0 {
		t.Errorf("%+v, damaged: %v", v, damaged)
	}
}

func TestPartsAreWritableAfterAKilledPromotion(t *testing.T) {
	dir := t.TempDir()
	s := openOwner(t, dir)
	from := newSource(2<<20, 1)
	from.MustFill(t, from.open(t, s), 0, 1<<20)
	data := from.path(s, partData)
	s.Close()
	if err := os.Chmod(data, 0o444); err != nil {
		t.Fatal(err)
	}
	s = openOwner(t, dir)
	if mode := stat(t, data).Mode(); mode != 0o600 {
		t.Errorf("the file of the parts has mode %s", mode)
	}
	from.makeWhole(t, s, from.open(t, s))
}

// A power failure may take what was written in any order, and leave the file's
// length and times.
func TestPromotedFileIsProvedAgainAfterAReboot(t *testing.T) {
	dir := t.TempDir()
	s := openOwner(t, dir)
	whole, hurt := newSource(2<<20, 1), newSource(2<<20, 2)
	for _, from := range []*source{whole, hurt} {
		from.MustFill(t, from.open(t, s), 0, from.Size())
	}
	writeAt(t, s.objectPath(hurt.Digest), 1<<20)
	seen := identityOf(stat(t, s.objectPath(hurt.Digest)))
	it := item{hurt.Digest, entry{kind: filed, size: hurt.Size(), identity: seen.untilReboot(s.boot)}}
	if err := owned(s).record(t.Context(), []item{it}, limits{}); err != nil {
		t.Fatal(err)
	}
	s.Close()

	s = open(t, dir, Options{})
	s.boot++
	expectAbsent(t, s, hurt.Digest)
	expect(t, s, whole.Data)
	e, err := s.lookupOne(t.Context(), whole.Digest)
	if err != nil || e.identity != identityOf(stat(t, s.objectPath(whole.Digest))) {
		t.Errorf("it was not noted that the file is right: %v", err)
	}
}

func TestPartsOfOthersAreVerifiedBeforeTheyBecomeAnObject(t *testing.T) {
	s := openOwner(t, t.TempDir())
	from := newSource(3<<20+17, 1)
	from.MustFill(t, from.open(t, s), 0, 2<<20)
	writeAt(t, from.path(s, partData), 1<<20)
	writeAt(t, from.path(s, partOutboard), 64)
	p := from.open(t, s)
	from.MustFill(t, p, 2<<20, 2<<20)
	expectAbsent(t, s, from.Digest)
	if missing := p.Missing(1<<20, 1); len(missing) != 1 || missing[0].Len != group {
		t.Errorf("missing is %+v, want one group", missing)
	}
	from.makeWhole(t, s, p)
}

func TestWhatWasCompleteWhenAProcessWasKilledIsPromoted(t *testing.T) {
	s := openOwner(t, t.TempDir())
	from := newSource(3<<20+17, 1)
	dir := s.partPath(from.Digest, from.Size())
	p, err := makeParts(t.Context(), dir, from.Size())
	if err != nil {
		t.Fatal(err)
	}
	p.data.WriteAt(from.Data, 0)
	p.outboard.WriteAt(from.Outboard, 0)
	p.mark(p.all(), isHere)
	p.close()
	from.open(t, s)
	from.expectWhole(t, s)

	// Killed a little later: the state is left behind, beside nothing.
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, partState), bytes.Repeat([]byte{isHere}, 49), 0o600); err != nil {
		t.Fatal(err)
	}
	other := from.open(t, s)
	from.Expect(t, other, 0, from.Size())
	expectNoParts(t, s)
}

func TestStateBesideOtherDataIsNotBelieved(t *testing.T) {
	s := openOwner(t, t.TempDir())
	from := newSource(3<<20+17, 1)
	p := from.open(t, s)
	from.MustFill(t, p, 0, 1<<20)
	state, err := os.ReadFile(from.path(s, partState))
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(from.path(s, partData))
	other := from.open(t, s)
	from.MustFill(t, other, 2<<20, 1)
	from.expectMissing(t, other, 0, 1)
	if err := os.WriteFile(from.path(s, partState), bytes.Repeat(state[:1], 49), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := other.promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectAbsent(t, s, from.Digest)
	from.expectMissing(t, other, 0, 1)
	from.makeWhole(t, s, other)
}

func TestFlippedBitsAreMissingParts(t *testing.T) {
	s := openOwner(t, t.TempDir())
	for seed := range uint64(40) {
		from := newSource(3<<20+17, seed)
		p := from.open(t, s)
		from.MustFill(t, p, 0, 2<<20)
		for _, name := range []string{partData, partOutboard, partState} {
			flipBits(t, from.path(s, name))
		}
		for range 20 {
			off := rand.Int64N(from.Size())
			n := rand.Int64N(min(from.Size()-off, 4*group) + 1)
			if err := from.Read(p, off, n); err != nil && !errors.Is(err, bao.ErrMissing) {
				t.Fatalf("%d bytes from %d: %v", n, off, err)
			}
		}
		if seed%2 == 0 {
			p = from.open(t, s) // which trusts nothing that it finds
		}
		for off := int64(0); off < 2<<20; off += group {
			from.Read(p, off, group)
		}
		from.makeWhole(t, s, p)
	}
}

// flipBits changes some bits of the file.
func flipBits(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 5 {
		at := rand.IntN(len(b))
		if _, err := f.WriteAt([]byte{b[at] ^ 1<<rand.IntN(8)}, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesMayGoUnderAnOpenPartialObject(t *testing.T) {
	for _, gone := range []string{partData, partOutboard, partState, "."} {
		s := openOwner(t, t.TempDir())
		from := newSource(3<<20+17, 1)
		p := from.open(t, s)
		from.MustFill(t, p, 0, 1<<20)
		if err := os.RemoveAll(s.partPath(from.Digest, from.Size()) + "/" + gone); err != nil && gone != "." {
			t.Fatal(err)
		} else if gone == "." {
			removeAll(s.partPath(from.Digest, from.Size()))
		}
		if err := from.Read(p, 0, 1<<20); err != nil && !errors.Is(err, bao.ErrMissing) {
			t.Errorf("without %s: %v", gone, err)
		}
		from.makeWhole(t, s, p)
		s.Close()
	}
}

func TestLeastRecentlyUsedPartsGoWithObjects(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{})
	var from []*source
	var ds []cas.Digest
	for i := range uint64(4) {
		from = append(from, newSource(2<<20, i))
		p := from[i].open(t, s)
		from[i].MustFill(t, p, 0, 1<<20)
		p.Close()
		c.advance(10 * time.Minute)
		ds = append(ds, put(t, s, castest.Bytes(1<<20, 10+i)))
		c.advance(10 * time.Minute)
	}
	p := from[1].open(t, s)
	from[1].Expect(t, p, 0, 1<<20)
	p.Close()
	before := stats(t, s)
	s.opt.Size = before.Bytes + before.InPartial - 5<<19
	objects, freed := evict(t, s)
	if objects != 3 || freed < 5<<19 || freed > 4<<20 {
		t.Errorf("evicted %d objects of %d bytes", objects, freed)
	}
	// The order of use was: parts 0, object 0, object 1, parts 2, object 2, parts 3,
	// object 3, parts 1.
	var left []int
	for i := range from {
		if _, err := os.Stat(from[i].path(s, partData)); err == nil {
			left = append(left, i)
		}
	}
	if !slices.Equal(left, []int{1, 2, 3}) {
		t.Errorf("parts that are left: %v", left)
	}
	for i, d := range ds {
		if has(t, s, d) != (i >= 2) {
			t.Errorf("object %d is there or not", i)
		}
	}
	if now := stats(t, s); now.Bytes+now.InPartial > s.opt.Size {
		t.Errorf("%d bytes are left, want %d at most", now.Bytes+now.InPartial, s.opt.Size)
	}
}

func TestPartsInUseAreNotEvicted(t *testing.T) {
	var c clock
	dir := t.TempDir()
	s := openOwner(t, dir)
	c.runs(s, Options{Size: 1})
	open, held, fresh, idle := newSource(2<<20, 1), newSource(2<<20, 2), newSource(2<<20, 3), newSource(2<<20, 4)
	hold, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	if err := hold.Add(held.Digest); err != nil {
		t.Fatal(err)
	}
	client := openClient(t, dir)
	client.now = c.now
	p := open.open(t, client)
	open.MustFill(t, p, 0, 1)
	for _, from := range []*source{held, idle} {
		q := from.open(t, s)
		from.MustFill(t, q, 0, 1)
		q.Close()
	}
	c.advance(2 * time.Hour)
	q := fresh.open(t, s)
	fresh.MustFill(t, q, 0, 1)
	q.Close()
	s.opt.Retention = time.Hour
	evict(t, s)
	for from, want := range map[*source]bool{open: true, held: true, fresh: true, idle: false} {
		if _, err := os.Stat(from.path(s, partData)); (err == nil) != want {
			t.Errorf("parts of %s: %v", from.Digest, err)
		}
	}
	p.Close()
	hold.Close()
	c.advance(2 * time.Hour)
	evict(t, s)
	expectNoParts(t, s)
}

func TestPartsThatGrowAreEvictedInTheBackground(t *testing.T) {
	s := openOwner(t, t.TempDir())
	s.opt.Size = 10 << 20
	idle := newSource(40<<20, 1)
	p := idle.open(t, s)
	idle.MustFill(t, p, 0, 30<<20)
	p.Close()
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(idle.path(s, partState), past, past); err != nil {
		t.Fatal(err)
	}
	busy := newSource(40<<20, 2)
	busy.MustFill(t, busy.open(t, s), 0, 39<<20)
	owned(s).background.Wait()
	if _, err := os.Stat(idle.path(s, partData)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody has evicted what nobody uses: %v", err)
	}
}

func TestReadersSeeRightBytesBesideEviction(t *testing.T) {
	dir := t.TempDir()
	evictor := openOwner(t, dir)
	evictor.opt.Size = 1
	from := newSource(3<<20+17, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for range 2 {
		s := openClient(t, dir)
		all.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(rand.N(20 * time.Millisecond))
				p, err := s.OpenPartial(t.Context(), from.Digest, from.Size())
				if err != nil {
					t.Error(err)
					return
				}
				for range 3 {
					off := rand.Int64N(1 << 20) // it never gets whole
					if err := from.Fill(t.Context(), p, off, group); err != nil {
						t.Error(err)
					}
					if err := from.Read(p, off, group); err != nil {
						t.Error(err)
					}
				}
				p.Close()
			}
		})
	}
	evictions := 0
	for ctx.Err() == nil {
		objects, _ := evict(t, evictor)
		evictions += objects
	}
	all.Wait()
	if evictions == 0 {
		t.Error("nothing was evicted")
	}
	t.Logf("%d evictions", evictions)
}

func TestObjectMayBePutWhileItsPartsArrive(t *testing.T) {
	dir := t.TempDir()
	owner, client := openOwner(t, dir), openClient(t, dir)
	for seed := range uint64(20) {
		from := newSource(2<<20+5, seed)
		var all sync.WaitGroup
		for _, s := range []*Store{owner, client} {
			p := from.open(t, s)
			all.Go(func() {
				for off := int64(0); off < from.Size(); off += 1 << 19 {
					if err := from.Fill(t.Context(), p, off, 1<<19); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Go(func() {
			time.Sleep(rand.N(5 * time.Millisecond))
			if err := owner.Put(t.Context(), from.Digest, bytes.NewReader(from.Data)); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		expect(t, client, from.Data)
		from.open(t, owner).Close() // removes what the last one may have left
	}
	expectExactTotals(t, owner)
	if _, damaged := verify(t, owner); len(damaged) > 0 {
		t.Errorf("damaged: %v", damaged)
	}
}

func TestVerifyDropsDamagedParts(t *testing.T) {
	dir := t.TempDir()
	owner := openOwner(t, dir)
	from := newSource(3<<20+17, 1)
	from.MustFill(t, from.open(t, owner), 0, 2<<20)
	if v, _ := verify(t, owner); v.Dropped != 0 {
		t.Errorf("%d parts were dropped", v.Dropped)
	}
	for _, off := range []int64{100, 5 * group, 6*group + 1} {
		writeAt(t, from.path(owner, partData), off)
	}
	s := openClient(t, dir)
	if v, damaged := verify(t, s); v.Dropped != 3 || len(damaged) > 0 {
		t.Errorf("%+v, damaged: %v, want 3 parts dropped", v, damaged)
	}
	p := from.open(t, s)
	missing := p.Missing(0, 2<<20)
	if len(missing) != 2 || missing[0].Len != group || missing[1].Off != 5*group || missing[1].Len != 2*group {
		t.Errorf("missing are %+v", missing)
	}
	from.makeWhole(t, s, p)
}

func TestAddEndsWithItsContext(t *testing.T) {
	s := openOwner(t, t.TempDir())
	from := newSource(3<<20+17, 1)
	p := from.open(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	slice := p.Missing(0, from.Size())[0]
	sent := from.Slice(slice)
	err := p.Add(ctx, slice, io.MultiReader(bytes.NewReader(sent[:1<<20]), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, nil
	})))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of the context", err)
	}
	from.Expect(t, p, 0, 1<<19)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestStoppedPromoterDelaysNobodyForEver(t *testing.T) {
	s := openOwner(t, t.TempDir())
	from := newSource(3<<20+17, 1)
	p := from.open(t, s)
	from.MustFill(t, p, 0, 1)
	state, err := os.Open(from.path(s, partState))
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	if !lock(state) {
		t.Fatal("the state is locked while nobody writes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	slice := p.Missing(1<<20, 1)[0]
	err = p.Add(ctx, slice, bytes.NewReader(from.Slice(slice)))
	if !errors.As(err, new(*bao.KeepError)) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want a KeepError with the end of the context", err)
	}
	from.Expect(t, p, 0, 1)
}

func TestClosedPartialObjectIsNotRead(t *testing.T) {
	s := openOwner(t, t.TempDir())
	from := newSource(3<<20+17, 1)
	p := from.open(t, s)
	from.MustFill(t, p, 0, 1)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := from.Read(p, 0, 1); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%v, want fs.ErrClosed", err)
	}
	slice := bao.Slice{Size: from.Size(), Len: 1, ProveSize: true}
	if err := p.Add(t.Context(), slice, bytes.NewReader(from.Slice(slice))); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%v, want fs.ErrClosed", err)
	}
}

// TestPartsAreSoundAfterEveryCrash kills two processes that add to the same
// objects, at random moments, promotion included.
func TestPartsAreSoundAfterEveryCrash(t *testing.T) {
	dir := t.TempDir()
	parts, wholes := 0, 0
	for seed := range uint64(40) {
		a, b := start(t, dir, "parts", fmt.Sprint(seed)), start(t, dir, "parts", fmt.Sprint(seed))
		a.out.Scan()
		for seed%2 == 1 && a.out.Text() != "whole" && a.out.Scan() {
		}
		time.Sleep(rand.N(30 * time.Millisecond))
		a.Process.Kill()
		time.Sleep(rand.N(10 * time.Millisecond))
		b.Process.Kill()
		expectNoFailure(t, a)
		expectNoFailure(t, b)

		s := open(t, dir, Options{})
		if v, damaged := verify(t, s); v.Dropped > 0 || len(damaged) > 0 {
			t.Fatalf("%+v, damaged: %v", v, damaged)
		}
		expectExactTotals(t, s)
		expectNoTemps(t, s)
		for i := range uint64(objectsInParts) {
			from := objectInParts(seed, i)
			p := from.open(t, s)
			if p.whole != nil {
				wholes++
			} else if p.parts != nil {
				parts++
			}
			for off := int64(0); off < from.Size(); off += group {
				if len(p.Missing(off, group)) == 0 {
					from.Expect(t, p, off, min(group, from.Size()-off))
				}
			}
			from.makeWhole(t, s, p)
			p.Close()
			if err := s.SetAside(t.Context(), from.Digest); err != nil {
				t.Fatal(err)
			}
		}
		expectNoParts(t, s)
		s.Close()
	}
	if parts == 0 || wholes == 0 {
		t.Errorf("%d objects were there in part, %d as a whole", parts, wholes)
	}
	t.Logf("%d objects were there in part, %d as a whole", parts, wholes)
}

const objectsInParts = 2

func objectInParts(seed, i uint64) *source {
	return newSource(rangeThreshold+1+int(i)*100_000, seed<<8|i)
}

// addParts adds to some objects, in random order, until they are whole.
func addParts(s *Store, seed uint64) error {
	var from []*source
	for i := range uint64(objectsInParts) {
		from = append(from, objectInParts(seed, i))
	}
	fmt.Println("adding")
	for range 2000 {
		i := rand.IntN(len(from))
		p, err := s.OpenPartial(context.Background(), from[i].Digest, from[i].Size())
		if err != nil {
			return err
		}
		off := rand.Int64N(from[i].Size())
		n := rand.Int64N(min(from[i].Size()-off, 8*group) + 1)
		err = from[i].Fill(context.Background(), p, off, n)
		if err == nil {
			err = from[i].Read(p, off, n)
		}
		if own, err := p.(*partial).recipient(context.Background()); own == nil && err == nil {
			fmt.Println("whole")
		}
		if err = errors.Join(err, p.Close()); err != nil {
			return err
		}
	}
	return nil
}

// FuzzPartState opens a partial object whose state may be anything.
func FuzzPartState(f *testing.F) {
	from := newSource(rangeThreshold+17, 1)
	f.Add([]byte{isHere, 0, isHere, 1}, uint8(0), uint16(0))
	f.Add(bytes.Repeat([]byte{isHere}, 17), uint8(17), uint16(1024))
	dir := f.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	f.Fuzz(func(t *testing.T, state []byte, groups uint8, records uint16) {
		p, err := makeParts(t.Context(), s.partPath(from.Digest, from.Size()), from.Size())
		if err != nil {
			t.Fatal(err)
		}
		p.data.WriteAt(from.Data[:min(int64(groups)*group, from.Size())], 0)
		p.outboard.WriteAt(from.Outboard[:min(int(records), len(from.Outboard))], 0)
		p.state.WriteAt(state, 0)
		p.close()
		q := from.open(t, s)
		for off := int64(0); off < from.Size(); off += group {
			n := min(group, from.Size()-off)
			if err := from.Read(q, off, n); err != nil && !errors.Is(err, bao.ErrMissing) {
				t.Fatal(err)
			}
		}
		from.makeWhole(t, s, q)
		q.Close()
		if err := s.SetAside(t.Context(), from.Digest); err != nil {
			t.Fatal(err)
		}
	})
}
