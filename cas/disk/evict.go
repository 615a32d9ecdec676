package disk

import (
	"context"
	"errors"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/fstree/fstree/cas"
)

// Evict removes objects, least recently used first, until the store holds no
// more than Options.Size bytes. It returns how many objects and bytes it
// removed.
func (s *Store) Evict(ctx context.Context) (objects int, bytes int64, err error) {
	var done evicted
	err = s.ask(ctx, func(ctx context.Context, x index) (err error) {
		done, err = x.evict(ctx, s.limits())
		return err
	})
	return done.Objects, done.Bytes, err
}

func (s *Store) limits() limits { return limits{s.opt.Size, s.opt.Retention.Nanoseconds()} }

// evictSoon starts an eviction in the background if the store has grown beyond
// a size. It goes a hundredth below: each eviction ends an epoch, and who relied
// on it asks for everything anew.
func (x *engine) evictSoon(keep limits) {
	x.mu.Lock()
	defer x.mu.Unlock()
	due := keep.Size > 0 && x.totals.Bytes+x.partialBytes.Load() > keep.Size && x.store.now().After(x.nextEviction)
	if !due || x.evicting || x.lifetime.Err() != nil {
		return
	}
	x.evicting = true
	x.background.Go(func() { x.evictNow(keep) })
}

// evictPause is how long a background eviction waits after one that could not
// remove enough.
const evictPause = time.Minute

func (x *engine) evictNow(keep limits) {
	goal := keep
	goal.Size -= goal.Size / 100
	before := x.read.Load()
	done, err := x.evict(x.lifetime, goal)
	if err != nil && x.lifetime.Err() == nil {
		x.store.log.Warn("eviction failed", "cache", x.store.dir, "cause", err)
	}
	x.store.log.Debug("evicted", "cache", x.store.dir,
		"objects", done.Objects, "bytes", done.Bytes, "read", x.read.Load()-before)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.evicting = false
	if x.totals.Bytes+x.partialBytes.Load() > keep.Size {
		x.nextEviction = x.store.now().Add(evictPause)
	}
}

// evict waits for its turn: two at a time would evict twice as much.
func (x *engine) evict(ctx context.Context, keep limits) (done evicted, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(x.lifetime, cancel)()
	select {
	case x.eviction <- struct{}{}:
		defer func() { <-x.eviction }()
	case <-ctx.Done():
		return done, context.Cause(ctx)
	}
	err = x.store.withoutBallast(func() error {
		done, err = x.evictTo(ctx, keep)
		if err == nil {
			err = x.compact(ctx)
		}
		return err
	})
	return done, err
}

func (x *engine) evictTo(ctx context.Context, keep limits) (done evicted, err error) {
	partial := x.countPartials()
	x.mu.Lock()
	excess := x.totals.Bytes + bytesOf(partial) - keep.Size
	x.mu.Unlock()
	if keep.Size <= 0 || excess <= 0 {
		return done, nil
	}
	defer x.touches.noteAll()()
	if err := x.completeOrder(ctx); err != nil {
		return done, x.failed(err)
	}
	if err := x.change(func(c *change) error { c.allRecords = true; return nil }); err != nil {
		return done, x.failed(err)
	}
	v := eviction{
		engine: x, held: holds{store: x.store},
		protected: x.protected(keep), excess: excess, partial: partial,
	}
	for v.excess > 0 && !v.through {
		if ctx.Err() != nil {
			return v.done, context.Cause(ctx)
		}
		if err := v.turnPage(); err != nil {
			return v.done, x.failed(err)
		}
	}
	return v.done, nil
}

// protected returns the time of last use from which on objects are retained. A
// use may go unnoted for an epoch, and then for touchAfter.
func (x *engine) protected(keep limits) uint32 {
	if keep.Retention <= 0 {
		return math.MaxUint32
	}
	young := epochLength + touchAfter + time.Duration(keep.Retention)
	return uint32(max(0, int64(x.clock())-int64(young/time.Second)))
}

// eviction goes through the order from its start, a page at a time.
type eviction struct {
	engine    *engine
	held      holds
	protected uint32 // from this time of last use on objects stay
	excess    int64  // bytes that are to go still
	next      orderPlace
	through   bool         // nothing that may go is left
	partial   []partialUse // partial objects that were not looked at yet
	done      evicted
}

// page is what an eviction has found out about some records of the order, all
// of one bucket.
type page struct {
	records []orderRecord
	stay    []byte            // names that stay in the bucket
	later   map[uint32][]byte // names that belong to other buckets
	goes    []item
	bytes   int64 // of what goes
	seen    map[cas.Digest]struct{}
}

