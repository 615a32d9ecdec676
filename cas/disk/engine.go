package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"sync"
	"sync/atomic"
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
	wholeKey  = 'w' // there once everything that lies around was entered
)

// engine is the index itself, in the process that owns it.
type engine struct {
	store *Store
	db    *badger.DB

	lifetime   context.Context
	end        context.CancelFunc
	background sync.WaitGroup

	damaged atomic.Bool
	giveUp  func() // makes the Store lose this engine

	touches touches

	files sync.Mutex // held while a file gets or loses its name; before mu

	mu           sync.Mutex // held while the index is changed
	totals       totals
	packs        map[uint64]int64 // bytes of records in use
	evicting     bool             // a background eviction is under way
	nextEviction time.Time        // no background eviction starts earlier
	stuck        bool             // Badger did not write, and will not be asked again
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

// databaseOptions keep Badger small. Values are entries of some thirty bytes,
// so everything is in its tables, and its value log stays empty. Its memory
// goes with the size of a table, several of which are built at a time; small
// ones still open in about 50 µs each. Uncompressed blocks need no cache.
func databaseOptions(s *Store) badger.Options {
	opt := badger.DefaultOptions(s.path(indexDir)).
		WithLogger(badgerLog{s.log}).
		WithBypassLockGuard(true). // the lock of the directory is ours
		WithMetricsEnabled(false).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithMemTableSize(2 << 20).
		WithNumMemtables(2).
		WithBaseTableSize(1 << 20).
		WithNumLevelZeroTables(4).
		WithNumLevelZeroTablesStall(8).
		WithNumCompactors(2).
		WithValueLogFileSize(1 << 20).
		WithValueThreshold(1 << 10)
	opt.TableSizeMultiplier = 1
	return opt
}

// openEngine opens the index. The caller holds the lock of the directory. The
// error is errDamaged if the index is of no use any more.
func openEngine(s *Store) (*engine, error) {
	x := &engine{store: s, packs: map[uint64]int64{}}
	x.lifetime, x.end = context.WithCancel(context.Background())
	err := s.withoutBallast(x.open)
	if err == nil {
		s.takeBallast()
		s.removeLeftovers()
		return x, nil
	}
	if full := s.room(reserve); full != nil {
		return nil, x.failed(full)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, x.failed(err)
	}
	return nil, fmt.Errorf("%w: %w", errDamaged, err)
}

func (x *engine) open() error {
	opt := databaseOptions(x.store)
	thorough := x.store.checkDue()
	if err := preflight(opt, thorough); err != nil {
		return err
	}
	if thorough {
		x.store.checked()
	}
	err := guard(func() (err error) {
		x.db, err = badger.Open(opt)
		return err
	})
	if err != nil {
		return err
	}
	if err = guard(x.load); err != nil {
		guard(x.db.Close)
	}
	return err
}

// guard returns an error where fn panics: damaged tables make Badger do so, and
// truncated ones fault.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", errDamaged, cause)
		}
	}()
	return fn()
}

// load reads the totals, and finds out whether the index is whole.
func (x *engine) load() error {
	whole := false
	err := x.db.View(func(txn *badger.Txn) error {
		_, err := txn.Get([]byte{wholeKey})
		whole = err == nil
		return x.loadTotals(txn)
	})
	if err != nil || whole {
		return err
	}
	if err := x.rebuild(); err != nil {
		return err
	}
	return x.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte{wholeKey}, nil) })
}

func (x *engine) loadTotals(txn *badger.Txn) error {
	t, err := txn.Get([]byte{totalsKey})
	if err == nil {
		err = t.Value(func(b []byte) error { return decode(b, &x.totals) })
	}
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{packKey}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		var used int64
		if err := it.Item().Value(func(b []byte) error { return decode(b, &used) }); err != nil {
			return err
		}
		x.packs[binary.BigEndian.Uint64(it.Item().Key()[1:])] = used
	}
	return nil
}

func decode(b []byte, v any) error {
	_, err := binary.Decode(b, binary.LittleEndian, v)
	return err
}

func (x *engine) close() error {
	x.end()
	x.background.Wait()
	x.flushTouches()
	if err := x.store.withoutBallast(x.closeDatabase); err != nil {
		return x.failed(err)
	}
	if x.damaged.Load() {
		return x.store.setIndexAside()
	}
	return nil
}

// errStuck means that Badger does not write. It tries again for ever where it
// can't, with its directory gone, for example.
var errStuck = fmt.Errorf("%w: Badger does not write; is its directory gone?", cas.ErrUnavailable)

func (x *engine) closeDatabase() error {
	return x.wait(func(done chan error) { go func() { done <- guard(x.db.Close) }() })
}

// wait starts what Badger has to do, and waits for its end, but not for ever.
func (x *engine) wait(start func(done chan error)) error {
	done := make(chan error, 1)
	start(done)
	timeout := time.NewTimer(x.store.patience)
	defer timeout.Stop()
	select {
	case err := <-done:
		return err
	case <-timeout.C:
		x.stuck = true
		return errStuck
	}
}

func keyOf(d cas.Digest) []byte {
	key, _ := d.AppendBinary([]byte{objectKey})
	return key
}

// get returns the entry of d, the zero entry if there is none.
func get(txn *badger.Txn, d cas.Digest) (e entry, err error) {
	found, err := txn.Get(keyOf(d))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return entry{}, nil
	}
	if err == nil {
		err = found.Value(func(b []byte) (err error) { e, err = decodeEntry(d, b); return err })
	}
	if err != nil {
		return entry{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return e, nil
}

func (x *engine) lookup(_ context.Context, ds []cas.Digest) ([]entry, error) {
	entries, err := x.entries(ds)
	if err != nil {
		return nil, err
	}
	if x.touch(ds, entries) {
		x.flushTouches()
	}
	return entries, nil
}

// entries is lookup for those who do not use ds.
func (x *engine) entries(ds []cas.Digest) ([]entry, error) {
	entries := make([]entry, len(ds))
	err := x.view(func(txn *badger.Txn) (err error) {
		for i, d := range ds {
			if entries[i], err = get(txn, d); err != nil {
				return err
			}
		}
		return nil
	})
	return entries, err
}

// view reads the index.
func (x *engine) view(fn func(*badger.Txn) error) error {
	return x.failed(guard(func() error { return x.db.View(fn) }))
}

// failed says whose error err is. If the index is damaged it begins to end, and
// the next owner makes it anew.
func (x *engine) failed(err error) error {
	var told *indexError
	switch {
	case err == nil || errors.As(err, &told) || errors.Is(err, errOwnerGone):
		return err
	case !errors.Is(err, errDamaged):
		return &indexError{x.store.dir, err}
	}
	x.store.log.Warn("the index is damaged", "cache", x.store.dir, "cause", err)
	if !x.damaged.Swap(true) && x.giveUp != nil {
		x.giveUp()
	}
	return errOwnerGone
}

// indexError is any failure of the index.
type indexError struct {
	dir string
	err error
}

func (e *indexError) Error() string { return fmt.Sprintf("cache %s: index: %v", e.dir, e.err) }
func (e *indexError) Unwrap() error { return e.err }

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
	if x.stuck {
		return x.failed(errStuck)
	}
	c := &change{txn: x.db.NewTransaction(true), totals: x.totals, packs: map[uint64]int64{}, engine: x}
	defer c.txn.Discard()
	err := guard(func() error {
		if err := fn(c); err != nil {
			return err
		}
		return c.commit()
	})
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
	return c.engine.wait(func(done chan error) {
		c.txn.CommitWith(func(err error) { done <- err })
	})
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
