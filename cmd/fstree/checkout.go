package main

import (
	"context"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/fs/worktree"
)

// target is the directory that a checkout changes.
type target struct {
	treeArg
	dirArg
}

type checkoutCommand struct{ target }

// Run makes the directory equal to the tree and prints the tree's digest.
func (c *checkoutCommand) Run(ctx context.Context, a *app) error {
	if _, err := c.path(); err != nil {
		return err
	}
	return a.withCache(func(cache *disk.Store) error {
		root, err := c.resolve(ctx, cache)
		if err != nil {
			return incomplete(err, c.Tree)
		}
		return c.checkout(ctx, a, cache, root)
	})
}

func (c *target) checkout(ctx context.Context, a *app, cache *disk.Store, root cas.Digest) error {
	options := worktree.CheckoutOptions{Options: a.worktreeOptions()}
	if _, err := worktree.Checkout(ctx, c.Dir, root, cache, options); err != nil {
		return incomplete(c.locate(err), c.Tree)
	}
	return a.answer(root)
}

type pullCheckoutCommand struct{ target }

// Run fetches the tree, makes the directory equal to it and prints its digest.
func (c *pullCheckoutCommand) Run(ctx context.Context, a *app) error {
	if _, err := c.path(); err != nil {
		return err
	}
	return a.withCache(func(cache *disk.Store) error {
		root, err := a.pull(ctx, cache, &c.treeArg)
		if err != nil {
			return err
		}
		return c.checkout(ctx, a, cache, root)
	})
}
