package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/fstree/fstree/scripts/internal/bench"
)

// coldRandom reads a little of a big file of which nothing is here.
func coldRandom(s *site) error {
	var c bench.Traffic
	var took time.Duration
	err := s.cold(*delay, func(dir string, l *bench.Link) error {
		if _, err := os.Stat(filepath.Join(dir, "big")); err != nil {
			return err
		}
		time.Sleep(5 * *delay) // what the mount reads ahead
		l.Take()
		start := time.Now()
		err := readRandom(filepath.Join(dir, "big"), 1)
		took = time.Since(start)
		c = l.Take()
		return err
	})
	if err != nil {
		return err
	}
	report("cold 4 KiB of the big file, far", fmt.Sprintf("%.1f ms, %d KiB moved", ms(took), c.Down>>10), "256 KiB", c.Down <= 256<<10)
	report("cold 4 KiB of the big file, far", fmt.Sprintf("%d calls in %d rounds", c.Calls, c.Rounds), "3 round trips", c.Rounds <= 3)
	return nil
}

// readRandom reads 4 KiB at so many places.
func readRandom(path string, reads int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 4<<10)
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for range reads {
		off := r.Int64N(int64(*big)<<20 - int64(len(buf)))
		if _, err := f.ReadAt(buf, off); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads a file from beginning to end.
func readAll(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		if _, err := f.Read(buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// coldSequential reads a big file of which nothing is here, from beginning to
// end.
func coldSequential(s *site) error {
	for _, delay := range []time.Duration{0, *delay} {
		took, err := race(
			func() (took time.Duration, err error) {
				err = s.cold(delay, func(dir string, _ *bench.Link) error {
					took, err = timed(func() error { return readAll(filepath.Join(dir, "big")) })()
					return err
				})
				os.RemoveAll(s.path("cache"))
				return took, err
			},
			func() (time.Duration, error) {
				took, err := s.farPull(delay, s.root)
				os.RemoveAll(s.path("pulled"))
				return took, err
			})
		if err != nil {
			return err
		}
		compare(fmt.Sprintf("cold read of the big file, %v", delay), "pull", took, 1/0.7)
	}
	return nil
}

// localFile reads a big file that is here already.
func localFile(s *site) error {
	native := filepath.Join(s.path("tree"), "big")
	size := int64(*big) << 20
	for _, mode := range []string{"cached", "passthrough"} {
		first, err := race(
			func() (took time.Duration, err error) {
				err = s.local(func(dir string) error {
					took, err = timed(func() error { return readAll(filepath.Join(dir, "big")) })()
					return err
				}, "--mode", mode)
				return took, err
			},
			timed(func() error { return readAll(native) }))
		if err != nil {
			return err
		}
		if mode == "cached" {
			got := rate(size, first[0])
			report("first read, cached", fmt.Sprintf("%.2f GB/s, native %.2f GB/s", got/1e9, rate(size, first[1])/1e9), "2 GB/s", got >= 2e9)
		} else {
			compare("first read, "+mode, "native", first, 1/0.95)
		}
		err = s.local(func(dir string) error { return again(mode, filepath.Join(dir, "big"), native) }, "--mode", mode)
		if err != nil {
			return err
		}
	}
	return nil
}

// again reads what the kernel has seen before.
func again(mode, path, native string) error {
	if err := readAll(path); err != nil {
		return err
	}
	took, err := race(timed(func() error { return readAll(path) }), timed(func() error { return readAll(native) }))
	if err != nil {
		return err
	}
	compare("warm read, "+mode, "native", took, 1/0.95)
	if mode != "passthrough" {
		return nil
	}
	const reads = 100_000
	took, err = race(timed(func() error { return readRandom(path, reads) }), timed(func() error { return readRandom(native, reads) }))
	if err != nil {
		return err
	}
	compare("random 4 KiB, "+mode, "native", took, 1/0.9)
	return nil
}
