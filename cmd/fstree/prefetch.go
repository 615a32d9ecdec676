package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"

	"github.com/fstree/fstree/fs/mount"
	"github.com/fstree/fstree/fs/mount/control"
)

type prefetchCommand struct {
	Path []string `arg:"" help:"Files and directories in mounts."`
	Wait bool     `short:"w" help:"Return when all is here, and tell on stderr how far it has come."`
}

// Run asks the processes behind the paths to read them ahead.
func (c *prefetchCommand) Run(ctx context.Context, a *app) error {
	for _, path := range c.Path {
		m, inside, err := mount.Find(path)
		if errors.Is(err, mount.ErrNotMounted) {
			return hint(err, `name something inside a directory that "fstree mounts" lists`)
		}
		if err != nil {
			return err
		}
		line := a.progressLine(path)
		err = control.Prefetch(ctx, a.mountsDir(), m.Device, inside, c.Wait, line.show)
		line.end()
		if errors.Is(err, control.ErrNotServed) {
			return hint(fmt.Errorf("%s: %w", m.Dir, control.ErrNotServed), "name the cache of the mount with --cache (FSTREE_CACHE)")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// progressLine tells on stderr how far reading ahead has come: with --json as
// events, on a terminal as one line that changes, elsewhere by its last state.
type progressLine struct {
	*app
	path string
	live bool
	last control.Progress
}

func (a *app) progressLine(path string) *progressLine {
	stderr, ok := a.stderr.(*os.File)
	return &progressLine{app: a, path: path, live: !a.JSON && ok && term.IsTerminal(int(stderr.Fd()))}
}

func (l *progressLine) show(p control.Progress) {
	l.last = p
	l.emit(event{Type: "mount::prefetch", Path: l.path, Value: &p.Bytes})
	if l.live {
		fmt.Fprintf(l.stderr, "\r\x1b[K%s", l)
	}
}

func (l *progressLine) end() {
	switch {
	case l.live:
		fmt.Fprintln(l.stderr)
	case !l.JSON && l.last.Trees+l.last.TotalFiles > 0:
		fmt.Fprintln(l.stderr, l)
	}
}

// String is the line.
func (l *progressLine) String() string {
	size := func(n int64) string { return humanize.IBytes(uint64(n)) }
	return fmt.Sprintf("%s: %d of %d files, %s of %s", oneLine(l.path), l.last.Files, l.last.TotalFiles, size(l.last.Bytes), size(l.last.TotalBytes))
}

// prefetchFlag is what a mount reads ahead: a name, or @FILE for a list of
// paths.
type prefetchFlag struct {
	what mount.Prefetch
	list string // absolute
}

// UnmarshalText reads none, trees, all or @FILE.
func (p *prefetchFlag) UnmarshalText(text []byte) error {
	file, ok := strings.CutPrefix(string(text), "@")
	if !ok {
		if err := p.what.UnmarshalText(text); err != nil {
			return fmt.Errorf("%w, @FILE", err)
		}
		return nil
	}
	list, err := filepath.Abs(file)
	*p = prefetchFlag{mount.PrefetchTrees, list}
	return err
}

// maxPrefetchList bounds a list of paths, in bytes.
const maxPrefetchList = 16 << 20

// paths reads the list: one path from the root of the tree a line. Empty lines
// and those that begin with # say nothing.
func (p *prefetchFlag) paths() ([]string, error) {
	if p.list == "" {
		return nil, nil
	}
	f, err := os.Open(p.list)
	if err != nil {
		return nil, fmt.Errorf("--prefetch: %w", err)
	}
	defer f.Close()
	var paths []string
	some := &io.LimitedReader{R: f, N: maxPrefetchList + 1}
	lines := bufio.NewScanner(some)
	for lines.Scan() {
		if line := strings.TrimSuffix(lines.Text(), "\r"); line != "" && line[0] != '#' {
			paths = append(paths, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("--prefetch: %s: %w", p.list, err)
	}
	if some.N == 0 {
		return nil, fmt.Errorf("--prefetch: %s is longer than %s", p.list, humanize.IBytes(maxPrefetchList))
	}
	return paths, nil
}
