package mount

import (
	"context"
	"slices"
	"sync"

	"github.com/fstree/fstree/cas"
)

const (
	// A sweep is somebody who reads the files of a tree one after the other,
	// as grep -r and cp -r do. It takes sweepStart steps in order to be taken
	// for one. A step may leave out sweepGap entries, and as many may be read
	// late, by parallel readers.
	sweepStart = 3
	sweepGap   = 8

	// A sweep is followed with a window that begins at sweepFirst files and
	// doubles each time that half of it was read. These bound it in files, in
	// bytes, and the bytes of each of the files: of those that come in batches,
	// and of all. What is ahead should fit into the memory of a source that has
	// it at hand until it is read.
	sweepFirst  = 32
	sweepWindow = 2048
	sweepBytes  = 16 << 20
	sweepFile   = 1 << 20
	sweepLarge  = 16 << 20

	// sweepParallel bounds what is fetched ahead at once, for all sweeps:
	// batches, or files if the source does not know batches.
	sweepParallel = 64

	// sweepsKept bounds the sweeps that are told apart.
	sweepsKept = 8
)

// sweeps notices readers that go through a tree in order, so that each file
// after the first few is on its way before they ask for it. Otherwise every
// small file would cost them a round trip.
type sweeps struct {
	mu   sync.Mutex
	kept []*sweep // the last seen in front
}

// sweep is one way through the tree.
type sweep struct {
	steps  int
	last   uint32 // node that was read last
	cursor uint32 // node up to which was looked ahead
	ahead  []step // files between the two, and a few that were left out
	bytes  int64  // of the files ahead
	window int    // files to have ahead
}

type step struct {
	id   uint32
	size int64
}

// step notes that file id is read from its beginning, and returns what is
// worth fetching now.
func (s *sweeps) step(t *table, id uint32) []step {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range s.kept {
		if w.goesTo(t, id) {
			s.kept = slices.Insert(slices.Delete(s.kept, i, i+1), 0, w)
			return w.look(t)
		}
	}
	s.kept = slices.Insert(s.kept, 0, &sweep{last: id, cursor: id, window: sweepFirst})
	s.kept = s.kept[:min(len(s.kept), sweepsKept)]
	return nil
}

// goesTo tells whether id is a step of w, and takes it.
func (w *sweep) goesTo(t *table, id uint32) bool {
	i := slices.IndexFunc(w.ahead, func(s step) bool { return s.id == id })
	if i < 0 && !t.follows(w.last, id) {
		return false
	}
	if i < 0 {
		w.cursor = id // what it goes through was not known when we looked ahead
		i = len(w.ahead) - 1
	} else {
		w.bytes -= w.ahead[i].size
		w.ahead = slices.Delete(w.ahead, i, i+1)
	}
	for ; i > sweepGap; i-- {
		w.bytes -= w.ahead[0].size
		w.ahead = w.ahead[1:]
	}
	w.steps++
	w.last = id
	return true
}

// look looks further ahead, each time that half of the window was read.
func (w *sweep) look(t *table) (found []step) {
	if w.steps < sweepStart || len(w.ahead) > w.window/2 || w.bytes > sweepBytes/2 {
		return nil
	}
	for range 2 * sweepWindow {
		if len(w.ahead) >= w.window || w.bytes >= sweepBytes {
			break
		}
		next, ok := t.after(w.cursor)
		if !ok {
			break
		}
		w.cursor = next
		if n, _ := t.get(next); n.isFile() && n.size > 0 && n.size <= sweepLarge {
			w.ahead = append(w.ahead, step{next, n.size})
			w.bytes += n.size
			found = append(found, step{next, n.size})
		}
	}
	if len(found) > 0 {
		w.window = min(2*w.window, sweepWindow)
	}
	return found
}

// follows tells whether node id comes soon after node last.
func (t *table) follows(last, id uint32) bool {
	for range sweepGap {
		next, ok := t.after(last)
		if !ok || next == id {
			return ok
		}
		last = next
	}
	return false
}

// after returns the node that comes after id in a walk through all that was
// looked into: a directory comes before what is in it.
func (t *table) after(id uint32) (next uint32, ok bool) { return t.next(root, id) }

// next is after, within what is below top.
func (t *table) next(top, id uint32) (next uint32, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if n := t.at(id); n.isDir() && n.size > 0 && t.dirs[n.size-1].count > 0 {
		return t.dirs[n.size-1].first, true
	}
	for id != top {
		d := t.dirs[t.at(id).dir]
		if id+1 < d.first+d.count {
			return id + 1, true
		}
		id = d.self
	}
	return 0, false
}

// bulkFetcher is a source that fetches many small files at once.
type bulkFetcher interface {
	Fetch(ctx context.Context, ds []cas.Digest) error
}

// sweep fetches what will be read soon if somebody reads in order, and id now.
// Whoever then reads a file meets the error, if it is to stay.
func (fs *fileSystem) sweep(id uint32) {
	next := fs.sweeps.step(fs.table, id)
	source, bulk := fs.source.(bulkFetcher)
	var small []step
	for _, file := range next {
		if bulk && file.size <= sweepFile {
			small = append(small, file)
		} else {
			fs.inSweep(func() { _ = fs.fetch(fs.background(), file.id, file.size) })
		}
	}
	if len(small) > 0 {
		fs.inSweep(func() { _ = fs.fetchMany(source, small) })
	}
}

// inSweep runs f beside others, unless they are too many.
func (fs *fileSystem) inSweep(f func()) {
	select {
	case fs.sweeping <- struct{}{}:
		fs.running.Go(func() {
			defer func() { <-fs.sweeping }()
			f()
		})
	default:
	}
}

// fetchMany has files fetched, and returns why that was not possible for all.
func (fs *fileSystem) fetchMany(source bulkFetcher, files []step) error {
	bytes := int64(0)
	digests := make([]cas.Digest, 0, len(files))
	for _, file := range files {
		e, err := fs.entry(fs.background(), file.id)
		if err != nil {
			return err
		}
		digests = append(digests, e.Digest)
		bytes += file.size
	}
	ctx, cancel := fs.within(fs.patience(bytes))
	defer cancel()
	return source.Fetch(ctx, digests)
}
