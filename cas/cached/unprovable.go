package cached

import (
	"time"

	"github.com/fstree/fstree/cas"
)

const (
	// unprovables bounds the objects that are known to be unprovable.
	unprovables = 1000

	// wrongTime is how long an object that was wrong as a whole is not fetched
	// whole because its parts are.
	wrongTime = time.Minute
)

// isUnprovable tells whether d is to be fetched whole, since far can't prove
// parts of it.
func (s *Store) isUnprovable(d cas.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, known := s.unprovable[d]
	return known && !time.Now().Before(from)
}

func (s *Store) setUnprovable(d cas.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unprovable) >= unprovables {
		clear(s.unprovable)
	}
	s.unprovable[d] = time.Time{}
}

// isWrong tells whether d was fetched whole lately, in vain.
func (s *Store) isWrong(d cas.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.unprovable[d])
}

// setWrong notes that what far sends as d is not d. If that was to make up for
// wrong parts, then those will do: some may be right.
func (s *Store) setWrong(d cas.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.unprovable[d]; known {
		s.unprovable[d] = time.Now().Add(wrongTime)
	}
}
