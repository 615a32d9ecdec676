package worktree

import (
	"context"
	"sync"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// preflight looks at all trees that the index does not know, before anything
// is touched: they must be there, and the directory must be able to hold them.
type preflight struct {
	c      *checkout
	crew   crew
	limits limits

	mu   sync.Mutex
	seen map[cas.Digest]struct{}
}

func (c *checkout) preflight(dir string, root cas.Digest) error {
	top := c.index.top()
	if top.digest() == root {
		return nil
	}
	limits, err := limitsAt(dir)
	if err != nil {
		return err
	}
	f := &preflight{c: c, limits: limits, seen: map[cas.Digest]struct{}{}}
	if top != nil {
		f.markKnown(top)
	}
	isNew := f.isNew(root)
	if isNew {
		f.crew.run(c.opt.Threads, func() { f.check(root, "") })
	}
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	if isNew {
		_, err = c.ignore()
	}
	return err
}

func (f *preflight) markKnown(b block) {
	f.seen[b.digest()] = struct{}{}
	for i := range b.len() {
		if r := b.at(i); r.kind() == tree.Dir {
			f.markKnown(f.c.index.child(r))
		}
	}
}

// isNew tells whether d was not asked about before.
func (f *preflight) isNew(d cas.Digest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, seen := f.seen[d]
	f.seen[d] = struct{}{}
	return !seen
}

// check looks at the tree d, which stands at path among other places.
func (f *preflight) check(d cas.Digest, path string) {
	if f.c.ctx.Err() != nil {
		return
	}
	t, err := tree.Read(f.c.ctx, f.c.store, d)
	if err != nil {
		f.c.fail(path, err)
		return
	}
	if name, err := f.limits.check(t); err != nil {
		f.c.fail(join(path, []byte(name)), err)
		return
	}
	for e := range t.All() {
		below := join(path, []byte(e.Name))
		if e.Type == tree.Dir && f.isNew(e.Digest) {
			f.crew.add(func() { f.check(e.Digest, below) })
		}
	}
}
