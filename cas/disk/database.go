package disk

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// databaseOptions keep Badger small. Values are entries of some thirty bytes and
// lists of up to five hundred short names, so everything is in its tables, and its
// value log stays empty. Its memory goes with the size of a table, a dozen of
// which may be built at a time; small ones still open in about 50 µs each.
// Uncompressed blocks need no cache.
func databaseOptions(s *Store) badger.Options {
	opt := badger.DefaultOptions(s.path(indexDir)).
		WithLogger(badgerLog{s.log}).
		WithBypassLockGuard(true). // the lock of the directory is ours
		WithMetricsEnabled(false).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithMemTableSize(1 << 20).
		WithNumMemtables(2).
		WithBaseTableSize(1 << 19).
		WithBaseLevelSize(4 << 20). // few tables are in a compaction at a time
		WithNumLevelZeroTables(4).
		WithNumLevelZeroTablesStall(8).
		WithNumCompactors(2).
		WithValueLogFileSize(1 << 20).
		WithValueThreshold(64 << 10)
	opt.TableSizeMultiplier = 1
	return opt
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

// errStuck means that Badger does not write. It tries again for ever where it
// can't, with its directory gone, for example.
var errStuck = fmt.Errorf("%w: Badger does not write; is its directory gone?", ErrUnavailable)

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
