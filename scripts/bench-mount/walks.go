package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fstree/fstree/scripts/internal/bench"
)

// warmWalks goes through a mount that everything of was seen before.
func warmWalks(s *site) error {
	native := s.path("tree")
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
			took, err := race(timed(func() error { return walk.work(dir) }), timed(func() error { return walk.work(native) }))
			if err != nil {
				return err
			}
			compare(walk.name, "native", took, walk.goal)
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
	var c bench.Traffic
	took, err := race(
		func() (took time.Duration, err error) {
			err = s.cold(*delay, func(dir string, l *bench.Link) error {
				start := time.Now()
				err := run("ls", "-lR", dir)
				took = time.Since(start)
				c = l.Take()
				return err
			})
			return took, err
		},
		func() (time.Duration, error) { return s.farPull(*delay, skeleton) })
	if err != nil {
		return err
	}
	report("cold ls -lR, far", fmt.Sprintf("%.1f ms, %d calls in %d rounds, %d KiB", ms(took[0]), c.Calls, c.Rounds, c.Down>>10), "2000 ms", took[0] <= 2*time.Second)
	compare("cold ls -lR, far", "pull of the trees", took, 1.3)
	return nil
}

// skeleton puts the directories of the tree into the store, with all files
// alike.
func (s *site) skeleton() (root string, err error) {
	if root, err := os.ReadFile(s.path("skeleton-root")); err == nil {
		return string(root), nil
	}
	paths, err := listAll(s.path("tree"))
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		info, err := os.Stat(s.path("tree") + path)
		if err != nil {
			return "", err
		}
		if info.IsDir() {
			err = os.MkdirAll(s.path("skeleton")+path, 0o755)
		} else {
			err = os.WriteFile(s.path("skeleton")+path, []byte("x"), 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	root, err = s.client("", "write-tree", s.path("skeleton"), "--cache", s.path("store"), "--index", s.path("skeleton-index"))
	if err != nil {
		return "", err
	}
	return root, os.WriteFile(s.path("skeleton-root"), []byte(root), 0o644)
}

func (s *site) farPull(delay time.Duration, root string) (time.Duration, error) {
	l, err := bench.NewLink(s.address, delay)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return s.pull(l.Address(), root)
}

// coldGrep reads all files of a tree of which nothing is here. Its peer is a
// pull, and then reading a native directory.
func coldGrep(s *site, delay time.Duration) error {
	var c bench.Traffic
	took, err := race(
		func() (took time.Duration, err error) {
			err = s.cold(delay, func(dir string, l *bench.Link) error {
				start := time.Now()
				err := grep(dir)
				took = time.Since(start)
				c = l.Take()
				return err
			})
			return took, err
		},
		func() (time.Duration, error) {
			pulled, err := s.farPull(delay, s.root)
			if err != nil {
				return 0, err
			}
			read, err := timed(func() error { return grep(s.path("tree")) })()
			return pulled + read, err
		})
	if err != nil {
		return err
	}
	compare(fmt.Sprintf("cold grep -r, %v", delay), "pull and grep", took, 1.5)
	fmt.Printf("    %-34s %d calls in %d rounds, %.1f MiB\n", "", c.Calls, c.Rounds, float64(c.Down)/(1<<20))
	return nil
}

// firstListing mounts a tree of very many files, far away, and lists its root.
func firstListing(s *site) error {
	var best time.Duration
	for round := range *rounds {
		start := time.Now()
		err := s.cold(*delay, func(dir string, l *bench.Link) error {
			_, err := os.ReadDir(dir)
			if took := time.Since(start); round == 0 || took < best {
				best = took
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	trips := float64(best) / float64(2**delay)
	report("mount to first ls, far", fmt.Sprintf("%.1f ms, the time of %.1f round trips", ms(best), trips), "5 round trips", trips < 5)
	return nil
}
