package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/fs/worktree"
)

// permitted protects what a checkout would delete and nobody could get back: a
// whole system or home directory, and, where no directory was named, entries
// of the current one that never were in a tree.
func (c *target) permitted(ctx context.Context, a *app, cache *disk.Store, root cas.Digest, options worktree.CheckoutOptions) error {
	if c.Force || c.DryRun {
		return nil
	}
	if dir := resolved(c.dir()); dir == "/" || dir == resolved(home()) {
		return hint(fmt.Errorf("a checkout makes all of %s equal to the tree", dir), "add --force if you mean it")
	}
	if c.Dir != "" || c.NoDelete {
		return nil
	}
	options.DryRun = true
	summary, err := worktree.Checkout(ctx, c.dir(), root, cache, options)
	if err != nil {
		return incomplete(c.locate(err), c.Tree)
	}
	if strangers := strangers(summary.Changes); len(strangers) > 0 {
		return a.confirm(strangers)
	}
	return nil
}

// resolved returns dir without links, as far as it exists.
func resolved(dir string) string {
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return dir
}

// strangers are the entries that would be lost, and that no tree is known to
// have.
func strangers(changes []worktree.Change) []string {
	var paths []string
	for _, change := range changes {
		if change.Action == worktree.Remove && !change.Known {
			paths = append(paths, change.Path)
		}
	}
	return paths
}

// confirm asks the user whether strangers may be deleted.
func (a *app) confirm(strangers []string) error {
	what := fmt.Sprintf("%q", strangers[0])
	if n := len(strangers) - 1; n > 0 {
		what += fmt.Sprintf(" and %d more entries", n)
	}
	refusal := hint(fmt.Errorf("the current directory holds %s that the tree does not have", what),
		"name the directory, or add --force to delete or --no-delete to keep them; --dry-run lists them")
	if a.JSON || !term.IsTerminal(int(os.Stdin.Fd())) {
		return refusal
	}
	fmt.Fprintf(a.stderr, "Delete %s from the current directory? [y/N] ", what)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return refusal
	}
	return nil
}
