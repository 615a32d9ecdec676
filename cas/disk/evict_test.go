package disk

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

// clock lets a test decide what time it is in a store.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time             { return time.Unix(c.at.Load(), 0) }
func (c *clock) advance(d time.Duration)    { c.at.Add(int64(d / time.Second)) }
func (c *clock) runs(s *Store, opt Options) { c.at.Store(1e9); s.now, s.opt = c.now, opt }

func evict(t *testing.T, s *Store) (int, int64) {
	t.Helper()
	objects, size, err := s.Evict(t.Context())
	if err != nil {
		t.Fatalf("Evict: %v", err)
	}
	return objects, size
}

func has(t *testing.T, s *Store, d cas.Digest) bool {
	t.Helper()
	present, err := s.Has(t.Context(), []cas.Digest{d})
	if err != nil {
		t.Fatalf("Has: %v", err)
	}
	return present[0]
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	for _, size := range []int{50_000, 200_000} {
		var c clock
		s := openOwner(t, t.TempDir())
		c.runs(s, Options{Size: int64(6 * size)})
		var ds []cas.Digest
		for i := range 10 {
			ds = append(ds, put(t, s, castest.Bytes(size, uint64(i))))
			c.advance(10 * time.Minute)
			owned(s).background.Wait()
			s.opt.Size = 1 << 30
		}
		expect(t, s, castest.Bytes(size, 1))
		c.advance(time.Minute)
		s.opt.Size = int64(6 * size)
		if n, freed := evict(t, s); n != 4 || freed != int64(4*size) {
			t.Fatalf("evicted %d objects of %d bytes", n, freed)
		}
		for i, d := range ds {
			gone := i == 0 || i == 2 || i == 3 || i == 4
			if has(t, s, d) == gone {
				t.Errorf("object %d of %d bytes: evicted is %v, want %v", i, size, !gone, gone)
			}
		}
		if left := stats(t, s); left.Objects != 6 {
			t.Errorf("%d objects are left", left.Objects)
		}
	}
}

func TestWhatWasUsedLatelyStays(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{Size: 1000, Retention: time.Hour})
	for i := range uint64(10) {
		put(t, s, castest.Bytes(5000, i))
	}
	c.advance(50 * time.Minute)
	expect(t, s, castest.Bytes(5000, 3))
	if n, _ := evict(t, s); n != 0 {
		t.Errorf("evicted %d objects within their retention", n)
	}
	c.advance(30 * time.Minute)
	if n, _ := evict(t, s); n != 9 {
		t.Errorf("evicted %d objects, want 9", n)
	}
	expect(t, s, castest.Bytes(5000, 3))
	if oldest, err := s.Oldest(t.Context()); err != nil || !oldest.Equal(c.now().Add(-30*time.Minute)) {
		t.Errorf("the oldest use was at %v, %v; it is %v", oldest, err, c.now())
	}
}

func TestWritingBeyondTheSizeEvictsInTheBackground(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{Size: 100_000})
	for i := range uint64(100) {
		put(t, s, castest.Bytes(5000, i))
		c.advance(2 * time.Minute)
		owned(s).background.Wait()
	}
	if left := stats(t, s); left.Bytes > 100_000 || left.Bytes < 80_000 {
		t.Errorf("%d bytes are left", left.Bytes)
	}
	expect(t, s, castest.Bytes(5000, 99))
}

func TestEvictionGivesSpaceBack(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{})
	other := openClient(t, s.dir) // fills a pack and lets go of it
	for i := range uint64(400) {
		data := castest.Bytes(10_000, i)
		if err := other.Put(t.Context(), cas.Sum(data), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	other.Close()
	c.advance(time.Hour)
	for i := uint64(0); i < 400; i += 4 {
		expect(t, s, castest.Bytes(10_000, i))
	}
	c.advance(time.Minute)
	s.opt.Size = 1_000_000
	if n, _ := evict(t, s); n != 300 {
		t.Errorf("evicted %d objects, want 300", n)
	}
	for i := uint64(0); i < 400; i += 4 {
		expect(t, s, castest.Bytes(10_000, i))
	}
	if size := packBytes(t, s); size > 1_100_000 {
		t.Errorf("the packs have %d bytes", size)
	}
}

func packBytes(t *testing.T, s *Store) (size int64) {
	t.Helper()
	names, err := os.ReadDir(s.path(packsDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := name.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

func TestWhatIsHeldStays(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{})
	for i := range uint64(10) {
		put(t, s, castest.Bytes(5000, i))
	}
	small, large := put(t, s, castest.Bytes(6000, 1)), put(t, s, castest.Bytes(100_000, 1))
	hold, err := openClient(t, s.dir).Hold()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(hold.Add(small), hold.Add(large)); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	s.opt.Size = 1
	evict(t, s)
	expect(t, s, castest.Bytes(6000, 1))
	expect(t, s, castest.Bytes(100_000, 1))
	if left := stats(t, s); left.Objects != 2 {
		t.Errorf("%d objects are left, want the 2 that are held", left.Objects)
	}
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	evict(t, s)
	if left := stats(t, s); left.Objects != 0 {
		t.Errorf("%d objects are left", left.Objects)
	}
}

func TestHoldsOfDeadProcessesEnd(t *testing.T) {
	s := openOwner(t, t.TempDir())
	dead := s.path(holdsDir, "dead")
	d := cas.Sum(nil)
	hold, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	if err := hold.Add(d); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(hold.file.Name(), dead); err != nil {
		t.Fatal(err)
	}
	hold.file.Close()
	h := holds{store: s}
	if err := h.refresh(); err != nil || h.hasAny(nameOf(d)[1:]) {
		t.Errorf("the hold of a dead process counts: %v", err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestUseIsNotedForManyAtOnce has more uses to note than fit in one change.
func TestUseIsNotedForManyAtOnce(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{})
	const n = 6000
	ds := make([]cas.Digest, n)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < n; i += 8 {
				ds[i] = put(t, s, castest.Bytes(50, uint64(i))[:40+i%10])
			}
		})
	}
	wg.Wait()
	c.advance(time.Hour)
	for range 8 {
		wg.Go(func() { s.Has(t.Context(), ds) })
	}
	wg.Wait()
	x := owned(s)
	x.flushTouches()
	now := x.clock()
	for it := range listed(t, s) {
		if it.entry.used != now {
			t.Fatalf("%s was used %d seconds ago", it.digest, now-it.entry.used)
		}
	}
}

func TestTheWritersLimitsCount(t *testing.T) {
	var c clock
	owner := openOwner(t, t.TempDir())
	c.runs(owner, Options{Size: 1})
	client := openClient(t, owner.dir)
	client.opt.Size = 1 << 20
	for i := range uint64(400) {
		put(t, client, castest.Bytes(5000, i))
		owned(owner).background.Wait()
		c.advance(2 * time.Minute)
	}
	if left := stats(t, client); left.Bytes > 1<<20+5000 || left.Bytes < 800_000 {
		t.Errorf("%d bytes are left", left.Bytes)
	}
}

// owned returns the index of a store that owns it.
func owned(s *Store) *engine { return s.ways.current.(*owner).engine }
