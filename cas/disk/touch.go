package disk

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fstree/fstree/cas"
)

// touchAfter is how old the time of an object's last use may get before a use
// is written down; reading would be writing otherwise.
const touchAfter = 5 * time.Minute

// touches are uses that are not written down yet.
type touches struct {
	mu  sync.Mutex
	set map[cas.Digest]struct{}
	all int // if not 0, uses are noted that are not due
}

const maxTouches = batchCount

// noteAll makes touches note every use, until the function that it returns is
// called.
func (t *touches) noteAll() (end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.all--
	}
}

// touch notes the use of ds where it is due, and tells whether it is time to
// write the notes down.
func (x *engine) touch(ds []cas.Digest, entries []entry) bool {
	due := x.clock() - uint32(touchAfter/time.Second)
	t := &x.touches
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, e := range entries {
		if e.kind != 0 && (e.used < due || t.all > 0) {
			if t.set == nil {
				t.set = map[cas.Digest]struct{}{}
			}
			t.set[ds[i]] = struct{}{}
		}
	}
	return len(t.set) >= maxTouches
}

func (t *touches) take() map[cas.Digest]struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	set := t.set
	t.set = nil
	return set
}

// flushTouches writes down which objects were used.
func (x *engine) flushTouches() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.writeTouches(x.touches.take())
}

// writeTouches notes the use of ds, under mu. If it can't, they look older than
// they are.
func (x *engine) writeTouches(ds map[cas.Digest]struct{}) {
	if len(ds) == 0 || x.store.room(reserve) != nil {
		return
	}
	for some := range slices.Chunk(slices.Collect(maps.Keys(ds)), batchCount) {
		if err := x.changeLocked(func(c *change) error { return c.touch(some) }); err != nil {
			x.store.log.Warn("the last use of objects was not noted", "cache", x.store.dir, "cause", err)
			return
		}
	}
}

func (c *change) touch(ds []cas.Digest) error {
	now := c.engine.clock()
	for _, d := range ds {
		old, err := get(c.txn, d)
		if err != nil {
			return err
		}
		if old.kind == 0 {
			continue
		}
		e := old
		e.used = now
		if err := c.set(d, old, e); err != nil {
			return err
		}
	}
	return nil
}
