package mount

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	// prefetchBatch is how many files are asked for together.
	prefetchBatch = 64
	// prefetchEntries bounds the entries that one wish puts into the table, and
	// with them its memory.
	prefetchEntries = 2 << 20
	// prefetchFailures is how many reads ahead may fail before it is given up.
	prefetchFailures = 8

	// These bound how long a read ahead stands back for those who wait. What
	// they wait for may well be a tree that comes next.
	treeGivesWay = 10 * time.Millisecond
	fileGivesWay = time.Second
)

// background is a caller of the mount's own, whose waits end with the mount.
func (s *shared) background() caller {
	return callerUntil(s.lifetime.Done())
}

// fetch has file id read by the source, to find it there, and keeps it open as
// long as there is room.
func (fs *fileSystem) fetch(c caller, id uint32, size int64) error {
	e, err := fs.entry(c, id)
	if err != nil {
		return err
	}
	err = fs.fetchObject(c, e.Digest, size)
	if errors.Is(err, errors.ErrUnsupported) { // it is fetched whole if it is opened anew
		err = fs.fetchObject(c, e.Digest, size)
	}
	return err
}

func (fs *fileSystem) fetchObject(c caller, d cas.Digest, size int64) error {
	o, err := fs.object(c, d, size)
	if err != nil {
		return err
	}
	defer fs.objects.release(o)
	if o.value.lazy == nil {
		return nil
	}
	ctx, cancel := fs.within(fs.patience(size))
	defer cancel()
	err = c.during(ctx, o.value.lazy.Fetch)
	if errors.Is(err, errors.ErrUnsupported) {
		fs.objects.discard(o)
	}
	return named(d, err)
}

// prefetcher reads ahead, on behalf of one wish.
type prefetcher struct {
	*fileSystem
	ctx      context.Context // of the wish; the mount's ends it as well
	caller   caller
	limit    int // of the entries in the table
	failures atomic.Int32

	trees, files, bytes atomic.Int64 // read
	wanted, wantedBytes atomic.Int64 // files to read

	mu    sync.Mutex
	first error // of the failures
}

func (fs *fileSystem) prefetcher(ctx context.Context) *prefetcher {
	nodes, _, _ := fs.table.totals()
	return &prefetcher{
		fileSystem: fs, ctx: ctx, limit: nodes + prefetchEntries,
		caller: callerUntil(ctx.Done()),
	}
}

// inBackground runs a read ahead that nobody waits for. It counts from now on:
// who looks before it has begun must not take it for over.
func (s *shared) inBackground(read func()) {
	s.stats.prefetching.Add(1)
	s.running.Go(func() {
		defer s.stats.prefetching.Add(-1)
		read()
	})
}

// prefetch reads ahead what the options say.
func (fs *fileSystem) prefetch() {
	p := fs.prefetcher(fs.lifetime)
	for _, path := range fs.opt.PrefetchPaths {
		if !p.goesOn() {
			return
		}
		p.readPath(path)
	}
	if fs.opt.Prefetch >= PrefetchTrees {
		p.readTrees(root)
	}
	if fs.opt.Prefetch == PrefetchAll {
		p.readFiles(root)
	}
}

// readPath reads what is at path. That there is no such path says nothing of
// others; anything else is a failure.
func (p *prefetcher) readPath(path string) {
	id, err := p.find(path)
	if err == nil {
		p.read(id)
		return
	}
	if !errors.As(err, new(*iofs.PathError)) {
		p.failures.Add(1)
	}
	p.log.warn("read ahead failed", err, func() string { return path })
}

// find returns the node that path leads to.
func (p *prefetcher) find(path string) (uint32, error) {
	id := root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if n, _ := p.table.get(id); !n.isDir() {
			return 0, &iofs.PathError{Op: "prefetch", Path: path, Err: syscall.ENOTDIR}
		}
		d, t, err := p.directory(p.caller, id)
		if err != nil {
			return 0, err
		}
		i, ok := t.Find(name)
		if !ok {
			return 0, &iofs.PathError{Op: "prefetch", Path: path, Err: iofs.ErrNotExist}
		}
		id = d.first + uint32(i)
	}
	return id, nil
}

// read reads file id, or all that is below directory id.
func (p *prefetcher) read(id uint32) {
	if n, _ := p.table.get(id); n.isDir() {
		p.readTrees(id)
	} else if err := p.learnSize(id); err != nil {
		p.failed(id, err)
		return
	}
	p.readFiles(id)
}

