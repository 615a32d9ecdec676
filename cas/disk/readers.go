package disk

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// packReaders keeps packs open from which objects were read lately: that costs
// a third less than to open one for each object.
type packReaders struct {
	dir string

	mu     sync.Mutex
	open   map[uint64]*packReader
	timer  *time.Timer // runs while packs are open
	closed bool
}

const (
	maxOpenPacks = 32
	packIdle     = 5 * time.Second // a removed pack takes space for so long
)

// packReader is a pack that is open for reading.
type packReader struct {
	*os.File

	// Under the mutex of packReaders.
	users int
	used  bool // since the last sweep
	kept  bool // among the open ones
}

// get returns a pack, which goes back with put. The error is fs.ErrNotExist if
// the pack is gone.
func (s *packReaders) get(id uint64) (*packReader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.open[id]
	if p != nil && !p.hasName() {
		s.drop(id, p)
		p = nil
	}
	if p == nil {
		f, err := os.Open(filepath.Join(s.dir, packName(id)))
		if err != nil {
			return nil, err
		}
		p = &packReader{File: f}
		s.keep(id, p)
	}
	p.users++
	p.used = true
	return p, nil
}

func (s *packReaders) put(p *packReader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.users--
	p.closeUnused()
}

func (s *packReaders) keep(id uint64, p *packReader) {
	if s.closed {
		return
	}
	for other, q := range s.open {
		if len(s.open) < maxOpenPacks {
			break
		}
		s.drop(other, q)
	}
	if s.open == nil {
		s.open = map[uint64]*packReader{}
		s.timer = time.AfterFunc(packIdle, s.sweep)
	}
	s.open[id] = p
	p.kept = true
}

func (s *packReaders) drop(id uint64, p *packReader) {
	delete(s.open, id)
	p.kept = false
	p.closeUnused()
}

// sweep closes what was not used since the last time.
func (s *packReaders) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.open {
		if !p.used {
			s.drop(id, p)
		}
		p.used = false
	}
	if len(s.open) == 0 {
		s.open = nil
		return
	}
	s.timer.Reset(packIdle)
}

// close closes all packs, some of them when their users have put them back.
func (s *packReaders) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for id, p := range s.open {
		s.drop(id, p)
	}
	if s.timer != nil {
		s.timer.Stop()
	}
}

func (p *packReader) closeUnused() {
	if !p.kept && p.users == 0 {
		p.Close()
	}
}

// hasName tells whether nobody has removed p.
func (p *packReader) hasName() bool {
	var st unix.Stat_t
	return unix.Fstat(int(p.Fd()), &st) == nil && st.Nlink > 0
}
