package worktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/fs/ignore"
)

// Result is what Write found.
type Result struct {
	Root    cas.Digest
	Entries int // in the tree: files, directories and symlinks, the root left out

	// What was handed to the store, files and trees. Some of it the store may
	// have had before.
	Added      int
	AddedBytes int64
}

// Write stores the directory dir in store and returns the digest of its tree.
//
// A file is read once, and its digest is of the bytes that were stored. All is
// stored when Write returns; a store that is no cas.BatchAdder gets each tree
// after all that it names. What the index knows to be unchanged is not read,
// and stored again only if the store has lost it.
//
// A file that changes while it is read is read again, a few times. Entries
// that can't be read fail all together with an *EntryErrors; the index then
// stays as it was. A vanished entry is none. An index that can't be read or
// written costs time, not correctness, and is a warning.
func Write(ctx context.Context, dir string, store Store, opt Options) (Result, error) {
	opt = opt.withDefaults()
	fd, err := openRoot(dir)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", dir, err)
	}
	defer unix.Close(fd)
	matcher, rules, err := loadIgnore(fd, opt)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", dir, err)
	}
	x := loadIndex(dir, opt)
	opt.observe(Event{Kind: IndexRefreshed, Path: dir})
	q := inquire(ctx, store, x)
	defer q.end()
	w := &writer{opt: opt, ignore: matcher, index: x, own: ownOf(dir, opt), inquiry: q, device: trustedDevice(fd), sameRules: rules == x.rules}
	var root *dirNode
	err = cas.AddMany(ctx, store, func(a cas.Adder) (err error) {
		w.store = a
		root, err = w.walk(ctx, fd)
		if errors.Is(err, errLost) {
			w.lost = q.lost
			root, err = w.walk(ctx, fd)
		}
		return err
	})
	if err != nil {
		return Result{}, err
	}
	if !root.section.old || x.epoch != q.epoch || x.rules != rules {
		saveIndex(dir, opt, x, root.section, q.epoch, rules)
	}
	return Result{
		Root: root.section.block.digest(), Entries: int(w.entries.Load()),
		Added: int(w.added.Load()), AddedBytes: w.addedBytes.Load(),
	}, nil
}

// writer is one run of Write.
type writer struct {
	ctx       context.Context
	cancel    context.CancelCauseFunc
	store     cas.Adder
	opt       Options
	ignore    *ignore.Matcher
	index     *index
	own       own
	inquiry   *inquiry
	device    uint64                  // on which the times of directories can be trusted, 0 if on none
	sameRules bool                    // what is ignored is what was when the index was written
	lost      map[cas.Digest]struct{} // known objects that the store no longer holds
	crew      crew

	failures   failures
	entries    atomic.Int64
	added      atomic.Int64
	addedBytes atomic.Int64
}

// walk goes through the directory that is open as fd. It does not wait for the
// inquiry as long as nothing has to be stored that could name what the store
// has lost; if something is lost it fails with errLost.
func (w *writer) walk(ctx context.Context, fd int) (*dirNode, error) {
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	defer w.cancel(nil)
	w.entries.Store(0)
	if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
		return nil, err
	}
	root := &dirNode{fd: fd, known: w.index.top()}
	root.pending.Store(1)
	w.crew.run(w.opt.Threads, func() { w.visit(root) })
	if w.ctx.Err() != nil {
		return nil, context.Cause(w.ctx)
	}
	if err := w.failures.err(); err != nil {
		return nil, err
	}
	return root, w.heed()
}

// heed waits for what the inquiry finds.
func (w *writer) heed() error {
	if w.lost != nil {
		return nil
	}
	return w.inquiry.wait(w.ctx)
}

// usable tells whether a tree that we write can name d without more ado.
func (w *writer) usable(d cas.Digest) bool {
	if d.Algorithm() != cas.BLAKE3 {
		return false
	}
	if len(w.lost) == 0 {
		return true
	}
	_, lost := w.lost[d]
	return !lost
}
