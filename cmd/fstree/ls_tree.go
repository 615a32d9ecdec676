package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/cached"
	"github.com/fstree/fstree/cas/tree"
)

type lsTreeCommand struct {
	treeArg
	Recursive bool `short:"R" help:"List what is below as well (-r, -R)."`
	Long      bool `short:"l" help:"Show sizes."`
}

// Run lists the tree. What the cache lacks is read from the remote.
func (c *lsTreeCommand) Run(ctx context.Context, a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	out := bufio.NewWriter(a.stdout)
	err = a.withReach(func(reach *cached.Store) error {
		l := lister{ctx: ctx, source: reach, out: out, recursive: c.Recursive, long: c.Long}
		return l.path(path)
	})
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	return err
}

// digestColumns is the width of a BLAKE3 digest in text form.
const digestColumns = 71

type lister struct {
	ctx       context.Context
	source    *cached.Store
	out       *bufio.Writer
	recursive bool
	long      bool
}

func (l *lister) path(path tree.Path) error {
	e, err := tree.Resolve(l.ctx, l.source, path)
	if err != nil {
		return err
	}
	if e.Type == tree.Dir {
		return l.directory(e.Digest, "")
	}
	return l.entries([]tree.Entry{e}, "")
}

func (l *lister) directory(d cas.Digest, prefix string) error {
	t, err := tree.Read(l.ctx, l.source, d)
	if err != nil {
		return err
	}
	entries := make([]tree.Entry, 0, t.Len())
	for e := range t.All() {
		entries = append(entries, e)
	}
	return l.entries(entries, prefix)
}

func (l *lister) entries(entries []tree.Entry, prefix string) error {
	sizes, err := l.sizes(entries)
	if err != nil {
		return err
	}
	for i, e := range entries {
		fmt.Fprintf(l.out, "%-*s %s ", digestColumns, e.Digest, e.Mode())
		if l.long {
			fmt.Fprintf(l.out, "%12s ", sizes[i])
		}
		fmt.Fprintln(l.out, prefix+e.Name+arrow(e.Target))
		if e.Type == tree.Dir && l.recursive {
			if err := l.directory(e.Digest, prefix+e.Name+"/"); err != nil {
				return err
			}
		}
	}
	return nil
}

// sizes returns the size column: of files in bytes, of others "-". A size that
// nobody can tell is learned by fetching the file.
func (l *lister) sizes(entries []tree.Entry) ([]string, error) {
	column := make([]string, len(entries))
	if !l.long {
		return column, nil
	}
	var files []cas.Digest
	var places []int
	for i, e := range entries {
		column[i] = "-"
		if e.Type == tree.File {
			files, places = append(files, e.Digest), append(places, i)
		}
	}
	sizes, err := l.source.Sizes(l.ctx, files)
	if err != nil {
		return nil, err
	}
	for i, size := range sizes {
		if size < 0 {
			if size, err = l.fetchedSize(files[i]); err != nil {
				return nil, err
			}
		}
		column[places[i]] = fmt.Sprint(size)
	}
	return column, nil
}

func (l *lister) fetchedSize(d cas.Digest) (int64, error) {
	o, err := l.source.Get(l.ctx, d)
	if err != nil {
		return 0, err
	}
	defer o.Close()
	return o.Size(), nil
}

func arrow(target string) string {
	if target == "" {
		return ""
	}
	return " -> " + target
}
