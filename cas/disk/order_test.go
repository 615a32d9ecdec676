package disk

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

// orderOf returns the earliest bucket that each name is in, and the number of
// records and names.
func orderOf(t *testing.T, x *engine) (earliest map[string]uint32, inRecords, inNames int) {
	t.Helper()
	if err := x.change(func(c *change) error { c.allRecords = true; return nil }); err != nil {
		t.Fatal(err)
	}
	earliest = map[string]uint32{}
	var from orderPlace
	for {
		var rs []orderRecord
		err := x.view(func(txn *badger.Txn) (err error) { rs, err = records(txn, from); return err })
		if err != nil {
			t.Fatal(err)
		}
		if len(rs) == 0 {
			return earliest, inRecords, inNames
		}
		for _, r := range rs {
			inRecords++
			for names := r.names; len(names) > 0; names = names[shortName:] {
				inNames++
				name := string(names[:shortName])
				if _, met := earliest[name]; !met {
					earliest[name] = r.place.bucket
				}
			}
			from = r.place
		}
		from.number++
	}
}

// expectCompleteOrder looks for objects that no eviction would find.
func expectCompleteOrder(t *testing.T, s *Store) {
	t.Helper()
	earliest, _, _ := orderOf(t, owned(s))
	for it := range listed(t, s) {
		bucket, named := earliest[string(nameOf(it.digest))]
		if !named || bucket > bucketOf(it.entry.used) {
			t.Errorf("%s, used in bucket %d, is named in %d (%v)", it.digest, bucketOf(it.entry.used), bucket, named)
		}
	}
}

// putMany stores n objects of the same size, a thousand each minute, and returns
// them in that order.
func putMany(t *testing.T, s *Store, c *clock, n, size int) []cas.Digest {
	t.Helper()
	ds := make([]cas.Digest, n)
	for start := 0; start < n; start += 1000 {
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := start + worker; i < min(n, start+1000); i += 8 {
					ds[i] = put(t, s, castest.Bytes(size, uint64(i)))
				}
			})
		}
		wg.Wait()
		c.advance(2 * time.Minute)
	}
	return ds
}

// shrink evicts n objects of a size, and returns how many entries that read.
func shrink(t *testing.T, s *Store, n, size int) int64 {
	t.Helper()
	s.opt.Size = stats(t, s).Bytes - int64(n*size)
	before := owned(s).read.Load()
	if evicted, _ := evict(t, s); evicted != n {
		t.Fatalf("evicted %d objects, want %d", evicted, n)
	}
	return owned(s).read.Load() - before
}

func TestEvictionReadsNoMoreThanItEvicts(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{})
	ds := putMany(t, s, &c, 20_000, 200)
	for i := range 3 {
		if read := shrink(t, s, 100, 200); read > 150 {
			t.Errorf("to evict 100 of 20,000 objects the index was read for %d", read)
		}
		if !hasAll(t, s, ds[1000:])[0] || stats(t, s).Objects != int64(20_000-100*(i+1)) {
			t.Error("younger objects were evicted")
		}
	}
}

// TestUsedObjectsAreReadOnceByEvictions: those that were used lie in the way of
// an eviction, but not of the next one; those that are held never.
func TestUsedObjectsAreReadOnceByEvictions(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{})
	ds := putMany(t, s, &c, 5000, 200)
	hold, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	if err := hold.Add(ds[:1000]...); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	hasAll(t, s, ds[1000:3000])
	c.advance(time.Hour)
	if read := shrink(t, s, 100, 200); read < 2000 || read > 2150 {
		t.Errorf("with 2000 used and 1000 held objects in the way it read %d", read)
	}
	if read := shrink(t, s, 100, 200); read > 150 {
		t.Errorf("afterwards it read %d", read)
	}
	for i, present := range hasAll(t, s, ds[:3000]) {
		if !present {
			t.Fatalf("object %d, used or held, was evicted", i)
		}
	}
	expectCompleteOrder(t, s)
}

// TestIndexOfAnEarlierVersionIsOrdered takes away what a version that knows no
// order does not write, from all of the index or from a part.
func TestIndexOfAnEarlierVersionIsOrdered(t *testing.T) {
	for name, isForgotten := range map[string]func(bucket uint32) bool{
		"never ordered":  func(uint32) bool { return true },
		"once, not then": func(bucket uint32) bool { return bucket%2 == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			var c clock
			s := openOwner(t, t.TempDir())
			c.runs(s, Options{})
			ds := putMany(t, s, &c, 3000, 200)
			hasAll(t, s, ds[:100])
			c.advance(time.Hour)
			forgetOrder(t, owned(s), isForgotten)
			s.Close()
			s = openOwner(t, s.dir)
			c.runs(s, Options{})
			c.advance(24 * time.Hour)
			shrink(t, s, 800, 200)
			if read := shrink(t, s, 100, 200); read > 150 {
				t.Errorf("with the order complete it read %d for 100", read)
			}
			for i, present := range hasAll(t, s, ds) {
				if present != (i < 100 || i >= 1000) {
					t.Fatalf("object %d: present is %v", i, present)
				}
			}
			expectCompleteOrder(t, s)
		})
	}
}

// fading is a context that ends when it was looked at so many times.
type fading struct {
	context.Context
	looks int
}

