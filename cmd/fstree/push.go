package main

import (
	"context"
	"errors"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/remote"
	"github.com/fstree/fstree/remote/transfer"
)

// treeArg is the tree that a command works on.
type treeArg struct {
	Tree string `arg:"" help:"Digest of a tree, or DIGEST/path/inside."`
}

func (t *treeArg) path() (tree.Path, error) {
	p, err := tree.ParsePath(t.Tree)
	return p, hint(err, "a tree is named by the digest that write-tree prints")
}

// resolve returns the digest of the tree that the argument names.
func (t *treeArg) resolve(ctx context.Context, g cas.Getter) (cas.Digest, error) {
	p, err := t.path()
	if err != nil || p.Rest == "" {
		return p.Root, err
	}
	e, err := tree.Resolve(ctx, g, p)
	if err == nil && e.Type != tree.Dir {
		err = &notATreeError{p, e.Type}
	}
	return e.Digest, err
}

type notATreeError struct {
	path tree.Path
	kind tree.Type
}

func (e *notATreeError) Error() string {
	return e.path.String() + " is a " + e.kind.String() + ", not a directory"
}

type pushCommand struct{ treeArg }

// Run pushes the tree and prints its digest.
func (c *pushCommand) Run(ctx context.Context, a *app) error {
	return a.withCache(func(cache *disk.Store) error {
		root, err := c.resolve(ctx, cache)
		if err != nil {
			return incomplete(err, c.Tree)
		}
		entries := int64(-1)
		if a.JSON {
			if entries, err = countEntries(ctx, cache, root); err != nil {
				return incomplete(err, c.Tree)
			}
		}
		if err := a.push(ctx, cache, root, cas.Digest{}, entries); err != nil {
			return incomplete(err, c.Tree)
		}
		return a.answer(root)
	})
}

// push sends the closure of root, which has so many entries. The remote probably
// has the tree before, if that is not zero.
func (a *app) push(ctx context.Context, cache *disk.Store, root, before cas.Digest, entries int64) error {
	return a.withRemote(func(far remote.Store) error {
		a.emit(event{Type: "cache::push", Path: root.String(), Value: &entries})
		return transfer.Push(ctx, cache, far, root, a.transferOptions(pushEvents{a}, before))
	})
}

// incomplete adds advice to the error of a command that found an object
// missing in the cache.
func incomplete(err error, of string) error {
	if errors.Is(err, cas.ErrNotFound) {
		return hint(err, "the tree is not complete in the cache, try \"fstree pull %s\"", of)
	}
	return err
}

// countEntries counts the names in a tree, at every depth.
func countEntries(ctx context.Context, g cas.Getter, root cas.Digest) (int64, error) {
	trees := map[cas.Digest]*tree.Tree{}
	var order []cas.Digest
	err := tree.Walk(ctx, g, []cas.Digest{root}, parallelTransfers, func(d cas.Digest, t *tree.Tree, err error) error {
		trees[d], order = t, append(order, d)
		return err
	})
	if err != nil {
		return 0, err
	}
	return countBelow(trees, root, map[cas.Digest]int64{}), nil
}

func countBelow(trees map[cas.Digest]*tree.Tree, d cas.Digest, counted map[cas.Digest]int64) int64 {
	if n, done := counted[d]; done {
		return n
	}
	n := int64(trees[d].Len())
	for e := range trees[d].All() {
		if e.Type == tree.Dir {
			n += countBelow(trees, e.Digest, counted)
		}
	}
	counted[d] = n
	return n
}
