// Package disk is the local store: a directory that any number of processes
// use at once.
//
// An object of more than 64 KiB is a file of its own, read-only and never
// changed, under objects/. Smaller ones lie one after the other in packs,
// append-only files of up to 64 MiB that each have one writer at a time; a process
// fills a few at once. A Badger database, the index, knows for each object where
// it is, how long it is and when it was used last.
//
// BLAKE3 objects of more than 1 MiB have an outboard, a file under outboards/
// that proves parts of them: see Slice and package bao. It is made while the
// object is hashed, or when it is missed, and goes with the object. It takes a
// thousandth of the object's bytes, which are not counted.
//
// Of such an object parts may be here, in a directory under partial/, verified
// and added by any number of processes, until it is whole: see OpenPartial.
//
// Badger lets one process in. Whoever needs the index first opens it and
// answers everybody else's questions on a Unix socket; the bytes of objects
// never take that way, every process reads and writes them itself. When the
// owner of the index ends, however it ends, the next process with a question
// takes over. There is no daemon: a process owns the index while its Store is
// open.
//
// Nothing is synced to the platter. What was acknowledged survives the end of
// every process; what a power failure damages is found by its digest, or by
// the identity of its file, and counts as absent. A damaged index is made anew
// from the packs and files: records in packs name their objects, as the paths
// of files do. What was damaged is kept for a week, for whoever wants to look.
//
// A file made of parts is proved again after each start of the machine, for its
// length does not tell what a power failure took.
//
// Beyond Options.Size the least recently used objects are evicted, after writes
// in the background, to a hundredth below, and by Evict; but not those that were
// used within Options.Retention or that somebody holds. See Hold. Partial objects
// go with the others, by what they take on disk, unless somebody has them open.
// A use is noted if the last one is five minutes old. The index keeps an order
// of use, so that evictions cost what they remove, besides a look at each object
// that was used since it was looked at last. See Epoch for who wants to know
// whether anything was lost at all.
//
// Memory: the index is mapped, some 85 bytes for an object; Badger takes 30 to
// 60 MB while it writes, a filter of names 1 MiB then, each object on its way at
// most 1 MiB, with the small ones that AddMany has gathered before it.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fstree/fstree/cas"
)

// Options tell how much to keep, and for how long.
type Options struct {
	// Size is the number of bytes of objects to keep at most, 0 for no limit.
	// It is exceeded by objects that are held or were used within Retention.
	Size int64

	// Retention is how long an object stays after its last use, whatever Size
	// says.
	Retention time.Duration

	// Hold keeps every object that is asked for or stored through the Store
	// until the Store is closed, whatever Size and Retention say.
	Hold bool

	// Log takes what happens in the background. Nil is silence.
	Log *slog.Logger
}

// Store is a cas.Store in a directory. Its Get returns nothing but
// cas.RandomObjects, and those of large objects have a method
//
//	File() *os.File
//
// which returns the open file, for reading alone, valid until the object is
// closed. Make a Store with Open, end it with Close.
type Store struct {
	dir string
	opt Options
	log *slog.Logger
	now func() time.Time

	patience time.Duration
	boot     uint64

	lifetime context.Context
	end      context.CancelFunc

	packer  packer
	writers *packWriters
	readers packReaders
	kept    kept
	marks   marks
	proofs  chan struct{} // held while a file is hashed anew
	grown   atomic.Int64  // bytes added to partial objects that the index does not know of

	ways ways
	gate sync.RWMutex // held for reading by whoever asks the index
}

// Open returns the store in dir, which it makes with mode 0700 if it is not
// there. It looks at the directory only: the index is opened, or its owner
// found, by the first operation that needs it.
func Open(dir string, opt Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cache %s: %w", dir, err)
	}
	if err := prepare(dir); err != nil {
		return nil, fmt.Errorf("cache %s: %w", dir, err)
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		dir: dir, opt: opt, log: opt.Log, now: time.Now, patience: patience,
		proofs: make(chan struct{}, 1), writers: newPackWriters(), boot: thisBoot(),
	}
	s.readers.dir = s.path(packsDir)
	s.lifetime, s.end = context.WithCancel(context.Background())
	s.packer.start(s)
	return s, nil
}

// ErrUnavailable is what errors.Is finds when it is the cache that can't be
// asked: nobody answers who should. It is a cas.ErrUnavailable as well.
var ErrUnavailable error = unavailable{}

type unavailable struct{}

func (unavailable) Error() string { return "cache unavailable" }

func (unavailable) Is(target error) bool { return target == cas.ErrUnavailable }

// errClosed is the cause when a closed Store is used.
var errClosed = fmt.Errorf("%w: it was closed", ErrUnavailable)

// Close finishes what others have asked for, and leaves the index to them.
// Objects that are open stay readable.
func (s *Store) Close() error {
	s.packer.stop()
	s.end()
	s.interrupt()
	s.writers.end()
	s.gate.Lock()
	defer s.gate.Unlock()
	s.readers.close()
	if s.kept.hold != nil {
		s.kept.hold.Close()
	}
	return s.leave()
}

// kept is what Options.Hold keeps, made when the first object is met.
type kept struct {
	once sync.Once
	hold *Hold
	err  error
}

func (s *Store) keep(ds ...cas.Digest) error {
	if !s.opt.Hold {
		return nil
	}
	s.kept.once.Do(func() { s.kept.hold, s.kept.err = s.Hold() })
	if s.kept.err != nil {
		return s.kept.err
	}
	return s.kept.hold.Add(ds...)
}

// Where things are in the directory.
const (
	runDir       = "run" // lock and socket
	indexDir     = "index"
	objectsDir   = "objects"
	outboardsDir = "outboards" // beside objects/
	partialDir   = "partial"   // objects of which parts are here
	packsDir     = "packs"
	tmpDir       = "tmp"     // files on their way to objects/ and outboards/, locked by their writer
	holdsDir     = "holds"   // what must not be evicted, locked by who holds it
	damagedDir   = "damaged" // what was set aside
)

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// prepare makes dir and what belongs into it, and refuses what is not this
// user's own directory.
func prepare(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return bare(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return bare(err)
	}
	if err := private(dir); err != nil {
		return err
	}
	for _, sub := range []string{runDir, indexDir, objectsDir, outboardsDir, partialDir, packsDir, tmpDir, holdsDir, damagedDir} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return bare(err)
		}
	}
	return nil
}

// bare strips the path of err: the caller names the cache.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
