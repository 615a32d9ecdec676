package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/fs/worktree"
)

// dirArg is the directory that a command works on.
type dirArg struct {
	Dir string `arg:"" optional:"" type:"path" help:"Directory; default is the current one."`
}

func (c *dirArg) dir() string {
	if c.Dir == "" {
		return "."
	}
	return c.Dir
}

type writeTreeCommand struct{ dirArg }

// Run stores the directory and prints its digest.
func (c *writeTreeCommand) Run(ctx context.Context, a *app) error {
	return a.withCache(func(cache *disk.Store) error {
		result, err := c.write(ctx, a, cache)
		if err != nil {
			return err
		}
		return a.answer(result.Root)
	})
}

func (c *dirArg) write(ctx context.Context, a *app, cache *disk.Store) (worktree.Result, error) {
	result, err := worktree.Write(ctx, c.dir(), cache, a.worktreeOptions())
	return result, c.locate(err)
}

// locate says which directory the paths in an error are relative to.
func (c *dirArg) locate(err error) error {
	var entry *worktree.EntryError
	var entries *worktree.EntryErrors
	if errors.As(err, &entries) || errors.As(err, &entry) {
		return fmt.Errorf("in %s: %w", c.dir(), err)
	}
	return err
}

type writeTreePushCommand struct{ dirArg }

// Run stores the directory, pushes it and prints its digest.
func (c *writeTreePushCommand) Run(ctx context.Context, a *app) error {
	return a.withCache(func(cache *disk.Store) error {
		before := worktree.IndexedRoot(c.dir(), a.worktreeOptions())
		result, err := c.write(ctx, a, cache)
		if err != nil {
			return err
		}
		err = a.push(ctx, cache, result.Root, before, int64(result.Entries))
		if errors.Is(err, cas.ErrNotFound) {
			return hint(err, "it has gone from the cache meanwhile, run the command again")
		}
		if err != nil {
			return err
		}
		return a.answer(result.Root)
	})
}
