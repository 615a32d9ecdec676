package cached

import (
	"sync/atomic"
	"time"
)

// Stats counts what a Store did so far.
type Stats struct {
	Objects  int64 // that were fetched whole
	Bytes    int64 // that were fetched, of whole objects and of parts
	Parts    int64 // ranges that were fetched
	Hits     int64 // objects and ranges that were near when they were asked for
	Misses   int64 // objects and ranges that had to be waited for
	Failures int64 // fetches that failed
	Unkept   int64 // fetches that near did not keep
	InFlight int64 // fetches under way
}

type counters struct {
	objects, bytes, parts, hits, misses, failures, unkept, inFlight atomic.Int64
}

// Stats returns the counts.
func (s *Store) Stats() Stats {
	c := &s.stats
	return Stats{
		Objects: c.objects.Load(), Bytes: c.bytes.Load(), Parts: c.parts.Load(),
		Hits: c.hits.Load(), Misses: c.misses.Load(), Failures: c.failures.Load(),
		Unkept: c.unkept.Load(), InFlight: c.inFlight.Load(),
	}
}

// observed runs a fetch and counts it.
func (s *Store) observed(fetch func() error) error {
	s.stats.inFlight.Add(1)
	begin := time.Now()
	err := fetch()
	s.stats.inFlight.Add(-1)
	if err != nil {
		s.stats.failures.Add(1)
	}
	if s.Observe != nil {
		s.Observe(time.Since(begin), err)
	}
	return err
}

// count counts something that was read: whether it was waited for.
func (s *Store) count(waited bool) {
	if waited {
		s.stats.misses.Add(1)
	} else {
		s.stats.hits.Add(1)
	}
}
