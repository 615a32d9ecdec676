package mount

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// Prefetch says what a mount reads before anybody asks for it.
type Prefetch int

const (
	// PrefetchNothing reads what is asked for.
	PrefetchNothing Prefetch = iota
	// PrefetchTrees reads all trees and asks for all sizes, breadth first.
	PrefetchTrees
	// PrefetchAll does so and then reads all files.
	PrefetchAll
)

var prefetchNames = [...]string{PrefetchNothing: "none", PrefetchTrees: "trees", PrefetchAll: "all"}

// String returns "none", "trees" or "all".
func (p Prefetch) String() string { return prefetchNames[p] }

// MarshalText returns what String returns.
func (p Prefetch) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what String returns.
func (p *Prefetch) UnmarshalText(text []byte) error {
	for i, name := range prefetchNames {
		if name == string(text) {
			*p = Prefetch(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not one of none, trees, all", text)
}

const (
	// prefetchParallel is how many reads ahead are under way at once.
	prefetchParallel = 32
	// prefetchEntries bounds the entries that are in the table without anybody
	// having looked at them, and with them its memory.
	prefetchEntries = 2 << 20
	// prefetchFailures is how many reads ahead may fail before it is given up.
	prefetchFailures = 8

	// These bound how long a read ahead stands back for those who wait. What
	// they wait for may well be a tree that comes next.
	treeGivesWay = 10 * time.Millisecond
	fileGivesWay = time.Second
)

// background is a caller of the mount's own, whose waits end with the mount.
func (fs *fileSystem) background() caller {
	return caller{interrupt: fs.lifetime.Done(), ended: func() bool { return true }}
}

// fetch has file id read by the source, to find it there, and keeps it open as
// long as there is room.
func (fs *fileSystem) fetch(c caller, id uint32, size int64) error {
	e, err := fs.entry(c, id)
	if err != nil {
		return err
	}
	o, err := fs.object(c, e.Digest, size)
	if err != nil {
		return err
	}
	defer fs.objects.release(o)
	if o.value.lazy == nil {
		return nil
	}
	ctx, cancel := fs.within(fs.patience(size))
	defer cancel()
	return named(e.Digest, c.during(ctx, o.value.lazy.Fetch))
}

// prefetcher reads ahead.
type prefetcher struct {
	*fileSystem
	caller   caller
	failures atomic.Int32
}

// prefetch reads ahead what the options say.
func (fs *fileSystem) prefetch() {
	fs.stats.prefetching.Store(true)
	defer fs.stats.prefetching.Store(false)
	p := prefetcher{fileSystem: fs, caller: fs.background()}
	p.readTrees()
	if fs.opt.Prefetch == PrefetchAll {
		p.readFiles()
	}
}

// readTrees opens one directory for every distinct tree, a level at a time.
func (p *prefetcher) readTrees() {
	seen := map[cas.Digest]struct{}{p.root: {}}
	for level := []uint32{root}; len(level) > 0 && p.goesOn(); {
		found := make([][]uint32, len(level))
		var readers errgroup.Group
		readers.SetLimit(prefetchParallel)
		for i, id := range level {
			readers.Go(func() error {
				found[i] = p.readTree(id)
				return nil
			})
		}
		readers.Wait()
		level = p.distinct(seen, found)
	}
}

func (p *prefetcher) goesOn() bool {
	nodes, _, _ := p.table.totals()
	return p.lifetime.Err() == nil && p.failures.Load() < prefetchFailures && nodes < prefetchEntries
}

// readTree opens directory id and returns the directories in it.
func (p *prefetcher) readTree(id uint32) (dirs []uint32) {
	if !p.goesOn() {
		return nil
	}
	p.giveWay(treeGivesWay)
	d, t, err := p.directory(p.caller, id)
	if err != nil {
		p.failed(id, err)
		return nil
	}
	for first := d.first; first < d.first+d.count; first += sizesAtOnce {
		if err := p.askSizes(p.caller.wait, d, t, first); err != nil {
			p.failed(id, err)
		}
	}
	for i := range d.count {
		if t.At(int(i)).Type == tree.Dir {
			dirs = append(dirs, d.first+i)
		}
	}
	return dirs
}

// distinct returns those of the directories whose trees were not seen before.
func (p *prefetcher) distinct(seen map[cas.Digest]struct{}, found [][]uint32) (level []uint32) {
	for _, dirs := range found {
		for _, id := range dirs {
			e, err := p.entry(p.caller, id)
			if _, known := seen[e.Digest]; err != nil || known {
				continue
			}
			seen[e.Digest] = struct{}{}
			level = append(level, id)
		}
	}
	return level
}

// readFiles reads the files of all directories that are open by then.
func (p *prefetcher) readFiles() {
	nodes, _, _ := p.table.totals()
	var readers errgroup.Group
	readers.SetLimit(prefetchParallel)
	for id := uint32(0); id < uint32(nodes) && p.goesOn(); id++ {
		if n, _ := p.table.get(id); n.isFile() && n.size != 0 {
			readers.Go(func() error {
				p.readFile(id, n.size)
				return nil
			})
		}
	}
	readers.Wait()
}

func (p *prefetcher) readFile(id uint32, size int64) {
	p.giveWay(fileGivesWay)
	if err := p.fetch(p.caller, id, size); err != nil {
		p.failed(id, err)
	}
}

func (p *prefetcher) failed(id uint32, err error) {
	if p.lifetime.Err() != nil {
		return
	}
	p.failures.Add(1)
	p.log.warn("read ahead failed", err, func() string { return p.path(id) })
}

// giveWay lets those go first who wait for something, up to a limit.
func (p *prefetcher) giveWay(limit time.Duration) {
	for deadline := time.Now().Add(limit); p.stats.waiting.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}
