package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/fs/worktree"
)

// target is the directory that a checkout changes.
type target struct {
	treeArg
	dirArg
	DryRun   bool `short:"n" help:"List what would change, and change nothing."`
	NoDelete bool `help:"Keep entries that the tree does not have."`
	Force    bool `help:"Delete strangers in the current directory without asking; check out into / or the home directory."`
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
	options := worktree.CheckoutOptions{Options: a.worktreeOptions(), NoDelete: c.NoDelete, DryRun: c.DryRun}
	if err := c.permitted(ctx, a, cache, root, options); err != nil {
		return err
	}
	summary, err := worktree.Checkout(ctx, c.dir(), root, cache, options)
	if err != nil {
		return incomplete(c.locate(err), c.Tree)
	}
	if c.DryRun {
		return printChanges(a.stdout, summary.Changes)
	}
	return a.answer(root)
}

func printChanges(w io.Writer, changes []worktree.Change) error {
	out := bufio.NewWriter(w)
	for _, change := range changes {
		fmt.Fprintf(out, "%-7s %s\n", change.Action, change.Path)
	}
	return out.Flush()
}

type pullCheckoutCommand struct{ target }

// Run fetches the tree, makes the directory equal to it and prints its digest.
func (c *pullCheckoutCommand) Run(ctx context.Context, a *app) error {
	if _, err := c.path(); err != nil {
		return err
	}
	return a.withCache(func(cache *disk.Store) error {
		root, err := a.pull(ctx, cache, &c.treeArg, worktree.IndexedRoot(c.dir(), a.worktreeOptions()))
		if err != nil {
			return err
		}
		return c.checkout(ctx, a, cache, root)
	})
}
