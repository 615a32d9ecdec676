package mount

import (
	"slices"
	"sync"
)

const (
	// A sweep is somebody who reads the files of a tree one after the other,
	// as grep -r and cp -r do. It takes sweepStart steps in order to be taken
	// for one. A step may leave out sweepGap entries, and as many may be read
	// late, by parallel readers.
	sweepStart = 3
	sweepGap   = 8

	// These bound what is fetched ahead of one sweep: files, bytes, the bytes
	// of each of the files; and the files that are fetched at once for all.
	sweepWindow   = 64
	sweepBytes    = 16 << 20
	sweepFile     = 1 << 20
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
	s.kept = slices.Insert(s.kept, 0, &sweep{last: id, cursor: id})
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
	w.steps = min(w.steps+1, sweepWindow)
	w.last = id
	return true
}

// look looks further ahead, as far as the steps until now justify it.
func (w *sweep) look(t *table) (found []step) {
	if w.steps < sweepStart {
		return nil
	}
	for range sweepWindow {
		if len(w.ahead) >= w.steps+sweepGap || w.bytes >= sweepBytes {
			break
		}
		next, ok := t.after(w.cursor)
		if !ok {
			break
		}
		w.cursor = next
		if n, _ := t.get(next); n.isFile() && n.size > 0 {
			w.ahead = append(w.ahead, step{next, n.size})
			w.bytes += n.size
			found = append(found, step{next, n.size})
		}
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

// sweep fetches what will be read soon if somebody reads in order, and id now.
func (fs *fileSystem) sweep(id uint32) {
	for _, next := range fs.sweeps.step(fs.table, id) {
		if next.size > sweepFile {
			continue
		}
		select {
		case fs.sweeping <- struct{}{}:
			fs.running.Go(func() {
				defer func() { <-fs.sweeping }()
				// Whoever reads the file meets the error, if it is to stay.
				_ = fs.fetch(fs.background(), next.id, next.size)
			})
		default:
			return
		}
	}
}