func (f *fading) Err() error {
	if f.looks--; f.looks < 0 {
		return context.Canceled
	}
	return nil
}

func TestInterruptedOrderingIsBegunAnew(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{})
	putMany(t, s, &c, 3000, 200)
	x := owned(s)
	forgetOrder(t, x, func(uint32) bool { return true })
	s.Close()
	s = openOwner(t, s.dir)
	x = owned(s)
	interrupted := 0
	for looks := 1; ; looks++ {
		if err := x.completeOrder(&fading{t.Context(), looks}); err == nil {
			break
		}
		if interrupted++; x.totals.Ordered {
			t.Errorf("an order that was interrupted after %d steps counts as complete", looks)
		}
	}
	if interrupted < 3 {
		t.Errorf("it was interrupted only %d times", interrupted)
	}
	expectCompleteOrder(t, s)
	if _, _, inNames := orderOf(t, x); inNames != 3000 {
		t.Errorf("the order of 3000 objects has %d names", inNames)
	}
}

func forgetOrder(t *testing.T, x *engine, isForgotten func(bucket uint32) bool) {
	t.Helper()
	x.flushTouches()
	err := x.db.Update(func(txn *badger.Txn) error {
		found, err := txn.Get([]byte{totalsKey})
		if err != nil {
			return err
		}
		totals, err := found.ValueCopy(nil)
		if err != nil {
			return err
		}
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{orderKey}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().KeyCopy(nil)
			if isForgotten(binary.BigEndian.Uint32(key[1:])) {
				if err := txn.Delete(key); err != nil {
					return err
				}
			}
		}
		return txn.Set([]byte{totalsKey}, totals[:earlierTotals])
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNoObjectIsForgottenInTheOrder does everything that changes the index, in
// any order, with a clock that goes back at times.
func TestNoObjectIsForgottenInTheOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{})
	hold, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { hold.Close() }()
	object := func() []byte { return testObject(r.Uint64N(3), r.Uint64N(60)) }
	for range 1500 {
		switch n := r.IntN(100); {
		case n < 50:
			put(t, s, object())
		case n < 70:
			has(t, s, cas.Sum(object()))
		case n < 80: // beside an eviction, when all uses count
			end := owned(s).touches.noteAll()
			has(t, s, cas.Sum(object()))
			owned(s).flushTouches()
			end()
		case n < 83:
			if err := s.SetAside(t.Context(), cas.Sum(object())); err != nil {
				t.Fatal(err)
			}
		case n < 86:
			if err := hold.Add(cas.Sum(object())); err != nil {
				t.Fatal(err)
			}
		case n < 90:
			s.opt.Size = max(1, stats(t, s).Bytes*r.Int64N(100)/100)
			evict(t, s)
			s.opt.Size = 0
		case n < 91:
			s.Close()
			if r.IntN(3) == 0 {
				os.RemoveAll(s.path(indexDir))
			}
			s = open(t, s.dir, Options{})
			s.now = c.now
			stats(t, s)
		default:
			expectCompleteOrder(t, s)
			c.advance(time.Duration(r.IntN(1200)-400) * time.Second)
		}
	}
	owned(s).flushTouches()
	expectCompleteOrder(t, s)
	hold.Close()
	c.advance(24 * time.Hour)
	put(t, s, castest.Bytes(100, 1)) // behind all other names, dead ones as well
	s.opt.Size = 1
	evict(t, s)
	if left := stats(t, s).Objects; left > 0 {
		t.Errorf("%d objects can't be evicted", left)
	}
	if _, inRecords, inNames := orderOf(t, owned(s)); inRecords > 0 {
		t.Errorf("the order of nothing has %d records with %d names", inRecords, inNames)
	}
}

// TestDamagedOrderIsMadeAnew flips a bit of a name: without a checksum its object
// would stay for ever.
func TestDamagedOrderIsMadeAnew(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{})
	putMany(t, s, &c, 100, 200)
	err := owned(s).db.Update(func(txn *badger.Txn) error {
		rs, err := records(txn, orderPlace{})
		if err != nil {
			return err
		}
		value := rs[0].value()
		value[3] ^= 4
		return txn.Set(rs[0].place.key(), value)
	})
	if err != nil {
		t.Fatal(err)
	}
	shrinkAll := func() int { s.opt.Size = 1; n, _ := evict(t, s); return n }
	if n := shrinkAll(); n != 100 {
		t.Errorf("evicted %d of 100 objects", n)
	}
}

// TestFullestPageFitsIntoOneChange has each object in a pack and a record of its
// own: nothing makes an eviction change more of the index at once.
func TestFullestPageFitsIntoOneChange(t *testing.T) {
	var c clock
	s := openOwner(t, t.TempDir())
	c.runs(s, Options{Size: 1})
	x := owned(s)
	for i := range uint64(batchCount) {
		err := x.change(func(c *change) error {
			c.allRecords = true
			d := cas.Sum(binary.BigEndian.AppendUint64(nil, i))
			return c.set(d, entry{}, entry{kind: packed, size: 1000, used: x.clock(), place: place{pack: 1 + i}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, inRecords, _ := orderOf(t, x); inRecords != batchCount {
		t.Fatalf("there are %d records", inRecords)
	}
	if n, _ := evict(t, s); n != batchCount {
		t.Errorf("evicted %d objects", n)
	}
}