// turnPage removes what may go of the next page, but not what was used or held
// since. An object that is new was held before the index learned of it. A file
// loses its identity before it goes: a missing file that has one was not evicted
// but lost.
func (v *eviction) turnPage() error {
	x := v.engine
	x.files.Lock()
	defer x.files.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	touched := x.touches.take()
	x.writeTouches(touched)
	if err := v.held.refresh(); err != nil {
		return err
	}
	var p page
	err := x.view(func(txn *badger.Txn) (err error) { p, err = v.read(txn, touched); return err })
	if err != nil || v.through {
		return err
	}
	if len(p.goes) == 0 {
		return x.changeLocked(p.rewrite)
	}
	if slices.ContainsFunc(p.goes, func(it item) bool { return it.entry.kind == filed }) {
		if err := x.changeLocked(p.condemn); err != nil {
			return err
		}
	}
	err = x.losing(func() error { return x.changeLocked(p.remove) })
	if err == nil {
		v.excess -= p.bytes
		v.done.Objects += len(p.goes)
		v.done.Bytes += p.bytes
	}
	return err
}

// read reads the next page, and the entries of the objects on it until enough
// of them may go.
func (v *eviction) read(txn *badger.Txn, touched map[cas.Digest]struct{}) (p page, err error) {
	p.records, err = records(txn, v.next)
	if err != nil {
		return p, err
	}
	if len(p.records) == 0 || p.records[0].place.bucket > bucketOf(v.protected) {
		v.through = true
		v.removePartials(bucketOf(v.protected))
		return p, nil
	}
	v.removePartials(p.records[0].place.bucket)
	v.next = p.records[len(p.records)-1].place
	v.next.number++
	p.later = map[uint32][]byte{}
	p.seen = map[cas.Digest]struct{}{}
	for _, r := range p.records {
		for name := range slices.Chunk(r.names, shortName) {
			if p.bytes >= v.excess || v.held.hasAny(name[1:]) {
				p.stay = append(p.stay, name...)
				continue
			}
			if err := v.look(&p, txn, name, touched); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// look finds the objects that name is short for, and decides where they go.
func (v *eviction) look(p *page, txn *badger.Txn, name []byte, touched map[cas.Digest]struct{}) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: append([]byte{objectKey}, name...)})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		found, err := v.engine.itemOf(it.Item())
		if err != nil {
			return err
		}
		if _, twice := p.seen[found.digest]; twice {
			continue
		}
		p.seen[found.digest] = struct{}{}
		bucket := bucketOf(found.entry.used)
		_, used := touched[found.digest]
		switch {
		case bucket > p.records[0].place.bucket:
			p.later[bucket] = append(p.later[bucket], name...)
		case used || found.entry.used >= v.protected:
			p.stay = append(p.stay, name...)
		default:
			p.goes = append(p.goes, found)
			p.bytes += found.entry.size
		}
	}
	return nil
}

// condemn takes the identity of the files that go.
func (p *page) condemn(c *change) error {
	for i, it := range p.goes {
		if it.entry.kind != filed {
			continue
		}
		p.goes[i].entry.identity = identity{}
		if err := c.set(it.digest, it.entry, p.goes[i].entry); err != nil {
			return err
		}
	}
	return nil
}

// remove removes what goes, from the order as well.
func (p *page) remove(c *change) error {
	for _, it := range p.goes {
		if err := c.engine.unlink(it); err != nil {
			return err
		}
		if err := c.drop(it.digest, it.entry); err != nil {
			return err
		}
	}
	return p.rewrite(c)
}

// rewrite moves names to where they belong. Those that stay gather in one
// record.
func (p *page) rewrite(c *change) error {
	maps.Copy(c.names, p.later)
	c.allRecords = true // the eviction may come there
	if len(p.records) == 1 && len(p.stay) == len(p.records[0].names) {
		return nil
	}
	for i, r := range p.records {
		r.names = nil
		if i == 0 {
			r.names = p.stay
		}
		if err := c.setRecord(r); err != nil {
			return err
		}
	}
	return nil
}

// unlink removes the file of an object that has one, and its outboard.
func (x *engine) unlink(it item) error {
	if it.entry.kind != filed {
		return nil
	}
	err := ignoreMissing(os.Remove(x.store.objectPath(it.digest)))
	return errors.Join(err, x.store.removeOutboard(it.digest))
}
