package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"

	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/fs/worktree"
)

type lsIndexCommand struct{ dirArg }

// indexTime is RFC 3339 in milliseconds.
const indexTime = "2006-01-02T15:04:05.000Z07:00"

// Run lists what the index of the directory says.
func (c *lsIndexCommand) Run(a *app) error {
	entries, err := worktree.ReadIndex(c.dir(), a.worktreeOptions())
	if errors.Is(err, fs.ErrNotExist) {
		return hint(err, "write-tree and checkout make one")
	}
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.stdout)
	for _, e := range entries {
		mode := tree.Entry{Type: e.Type, Perm: e.Perm}.Mode()
		fmt.Fprintf(out, "%-*s %s %s %s\n", digestColumns, e.Digest, mode, e.Mtime.UTC().Format(indexTime), e.Path+arrow(e.Target))
	}
	return out.Flush()
}
