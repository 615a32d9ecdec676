package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/fstree/fstree/cas"
)

// Keys of the index. Numbers are big-endian in keys, little-endian in values.
const (
	objectKey = 'o' // + digest → entry
	orderKey  = 'u' // + bucket of last use + number → names of objects
	packKey   = 'p' // + pack id → bytes of its records that are in use
	totalsKey = 't' // → totals, and names that wait to be records of the order
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

	eviction     chan struct{} // held by the one eviction that is under way
	touches      touches
	losses       losses
	strangers    strangers
	counts       counts
	read         atomic.Int64 // entries that were read without asking for their digests
	partialBytes atomic.Int64 // as of the last time that somebody counted

	files sync.Mutex // held while a file gets or loses its name; before mu

	mu           sync.Mutex // held while the index is changed
	totals       totals
	waiting      orderRecord      // names for the order that are in no record yet
	packs        map[uint64]int64 // bytes of records in use
	evicting     bool             // a background eviction is under way
	nextEviction time.Time        // no background eviction starts earlier
	stuck        bool             // Badger did not write, and will not be asked again
}

// totals are sums over all entries, kept exact by every change.
type totals struct {
	Objects, Bytes, Files, InFiles int64

	Ordered bool // every object is named in the order
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

// openEngine opens the index. The caller holds the lock of the directory. The
// error is errDamaged if the index is of no use any more.
func openEngine(s *Store) (*engine, error) {
	x := &engine{store: s, eviction: make(chan struct{}, 1), packs: map[uint64]int64{}}
	x.lifetime, x.end = context.WithCancel(context.Background())
	err := s.withoutBallast(x.open)
	if err == nil {
		s.takeBallast()
		s.removeLeftovers()
		s.beginEpoch()
		x.counts.load(s)
		x.countPartials()
		return x, nil
	}
	if full := s.room(reserve); full != nil {
		return nil, x.failed(full)
	}
	if refused(err) {
		return nil, x.failed(err)
	}
	return nil, fmt.Errorf("%w: %w", errDamaged, err)
}

// refused tells whether the system refused what another time it may allow. The
// index is not to blame then.
func refused(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) && slices.Contains([]syscall.Errno{
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
	}, errno)
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
	if err := errors.Join(x.store.endEpoch(), x.rebuild()); err != nil {
		return err
	}
	return x.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte{wholeKey}, nil) })
}

func (x *engine) loadTotals(txn *badger.Txn) error {
	t, err := txn.Get([]byte{totalsKey})
	if err == nil {
		err = t.Value(x.setTotals)
	}
	if errors.Is(err, badger.ErrKeyNotFound) {
		x.totals.Ordered = true // nothing is there
		err = nil
	}
	if err != nil {
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

// appendTotals appends t, and what waits for the order:
//
//	totals   u32 bucket   names   u32 checksum
func appendTotals(b []byte, t totals, waiting orderRecord) []byte {
	start := len(b)
	b, _ = binary.Append(b, binary.LittleEndian, t)
	b = binary.LittleEndian.AppendUint32(b, waiting.place.bucket)
	b = append(b, waiting.names...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// earlierTotals is what versions of this program write that know no order. So it
// counts as incomplete after them.
const earlierTotals = 4 * 8

// setTotals is the reverse of appendTotals.
func (x *engine) setTotals(b []byte) error {
	if len(b) == earlierTotals {
		return decode(append(bytes.Clone(b), 0), &x.totals)
	}
	names := binary.Size(x.totals) + 4
	end := len(b) - 4
	if end < names || (end-names)%shortName != 0 || crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return fmt.Errorf("%w: the totals are malformed", errDamaged)
	}
	x.waiting.place.bucket = binary.LittleEndian.Uint32(b[names-4:])
	x.waiting.names = bytes.Clone(b[names:end])
	return decode(b, &x.totals)
}

func decode(b []byte, v any) error {
	_, err := binary.Decode(b, binary.LittleEndian, v)
	return err
}

func (x *engine) close() error {
	x.end()
	x.background.Wait()
	x.flushTouches()
	x.counts.save(x.store)
	if err := x.store.withoutBallast(x.closeDatabase); err != nil {
		return x.failed(err)
	}
	if x.damaged.Load() {
		return x.store.setIndexAside()
	}
	return nil
}

func keyOf(d cas.Digest) []byte {
	key, _ := d.AppendBinary(append(make([]byte, 0, 1+maxDigest), objectKey))
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

func (x *engine) lookup(_ context.Context, ds []cas.Digest, counted bool) ([]entry, error) {
	entries, err := x.entries(ds)
	if err != nil {
		return nil, err
	}
	if counted {
		x.counts.note(entries)
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
			if entries[i], err = x.get(txn, d); err != nil {
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

func (x *engine) clock() uint32 { return uint32(x.store.now().Unix()) }
