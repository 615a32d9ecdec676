package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// crashes is how many commands are killed.
const crashes = 210

// TestNextCommandWorksAfterEveryCrash kills write-tree, pull and evict at
// random points of their run. After each kill the same command succeeds and
// the cache holds nothing that is damaged.
func TestNextCommandWorksAfterEveryCrash(t *testing.T) {
	s := newStress(t)
	index := filepath.Join(s.dir, "crash-index")
	evict := []string{"evict", "--cache-size", "1MiB", "--cache-retention", "0"}
	commands := []struct {
		name          string
		prepare, args []string
	}{
		{"write-tree", evict, []string{"write-tree", s.sources[1], "--index", index}},
		{"pull", evict, []string{"pull", s.trees[0]}},
		{"evict", []string{"pull", s.trees[1]}, evict},
	}
	took := make([]time.Duration, len(commands))
	killed := map[string]int{}
	for i := range crashes {
		which := i % len(commands)
		c := commands[which]
		os.Remove(index)
		s.run(c.prepare...)
		if took[which] > 0 {
			if s.killDuring(c.args, rand.N(took[which])) {
				killed[c.name]++
			} else {
				took[which] -= took[which] / 8 // it has become faster
			}
		}
		begin := time.Now()
		out, ok := s.run(c.args...)
		if !ok {
			t.Fatalf("%s fails after crash %d", c.name, i)
		}
		if took[which] == 0 {
			took[which] = time.Since(begin)
		}
		if c.name == "write-tree" && out != s.trees[1] {
			t.Errorf("write-tree printed %s, want %s", out, s.trees[1])
		}
		if c.name == "pull" {
			s.run("verify", s.trees[0])
		}
		s.run("verify")
		if t.Failed() {
			t.Fatalf("crash %d, of %s", i, c.name)
		}
	}
	t.Logf("killed: %v", killed)
	for _, c := range commands {
		if killed[c.name] < crashes/len(commands)/2 {
			t.Errorf("%s was killed in its run only %d times", c.name, killed[c.name])
		}
	}
}

// killDuring tells whether it killed the command before its end.
func (s *stress) killDuring(args []string, after time.Duration) bool {
	c := s.fstree(args...)
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	defer time.AfterFunc(after, func() { c.Process.Kill() }).Stop()
	return wasKilled(c.Wait())
}
