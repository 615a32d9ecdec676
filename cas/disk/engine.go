package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/fstree/fstree/cas"
)

// Keys of the index. Numbers are big-endian in keys, little-endian in values.
const (
	objectKey = 'o' // + digest → entry
	packKey   = 'p' // + pack id → bytes of its records that are in use
	totalsKey = 't' // → totals
)

// engine is the index itself, in the process that owns it.
type engine struct {
	store *Store
	db    *badger.DB

	lifetime   context.Context
	end        context.CancelFunc
	background sync.WaitGroup

	touches touches

	files sync.Mutex // held while a file gets or loses its name; before mu

	mu           sync.Mutex // held while the index is changed
	totals       totals
	packs        map[uint64]int64 // bytes of records in use
	evicting     bool             // a background eviction is under way
	nextEviction time.Time        // no background eviction starts earlier
}

// totals are sums over all entries, kept exact by every change.
type totals struct {
	Objects, Bytes, Files, InFiles int64
}

func (t totals) add(e entry, sign int64) totals {
	t.Objects += sign
	t.Bytes += sign * e.size
	if e.kind == filed {
		t.Files += sign
		t.InFiles += sign * e.size
	}
	return t
}

// databaseOptions keep Badger small: values are entries of some forty bytes,
// so everything is in its tables and its value log stays empty.
func databaseOptions(s *Store) badger.Options {
	return badger.DefaultOptions(s.path(indexDir)).
		WithLogger(badgerLog{s.log}).
		WithMetricsEnabled(false).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithCompression(options.None).
		WithMemTableSize(4 << 20).
		WithNumMemtables(2).
		WithBaseTableSize(4 << 20).
		WithNumLevelZeroTables(4).
		WithNumLevelZeroTablesStall(8).
		WithNumCompactors(2).
		WithBlockCacheSize(4 << 20).
		WithIndexCacheSize(4 << 20).
		WithValueLogFileSize(1 << 20).
		WithValueThreshold(1 << 10)
}

// openEngine opens the index. The caller holds the lock of the directory.
func openEngine(s *Store) (*engine, error) {
	db, err := badger.Open(databaseOptions(s))
	if err != nil {
		return nil, fmt.Errorf("cache %s: cannot open the index: %w", s.dir, err)
	}
	x := &engine{store: s, db: db, packs: map[uint64]int64{}}
	x.lifetime, x.end = context.WithCancel(context.Background())
	if err := x.load(); err != nil {
		db.Close()
		return nil, fmt.Errorf("cache %s: cannot read the index: %w", s.dir, err)
	}
	s.removeLeftovers()
	return x, nil
}

// load reads the totals.
func (x *engine) load() error {
	return x.db.View(func(txn *badger.Txn) error {
		t, err := txn.Get([]byte{totalsKey})
		if err == nil {
			err = t.Value(func(b []byte) error { _, err := binary.Decode(b, binary.LittleEndian, &x.totals); return err })
		}
		if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
			return err
		}
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{packKey}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			var used int64
			err := it.Item().Value(func(b []byte) error { _, err := binary.Decode(b, binary.LittleEndian, &used); return err })
			if err != nil {
				return err
			}
			x.packs[binary.BigEndian.Uint64(it.Item().Key()[1:])] = used
		}
		return nil
	})
}

func (x *engine) close() error {
	x.end()
	x.background.Wait()
	x.flushTouches()
	return x.db.Close()
}

func keyOf(d cas.Digest) []byte {
	key, _ := d.AppendBinary([]byte{objectKey})
	return key
}

func get(txn *badger.Txn, d cas.Digest) (e entry, err error) {
	found, err := txn.Get(keyOf(d))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	err = found.Value(func(b []byte) error { e = decodeEntry(d, b); return nil })
	return e, err
}

