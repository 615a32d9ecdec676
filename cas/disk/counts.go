package disk

import (
	"fmt"
	"os"
	"sync/atomic"
)

// counts are of objects that somebody asked for. They lie in a file: in the index
// they would make every reader a writer. What an owner has counted is lost if it
// is killed.
type counts struct {
	hits, misses atomic.Int64
	saved        [2]int64
}

func (c *counts) note(entries []entry) {
	hits := int64(0)
	for _, e := range entries {
		if e.kind != 0 {
			hits++
		}
	}
	c.hits.Add(hits)
	c.misses.Add(int64(len(entries)) - hits)
}

func (s *Store) countsPath() string { return s.path(runDir, "counts") }

// load takes up the counts of earlier owners; unreadable ones begin anew.
func (c *counts) load(s *Store) {
	text, err := os.ReadFile(s.countsPath())
	var hits, misses int64
	if err == nil {
		_, err = fmt.Sscan(string(text), &hits, &misses)
	}
	if err != nil || hits < 0 || misses < 0 {
		return
	}
	c.hits.Store(hits)
	c.misses.Store(misses)
	c.saved = [2]int64{hits, misses}
}

func (c *counts) save(s *Store) {
	now := [2]int64{c.hits.Load(), c.misses.Load()}
	if now == c.saved {
		return
	}
	fresh := s.countsPath() + ".new"
	err := os.WriteFile(fresh, fmt.Appendln(nil, now[0], now[1]), 0o600)
	if err == nil {
		err = os.Rename(fresh, s.countsPath())
	}
	if err != nil {
		s.log.Debug("hits are not counted", "cache", s.dir, "cause", err)
	}
}
