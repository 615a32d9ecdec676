package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fstree/fstree/internal/relay"
	"github.com/fstree/fstree/scripts/internal/bench"
)

// race lets us and a peer do the same in turn, and reports it. What the process
// behind a mount does is not in the CPU time.
func race(what string, goal float64, name string, ours, peer bench.Contestant) error {
	costs, err := bench.Race(*rounds, ours, peer)
	if err != nil {
		return err
	}
	bench.Report(what, costs[0], name, costs[1], goal)
	return nil
}

// warmWalks goes through a mount that everything of was seen before.
func warmWalks(s *site) error {
	native := s.Path("tree")
	return s.local(func(dir string) error {
		paths, err := listAll(dir)
		if err != nil {
			return err
		}
		for _, walk := range []struct {
			name string
			goal float64
			work func(dir string) error
		}{
			{"warm find", 1.15, func(dir string) error { return run("find", dir) }},
			{"warm ls -lR", 1.15, func(dir string) error { return run("ls", "-lR", dir) }},
			{"warm grep -r", 1.25, grep},
			{"warm stat of every entry", 1.15, func(dir string) error { return statAll(dir, paths) }},
		} {
			if err := walk.work(dir); err != nil {
				return err
			}
			if err := race(walk.name, walk.goal, "native",
				bench.Contestant{Work: func() error { return walk.work(dir) }},
				bench.Contestant{Work: func() error { return walk.work(native) }}); err != nil {
				return err
			}
		}
		return nil
	})
}

// listAll returns the paths of everything below dir, relative to it.
func listAll(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path[len(dir):])
		return err
	})
	return paths, err
}

func statAll(dir string, paths []string) error {
	for range 5 {
		for _, path := range paths {
			if _, err := os.Lstat(dir + path); err != nil {
				return err
			}
		}
	}
	return nil
}

// coldListing lists a tree of which nothing is here, far away. Its peer is a
// pull of the same directories, whose files are all the same one.
func coldListing(s *site) error {
	skeleton, err := s.skeleton()
	if err != nil {
		return err
	}
	var c relay.Traffic
	costs, err := bench.Race(*rounds,
		bench.Contestant{Timed: func() (took time.Duration, err error) {
			err = s.cold(*delay, func(dir string, r *relay.Relay) (err error) {
				took, err = bench.Timed(func() error { return run("ls", "-lR", dir) })
				c = r.Take()
				return err
			})
			return took, err
		}},
		bench.Contestant{Timed: func() (time.Duration, error) { return s.farPull(*delay, skeleton) }})
	if err != nil {
		return err
	}
	took := costs[0].Wall
	bench.Note("cold ls -lR, far", fmt.Sprintf("%.1f ms, %d calls in %d rounds, %d KiB", bench.MS(took), c.Calls, c.Rounds, c.Down>>10), took <= 2*time.Second, "2000 ms")
	bench.Report("cold ls -lR, far", costs[0], "pull of the trees", costs[1], 1.3)
	return nil
}

// skeleton puts the directories of the tree into the store, with all files
// alike.
func (s *site) skeleton() (root string, err error) {
	if root, err := os.ReadFile(s.Path("skeleton-root")); err == nil {
		return string(root), nil
	}
	paths, err := listAll(s.Path("tree"))
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		info, err := os.Stat(s.Path("tree") + path)
		if err != nil {
			return "", err
		}
		if info.IsDir() {
			err = os.MkdirAll(s.Path("skeleton")+path, 0o755)
		} else {
			err = os.WriteFile(s.Path("skeleton")+path, []byte("x"), 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	root, err = s.Client("", "write-tree", s.Path("skeleton"), "--cache", s.Path("store"), "--index", s.Path("skeleton-index"))
	if err != nil {
		return "", err
	}
	return root, os.WriteFile(s.Path("skeleton-root"), []byte(root), 0o644)
}

func (s *site) farPull(delay time.Duration, root string) (time.Duration, error) {
	r, err := relay.New(s.address, relay.Delay{Up: delay, Down: delay})
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return s.pull(r.Address(), root)
}

// coldGrep reads all files of a tree of which nothing is here. Its peer is a
// pull, and then reading a native directory.
func coldGrep(s *site, delay time.Duration) error {
	var c relay.Traffic
	err := race(fmt.Sprintf("cold grep -r, %v", delay), 1.5, "pull and grep",
		bench.Contestant{Timed: func() (took time.Duration, err error) {
			err = s.cold(delay, func(dir string, r *relay.Relay) (err error) {
				took, err = bench.Timed(func() error { return grep(dir) })
				c = r.Take()
				return err
			})
			return took, err
		}},
		bench.Contestant{Timed: func() (time.Duration, error) {
			pulled, err := s.farPull(delay, s.root)
			if err != nil {
				return 0, err
			}
			read, err := bench.Timed(func() error { return grep(s.Path("tree")) })
			return pulled + read, err
		}})
	if err != nil {
		return err
	}
	fmt.Printf("    %-32s %d calls in %d rounds, %.1f MiB\n", "", c.Calls, c.Rounds, float64(c.Down)/(1<<20))
	return nil
}

// firstListing mounts a tree of very many files, far away, and lists its root.
func firstListing(s *site) error {
	costs, err := bench.Race(*rounds, bench.Contestant{Timed: func() (took time.Duration, err error) {
		start := time.Now()
		err = s.cold(*delay, func(dir string, _ *relay.Relay) error {
			_, err := os.ReadDir(dir)
			took = time.Since(start)
			return err
		})
		return took, err
	}})
	if err != nil {
		return err
	}
	took := costs[0].Wall
	trips := float64(took) / float64(2**delay)
	bench.Note("mount to first ls, far", fmt.Sprintf("%.1f ms, the time of %.1f round trips", bench.MS(took), trips), trips < 5, "5 round trips")
	return nil
}
