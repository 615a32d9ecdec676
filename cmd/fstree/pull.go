package main

import (
	"context"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/remote"
	"github.com/fstree/fstree/remote/transfer"
)

type pullCommand struct{ treeArg }

// Run pulls the tree and prints its digest.
func (c *pullCommand) Run(ctx context.Context, a *app) error {
	if _, err := c.path(); err != nil {
		return err
	}
	return a.withCache(func(cache *disk.Store) error {
		root, err := a.pull(ctx, cache, &c.treeArg, cas.Digest{})
		if err != nil {
			return err
		}
		return a.answer(root)
	})
}

// pull fetches what the cache lacks of the tree, and returns its digest. The
// cache probably has the tree before, if that is not zero.
func (a *app) pull(ctx context.Context, cache *disk.Store, t *treeArg, before cas.Digest) (root cas.Digest, err error) {
	err = a.withRemote(func(far remote.Store) error {
		reach := a.reach(cache, far)
		defer reach.Close()
		if root, err = t.resolve(ctx, reach); err != nil {
			return err
		}
		a.emit(event{Type: "cache::pull", Path: root.String()})
		return transfer.Pull(ctx, far, cache, root, a.transferOptions(pullEvents{a}, before))
	})
	return root, err
}
