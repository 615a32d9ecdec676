package disk

import (
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"time"
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
// a size. It goes a tenth below: an eviction reads the whole index, and so it
// costs a small multiple of what it removes.
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
	goal.Size -= goal.Size / 10
	done, err := x.evict(x.lifetime, goal)
	if err != nil && x.lifetime.Err() == nil {
		x.store.log.Warn("eviction failed", "cache", x.store.dir, "cause", err)
	}
	x.store.log.Debug("evicted", "cache", x.store.dir, "objects", done.Objects, "bytes", done.Bytes)
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
	x.flushTouches()
	partial := x.countPartials()
	x.mu.Lock()
	excess := x.totals.Bytes + bytesOf(partial) - keep.Size
	x.mu.Unlock()
	if keep.Size <= 0 || excess <= 0 {
		return done, nil
	}
	defer x.touches.noteAll()()
	held, err := x.store.readHolds()
	if err != nil {
		return done, x.failed(err)
	}
	protected := x.protected(keep)
	free := func(it item) bool { return it.entry.used < protected && !held.has(it.digest) }
	cutoff, err := x.cutoff(ctx, excess, free, partial)
	if err != nil {
		return done, x.failed(err)
	}
	gone := x.evictPartials(partial, cutoff, protected, held, excess)
	if gone.Bytes >= excess {
		return gone, nil
	}
	v := victims{engine: x, excess: excess - gone.Bytes, done: gone}
	err = x.each(ctx, func(it item) error {
		if it.entry.used>>evictGrain > cutoff || !free(it) {
			return nil
		}
		return v.add(it)
	})
	if err == nil {
		err = v.remove()
	}
	if err != nil && !errors.Is(err, errEnough) {
		return v.done, x.failed(err)
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

// evictGrain makes buckets of 64 seconds: within one, the order of eviction is
// arbitrary.
const evictGrain = 6

// cutoff returns the bucket of last use up to which objects must go for excess
// bytes to be freed.
func (x *engine) cutoff(ctx context.Context, excess int64, free func(item) bool, partial []partialUse) (uint32, error) {
	bytes := map[uint32]int64{}
	for _, u := range partial {
		bytes[u.used>>evictGrain] += u.bytes
	}
	err := x.each(ctx, func(it item) error {
		if free(it) {
			bytes[it.entry.used>>evictGrain] += it.entry.size
		}
		return nil
	})
	var buckets []uint32
	for bucket := range bytes {
		buckets = append(buckets, bucket)
	}
	slices.Sort(buckets)
	for _, bucket := range buckets {
		if excess -= bytes[bucket]; excess <= 0 {
			return bucket, err
		}
	}
	return ^uint32(0), err
}

// victims are objects about to go, removed a thousand at a time.
type victims struct {
	engine *engine
	excess int64
	items  []item
	bytes  int64
	done   evicted
}

// errEnough ends the search for victims.
var errEnough = errors.New("enough evicted")

func (v *victims) add(it item) error {
	v.items = append(v.items, it)
	v.bytes += it.entry.size
	if len(v.items) >= batchCount || v.bytes >= v.excess {
		return v.remove()
	}
	return nil
}

// remove removes what was gathered, except what was used or held since. An
// object that is new was held before the index learned of it. A file loses its
// identity before it goes: a missing file that has one was not evicted but lost.
func (v *victims) remove() error {
	x := v.engine
	x.files.Lock()
	defer x.files.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	touched := x.touches.take()
	x.writeTouches(touched)
	held, err := x.store.readHolds()
	if err != nil {
		return err
	}
	v.items = slices.DeleteFunc(v.items, func(it item) bool {
		_, used := touched[it.digest]
		return used || held.has(it.digest)
	})
	if slices.ContainsFunc(v.items, func(it item) bool { return it.entry.kind == filed }) {
		err = x.changeLocked(v.condemn)
	}
	var gone evicted
	if err == nil {
		err = x.losing(func() error {
			return x.changeLocked(func(c *change) (err error) { gone, err = v.drop(c); return err })
		})
	}
	v.items, v.bytes = v.items[:0], 0
	if err != nil {
		return err
	}
	v.done.Objects += gone.Objects
	v.done.Bytes += gone.Bytes
	if v.excess -= gone.Bytes; v.excess <= 0 {
		return errEnough
	}
	return nil
}

func (v *victims) condemn(c *change) error {
	for i, it := range v.items {
		now, err := get(c.txn, it.digest)
		if err != nil {
			return err
		}
		if now.kind != filed || now != it.entry {
			continue
		}
		v.items[i].entry.identity = identity{}
		if err := c.set(it.digest, now, v.items[i].entry); err != nil {
			return err
		}
	}
	return nil
}

func (v *victims) drop(c *change) (gone evicted, err error) {
	for _, it := range v.items {
		now, err := get(c.txn, it.digest)
		if err != nil {
			return gone, err
		}
		if now != it.entry {
			continue
		}
		if err := v.engine.unlink(it); err != nil {
			return gone, err
		}
		if err := c.drop(it.digest, now); err != nil {
			return gone, err
		}
		gone.Objects++
		gone.Bytes += now.size
	}
	return gone, nil
}

// unlink removes the file of an object that has one, and its outboard.
func (x *engine) unlink(it item) error {
	if it.entry.kind != filed {
		return nil
	}
	err := ignoreMissing(os.Remove(x.store.objectPath(it.digest)))
	return errors.Join(err, x.store.removeOutboard(it.digest))
}