func (p *prefetcher) learnSize(id uint32) error {
	d := p.table.parent(id)
	t, err := p.tree(p.caller, d.digest)
	if err != nil {
		return err
	}
	return p.askSizes(p.caller.wait, d, t, id)
}

// readTrees opens one directory for every distinct tree below top, a level at a
// time.
func (p *prefetcher) readTrees(top uint32) {
	var sizing errgroup.Group
	sizing.SetLimit(prefetchParallel)
	defer sizing.Wait()
	seen := map[cas.Digest]struct{}{}
	for level := []uint32{top}; len(level) > 0 && p.goesOn(); {
		p.readClosures(level)
		found := make([][]uint32, len(level))
		var readers errgroup.Group
		readers.SetLimit(prefetchParallel)
		for i, id := range level {
			readers.Go(func() error {
				found[i] = p.readTree(id, &sizing)
				return nil
			})
		}
		readers.Wait()
		level = p.distinct(seen, found)
	}
}

func (p *prefetcher) goesOn() bool {
	return p.ctx.Err() == nil && p.failures.Load() < prefetchFailures && !p.tooMany()
}

func (p *prefetcher) tooMany() bool {
	nodes, _, _ := p.table.totals()
	return nodes >= p.limit
}

// readTree opens directory id and returns the directories in it. It does not
// wait for the sizes.
func (p *prefetcher) readTree(id uint32, sizing *errgroup.Group) (dirs []uint32) {
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
		sizing.Go(func() error {
			if err := p.askSizes(p.caller.wait, d, t, first); err != nil {
				p.failed(id, err)
			}
			return nil
		})
	}
	p.trees.Add(1)
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

// readFiles reads file top, or the files of all directories below it that are
// open by then.
func (p *prefetcher) readFiles(top uint32) {
	var readers errgroup.Group
	readers.SetLimit(prefetchParallel)
	for _, size := range p.filesBelow(top) {
		p.wanted.Add(1)
		p.wantedBytes.Add(max(size, 0))
	}
	var files []step
	for id, size := range p.filesBelow(top) {
		if !p.goesOn() {
			break
		}
		if files = append(files, step{id, size}); len(files) < prefetchBatch {
			continue
		}
		batch := files
		files = nil
		readers.Go(func() error { p.readBatch(batch); return nil })
	}
	p.readBatch(files)
	readers.Wait()
}

// readBatch reads files, the small ones with one question if the source can.
func (p *prefetcher) readBatch(files []step) {
	source, ok := p.source.(bulkFetcher)
	var small []step
	for _, file := range files {
		switch {
		case !p.goesOn():
			return
		case ok && file.size > 0 && file.size <= sweepFile:
			small = append(small, file)
		default:
			p.readFile(file)
		}
	}
	if len(small) == 0 {
		return
	}
	p.giveWay(fileGivesWay)
	together := p.fetchMany(source, small)
	for _, file := range small {
		switch {
		case !p.goesOn():
			return
		case together == nil:
			p.stats.objects.Add(1)
			p.have(file)
		default: // it tells which of them fail
			p.readFile(file)
		}
	}
}

// filesBelow yields top or what is below it: the files with something in them,
// and their sizes.
func (p *prefetcher) filesBelow(top uint32) iter.Seq2[uint32, int64] {
	return func(yield func(uint32, int64) bool) {
		for id, ok := top, true; ok; id, ok = p.table.next(top, id) {
			if n, _ := p.table.get(id); n.isFile() && n.size != 0 && !yield(id, n.size) {
				return
			}
		}
	}
}

func (p *prefetcher) readFile(file step) {
	p.giveWay(fileGivesWay)
	if err := p.fetch(p.caller, file.id, file.size); err != nil {
		p.failed(file.id, err)
		return
	}
	p.have(file)
}

func (p *prefetcher) have(file step) {
	p.files.Add(1)
	p.bytes.Add(max(file.size, 0))
}

func (p *prefetcher) failed(id uint32, err error) {
	if p.ctx.Err() != nil {
		return
	}
	p.failures.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == nil {
		p.first = fmt.Errorf("%s: %w", p.path(id), err)
	}
	p.log.warn("read ahead failed", err, func() string { return p.path(id) })
}

// giveWay lets those go first who wait for something, up to a limit.
func (p *prefetcher) giveWay(limit time.Duration) {
	for deadline := time.Now().Add(limit); p.stats.waiting.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}
