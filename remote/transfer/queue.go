package transfer

import (
	"maps"
	"slices"
	"sync"

	"github.com/fstree/fstree/cas"
)

// queue holds objects that wait to be sent by whichever call is ready.
type queue struct {
	mu      sync.Mutex
	waiting []cas.Digest
}

// share is what one call has taken of a queue, or will.
type share struct {
	queue *queue
	lost  []cas.Digest // to be taken once more
	open  map[cas.Digest]struct{}
}

func (q *queue) share() *share { return &share{queue: q, open: map[cas.Digest]struct{}{}} }

// take returns up to n objects to send, none if there are no more.
func (s *share) take(n int) []cas.Digest {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	from := &s.lost
	if len(*from) == 0 {
		from = &s.queue.waiting
	}
	n = min(n, len(*from))
	ds := (*from)[:n:n]
	*from = (*from)[n:]
	for _, d := range ds {
		s.open[d] = struct{}{}
	}
	return ds
}

// arrived notes that d need not be taken again.
func (s *share) arrived(d cas.Digest) {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	delete(s.open, d)
}

// again makes take begin with what has not arrived.
func (s *share) again() {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	s.lost = append(slices.Collect(maps.Keys(s.open)), s.lost...)
	clear(s.open)
}

func (s *share) empty() bool {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return len(s.lost) == 0 && len(s.queue.waiting) == 0
}