func (x *engine) lookup(_ context.Context, ds []cas.Digest) ([]entry, error) {
	entries := make([]entry, len(ds))
	err := x.db.View(func(txn *badger.Txn) (err error) {
		for i, d := range ds {
			if entries[i], err = get(txn, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, x.failed(err)
	}
	if x.touch(ds, entries) {
		x.flushTouches()
	}
	return entries, nil
}

func (x *engine) failed(err error) error {
	return fmt.Errorf("cache %s: index: %w", x.store.dir, err)
}

// change is a set of changes to the index that happens as a whole or not at
// all.
type change struct {
	txn    *badger.Txn
	totals totals
	packs  map[uint64]int64 // the packs that change, with their new number
	engine *engine
}

// change runs fn and keeps what it did, unless it returns an error.
func (x *engine) change(fn func(*change) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.changeLocked(fn)
}

func (x *engine) changeLocked(fn func(*change) error) error {
	c := &change{txn: x.db.NewTransaction(true), totals: x.totals, packs: map[uint64]int64{}, engine: x}
	defer c.txn.Discard()
	err := fn(c)
	if err == nil {
		err = c.commit()
	}
	if err != nil {
		return x.failed(err)
	}
	x.totals = c.totals
	for id, used := range c.packs {
		x.packs[id] = used
		if used == 0 {
			delete(x.packs, id)
		}
	}
	return nil
}

func (c *change) commit() error {
	if c.totals != c.engine.totals {
		b, _ := binary.Append(nil, binary.LittleEndian, c.totals)
		if err := c.txn.Set([]byte{totalsKey}, b); err != nil {
			return err
		}
	}
	for id, used := range c.packs {
		key := binary.BigEndian.AppendUint64([]byte{packKey}, id)
		err := error(nil)
		if used == 0 {
			err = c.txn.Delete(key)
		} else {
			err = c.txn.Set(key, binary.LittleEndian.AppendUint64(nil, uint64(used)))
		}
		if err != nil {
			return err
		}
	}
	return c.txn.Commit()
}

func (c *change) count(e entry, sign int64) {
	if e.kind == 0 {
		return
	}
	c.totals = c.totals.add(e, sign)
	if e.kind == packed {
		id := e.place.pack
		used, ok := c.packs[id]
		if !ok {
			used = c.engine.packs[id]
		}
		c.packs[id] = used + sign*recordSize(e.size)
	}
}

// set makes e the entry of d, whose entry was old.
func (c *change) set(d cas.Digest, old, e entry) error {
	c.count(old, -1)
	c.count(e, +1)
	return c.txn.Set(keyOf(d), appendEntry(nil, d, e))
}

// drop removes the entry of d, which was old.
func (c *change) drop(d cas.Digest, old entry) error {
	c.count(old, -1)
	return c.txn.Delete(keyOf(d))
}

func (x *engine) clock() uint32 { return uint32(x.store.now().Unix()) }

// touchAfter is how old the time of an object's last use may get before a use
// is written down; reading would be writing otherwise.
const touchAfter = 5 * time.Minute

// touches are uses that are not written down yet.
type touches struct {
	mu  sync.Mutex
	set map[cas.Digest]struct{}
}

const maxTouches = 4096

// touch notes the use of ds where it is due, and tells whether it is time to
// write the notes down.
func (x *engine) touch(ds []cas.Digest, entries []entry) bool {
	due := x.clock() - uint32(touchAfter/time.Second)
	t := &x.touches
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, e := range entries {
		if e.kind != 0 && e.used < due {
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

// flushTouches writes down which objects were used. If it can't, they look
// older than they are.
func (x *engine) flushTouches() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.flushTouchesLocked()
}

func (x *engine) flushTouchesLocked() {
	set := x.touches.take()
	if len(set) == 0 || x.store.room() != nil {
		return
	}
	now := x.clock()
	err := x.changeLocked(func(c *change) error {
		for d := range set {
			e, err := get(c.txn, d)
			if err != nil {
				return err
			}
			if e.kind == 0 {
				continue
			}
			used := e
			used.used = now
			if err := c.set(d, e, used); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		x.store.log.Warn("the last use of objects was not noted", "cause", err)
	}
}
