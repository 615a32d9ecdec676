package worktree

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/fs/ignore"
)

// CheckoutOptions say how a checkout is done.
type CheckoutOptions struct {
	Options
	// DryRun changes nothing, and lists in Summary.Changes what would change.
	DryRun bool
	// NoDelete keeps entries that the tree does not have. What a directory
	// holds that stands where the tree has something else is kept as well: the
	// checkout then fails there.
	NoDelete bool
}

// Summary is what a checkout did, or would do.
type Summary struct {
	Entries int      // in the tree, the root left out
	Written int      // entries made, replaced or given other permissions
	Removed int      // entries removed
	Bytes   int64    // written as content of files
	Changes []Change // in bytewise order of path; only of a dry run
}

// Action says what a checkout does to an entry.
type Action int

const (
	// Create makes an entry that is not there.
	Create Action = iota
	// Replace puts an entry in the place of another with other content or of
	// another type.
	Replace
	// Chmod changes the permission bits alone.
	Chmod
	// Remove removes an entry that the tree does not have.
	Remove
)

// String returns the action's name in lower case.
func (a Action) String() string {
	return [...]string{"create", "replace", "chmod", "remove"}[a]
}

// Change is one difference between a directory and a tree.
type Change struct {
	Path   string // relative to the root
	Action Action
	// Known is true if the index has the entry as it is: nothing is lost that
	// did not come from a tree or go into one.
	Known bool
}

// Checkout makes the directory dir, which is created if absent, equal to the
// tree root in store: the same entries with the same content, permission bits
// and link targets. Entries that the tree does not have are removed, but for
// what the tree's own ignore file matches. The root's own permission bits are
// not part of the tree and stay as they are.
//
// Entries that are right already are not touched. A file appears under its
// name when it is whole. A checkout that fails, or is killed, leaves some
// entries as they were and some as they should be; the next one does the rest.
// A tree that this directory can't hold, such as one with an entry named
// .fstree, and a directory that can't be written, are refused before anything
// is touched.
func Checkout(ctx context.Context, dir string, root cas.Digest, store cas.Getter, opt CheckoutOptions) (Summary, error) {
	opt.Options = opt.withDefaults()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &checkout{
		ctx: ctx, cancel: cancel, store: store, opt: opt, temp: ".fstree-" + rand.Text()[:10], umask: umask(),
		index: loadIndex(dir, opt.Options), own: ownOf(dir, opt.Options),
	}
	c.ignore = sync.OnceValues(func() (*ignore.Matcher, error) { return c.treeIgnore(root) })
	if err := c.preflight(dir, root); err != nil {
		return Summary{}, err
	}
	top, err := c.openTarget(dir, root)
	if err != nil {
		return Summary{}, err
	}
	if top.fd >= 0 {
		defer unix.Close(top.fd)
	}
	c.crew.run(opt.Threads, func() { c.visit(top) })
	if ctx.Err() != nil {
		return c.summary(), context.Cause(ctx)
	}
	if !opt.DryRun && !top.section.old {
		saveIndex(dir, opt.Options, c.index, top.section, "", c.index.rules)
	}
	return c.summary(), nil
}

// checkout is one run of Checkout.
type checkout struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	store  cas.Getter
	opt    CheckoutOptions
	index  *index
	own    own
	temp   string // how the names of this run's temporary files begin
	temps  atomic.Int64
	umask  uint32
	crew   crew

	writable func() error                    // whether the root can be changed; asked before the first change
	ignore   func() (*ignore.Matcher, error) // the rules of the tree

	entries, written, removed, bytes atomic.Int64

	mu      sync.Mutex
	changes []Change
}

func (c *checkout) summary() Summary {
	slices.SortFunc(c.changes, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return Summary{
		Entries: int(c.entries.Load()), Written: int(c.written.Load()),
		Removed: int(c.removed.Load()), Bytes: c.bytes.Load(), Changes: c.changes,
	}
}

// openTarget returns the place of the root. In a dry run it may not be there.
func (c *checkout) openTarget(dir string, root cas.Digest) (*place, error) {
	top := &place{want: root, fd: -1}
	top.pending.Store(1)
	fd, err := openRoot(dir)
	if err == unix.ENOENT {
		top.fresh = true
		if c.opt.DryRun {
			return top, nil
		}
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, err
		}
		fd, err = openRoot(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	top.fd = fd
	top.known = c.index.top()
	c.writable = sync.OnceValue(func() error {
		err := unix.Faccessat(fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
		if err != nil {
			return fmt.Errorf("%s can't be written: %w", dir, err)
		}
		return nil
	})
	return top, nil
}

// fail ends the checkout, because of the entry path.
func (c *checkout) fail(path string, err error) {
	var entry *EntryError
	if !errors.As(err, &entry) && !errors.Is(err, context.Canceled) {
		err = &EntryError{path, err}
	}
	c.cancel(err)
}

// did counts a change and tells of it.
func (c *checkout) did(path string, action Action, size int64) {
	kind := CheckedOut
	if action == Remove {
		kind = Removed
		c.removed.Add(1)
	} else {
		c.written.Add(1)
		c.bytes.Add(size)
	}
	c.opt.observe(Event{Kind: kind, Path: path, Size: size})
}

// would notes a change in a dry run.
func (c *checkout) would(path string, action Action, known bool) {
	if action == Remove {
		c.removed.Add(1)
	} else {
		c.written.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes = append(c.changes, Change{path, action, known})
}

func (c *checkout) tempName() string {
	return fmt.Sprintf("%s-%d", c.temp, c.temps.Add(1))
}
