package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/fstree/fstree/cas/cached"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/fs/mount"
	"github.com/fstree/fstree/fs/mount/control"
)

// mountsDir is where the mounts of the cache can be asked.
func (a *app) mountsDir() string { return filepath.Join(a.Cache, "mounts") }

// controlled is a mount as its control socket shows it.
type controlled struct {
	server  *mount.Server
	source  *cached.Store
	fetches *histogram     // of the source
	fixed   control.Status // what does not change
}

// Status tells what the mount does.
func (c *controlled) Status() control.Status {
	s, stats, source := c.fixed, c.server.Stats(), c.source.Stats()
	s.Mode = c.server.Mode().String()
	s.FilesRead, s.BytesRead = stats.Objects, stats.ReadBytes
	s.ObjectsFetched, s.RangesFetched, s.BytesFetched = source.Objects, source.Parts, source.Bytes
	s.CacheHits = source.Hits
	s.Entries, s.Requests = int64(stats.Entries), stats.Requests
	s.Errors, s.Waiting, s.Prefetching = stats.Errors, stats.Waiting, stats.Prefetching
	return s
}

// Prefetch reads ahead what is at path.
func (c *controlled) Prefetch(ctx context.Context, path string, report func(control.Progress)) error {
	return c.server.Prefetch(ctx, path, func(p mount.Progress) { report(control.Progress(p)) })
}

type mountsCommand struct{}

// The states of a mount.
const (
	serving   = "serving"
	detached  = "detached"  // no directory leads to it
	dead      = "dead"      // its process is gone
	silent    = "silent"    // its process does not answer
	elsewhere = "elsewhere" // served from another cache
)

// mountStatus is a line of "mounts --json".
type mountStatus struct {
	State string `json:"state"`
	control.Status
	Uptime float64 `json:"uptime_seconds,omitempty"`
}

// Run lists the mounts of this user.
func (*mountsCommand) Run(ctx context.Context, a *app) error {
	served, err := control.List(ctx, a.mountsDir())
	if err != nil {
		a.warn(err.Error())
	}
	mounted, err := mount.List() // after that, so that it has all that are served
	if err != nil {
		return err
	}
	var all []mountStatus
	for _, s := range served {
		all = append(all, whereSeen(s, mounted))
	}
	all = append(all, a.others(served, mounted)...)
	slices.SortStableFunc(all, func(x, y mountStatus) int { return strings.Compare(x.Dir, y.Dir) })
	if a.JSON {
		return printMountsAsJSON(a.stdout, all)
	}
	return printMounts(a.stdout, all)
}

// whereSeen tells the state of a mount that is served. It may have been moved,
// and be bound to further directories.
func whereSeen(s control.Status, mounted []mount.Mounted) mountStatus {
	state, dir := detached, s.Dir
	for _, m := range mounted {
		if m.Device == s.Device && (state == detached || m.Dir == s.Dir) {
			state, dir = serving, m.Dir
		}
	}
	s.Dir = dir
	return mountStatus{state, s, time.Since(s.Started).Seconds()}
}

// others returns the mounts of this user for which no process answered.
func (a *app) others(served []control.Status, mounted []mount.Mounted) []mountStatus {
	seen := map[string]bool{}
	for _, s := range served {
		seen[s.Device] = true
	}
	mounted = slices.DeleteFunc(mounted, func(m mount.Mounted) bool {
		known := seen[m.Device]
		seen[m.Device] = true
		return known || m.UID != strconv.Itoa(os.Geteuid())
	})
	found := make([]mountStatus, len(mounted))
	var asking sync.WaitGroup // all at once: each takes a second if it hangs
	for i, m := range mounted {
		asking.Go(func() {
			found[i] = mountStatus{State: a.stateOf(m), Status: control.Status{Dir: m.Dir, Tree: treeOf(m), Device: m.Device}}
		})
	}
	asking.Wait()
	return found
}

// stateOf returns the state of a mount for which no process answered. The
// sockets of those that are gone were taken away when they were asked.
func (a *app) stateOf(m mount.Mounted) string {
	if m.Dead() {
		return dead
	}
	if _, err := os.Lstat(filepath.Join(a.mountsDir(), m.Device)); err == nil {
		return silent
	}
	return elsewhere
}

// treeOf returns the tree that was named to mount, as the mount table has it;
// any other source is that of all trees.
func treeOf(m mount.Mounted) string {
	name := strings.TrimPrefix(m.Source, sourcePrefix)
	if _, err := tree.ParsePath(name); err != nil {
		return ""
	}
	return name
}

func printMountsAsJSON(w io.Writer, all []mountStatus) error {
	for _, s := range all {
		if err := json.NewEncoder(w).Encode(s); err != nil {
			return err
		}
	}
	return nil
}

// printable returns a path as it is unless that would spoil a table.
func printable(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}

func printMounts(w io.Writer, all []mountStatus) error {
	if len(all) == 0 {
		return nil
	}
	size := func(n int64) string { return humanize.IBytes(uint64(n)) }
	out := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(out, "DIRECTORY\tSTATE\tMODE\tPID\tUP\tFILES\tREAD\tFETCHED\tHITS\tERRORS\tTREE\tREMOTE")
	for _, s := range all {
		if s.Tree == "" {
			s.Tree = "(all)"
		}
		if s.PID == 0 {
			fmt.Fprintf(out, "%s\t%s\t\t\t\t\t\t\t\t\t%s\t\n", printable(s.Dir), s.State, s.Tree)
			continue
		}
		up := time.Duration(s.Uptime) * time.Second
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\t%d\t%d\t%s\t%s\n", printable(s.Dir), s.State, s.Mode, s.PID, up,
			s.FilesRead, size(s.BytesRead), size(s.BytesFetched), s.CacheHits, s.Errors, s.Tree, s.Remote)
	}
	return out.Flush()
}
