package mount

import "sync"

const (
	// A sweep is somebody who reads the files of directories one after the
	// other, as grep -r and cp -r do. It takes sweepStart steps in order to be
	// taken for one; a step may leave out sweepGap entries.
	sweepStart = 3
	sweepGap   = 8

	// sweepWindow bounds how many entries ahead of a sweep files are fetched,
	// sweepParallel how many files at once, and sweepSize their size in bytes.
	sweepWindow   = 64
	sweepParallel = 32
	sweepSize     = 1 << 20

	// sweepGrowth is how many entries ahead each step in a directory allows.
	sweepGrowth = 4

	// sweepDirs bounds the directories whose last step is remembered.
	sweepDirs = 1000
)

// sweeps notices readers that go through directories in order, so that each
// file after the first few is on its way before they ask for it. Otherwise
// every small file would cost them a round trip.
type sweeps struct {
	slots chan struct{} // one for each fetch under way

	mu    sync.Mutex
	steps int // in order lately, in all directories together
	dirs  map[uint32]*sweep
}

// sweep is the way through one directory, known by its first node.
type sweep struct {
	run   int    // steps in order up to the last
	last  uint32 // node that was read last
	ahead uint32 // node up to which files were fetched
}

func newSweeps() *sweeps {
	return &sweeps{slots: make(chan struct{}, sweepParallel), dirs: map[uint32]*sweep{}}
}

// step notes that file id of d is read from its beginning, and returns the
// nodes that are worth fetching then.
func (s *sweeps) step(d dir, id uint32) (from, to uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.enter(d)
	inOrder := id >= w.last && id-w.last <= sweepGap
	switch {
	case inOrder && w.run > 0:
		s.steps = min(s.steps+1, sweepWindow)
		w.run++
	case inOrder: // perhaps merely the first file of each directory
		w.run = 1
	default:
		s.steps /= 2
		w.run, w.ahead = 1, id
	}
	w.last = id
	if s.steps < sweepStart {
		return 0, 0
	}
	window := min(s.steps, w.run*sweepGrowth)
	from = max(w.ahead, id) + 1
	to = min(id+uint32(window), d.first+d.count-1) + 1
	w.ahead = max(w.ahead, to-1)
	return from, to
}

func (s *sweeps) enter(d dir) *sweep {
	w, known := s.dirs[d.first]
	if known {
		return w
	}
	if len(s.dirs) >= sweepDirs {
		clear(s.dirs)
	}
	w = &sweep{last: d.first, ahead: d.first}
	s.dirs[d.first] = w
	return w
}

// sweep fetches what will be read next if somebody reads in order, and id now.
func (fs *fileSystem) sweep(id uint32) {
	from, to := fs.sweeps.step(fs.table.parent(id), id)
	for id := from; id < to; id++ {
		n, _ := fs.table.get(id)
		if !n.isFile() || n.size <= 0 || n.size > sweepSize {
			continue
		}
		select {
		case fs.sweeps.slots <- struct{}{}:
			fs.running.Go(func() {
				defer func() { <-fs.sweeps.slots }()
				fs.fetch(fs.background(), id, n.size)
			})
		default:
			return
		}
	}
}
