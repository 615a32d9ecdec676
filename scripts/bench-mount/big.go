package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/fstree/fstree/internal/relay"
	"github.com/fstree/fstree/scripts/internal/bench"
)

// coldRandom reads a little of a big file of which nothing is here.
func coldRandom(s *site) error {
	var c relay.Traffic
	var took time.Duration
	err := s.cold(*delay, func(dir string, r *relay.Relay) (err error) {
		if _, err := os.Stat(filepath.Join(dir, "big")); err != nil {
			return err
		}
		time.Sleep(5 * *delay) // what the mount reads ahead
		r.Take()
		took, err = bench.Timed(func() error { return readRandom(filepath.Join(dir, "big"), 1) })
		c = r.Take()
		return err
	})
	if err != nil {
		return err
	}
	bench.Note("cold 4 KiB of the big file, far", fmt.Sprintf("%.1f ms, %d KiB moved", bench.MS(took), c.Down>>10), c.Down <= 256<<10, "256 KiB")
	bench.Note("cold 4 KiB of the big file, far", fmt.Sprintf("%d calls in %d rounds", c.Calls, c.Rounds), c.Rounds <= 3, "3 round trips")
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
		err := race(fmt.Sprintf("cold read of the big file, %v", delay), 1/0.7, "pull",
			bench.Contestant{Timed: func() (took time.Duration, err error) {
				err = s.cold(delay, func(dir string, _ *relay.Relay) (err error) {
					took, err = bench.Timed(func() error { return readAll(filepath.Join(dir, "big")) })
					return err
				})
				os.RemoveAll(s.Path("cache"))
				return took, err
			}},
			bench.Contestant{Timed: func() (time.Duration, error) {
				took, err := s.farPull(delay, s.root)
				os.RemoveAll(s.Path("pulled"))
				return took, err
			}})
		if err != nil {
			return err
		}
	}
	return nil
}

// localFile reads a big file that is here already.
func localFile(s *site) error {
	native := filepath.Join(s.Path("tree"), "big")
	for _, mode := range []string{"cached", "passthrough"} {
		costs, err := bench.Race(*rounds,
			bench.Contestant{Timed: func() (took time.Duration, err error) {
				err = s.local(func(dir string) (err error) {
					took, err = bench.Timed(func() error { return readAll(filepath.Join(dir, "big")) })
					return err
				}, "--mode", mode)
				return took, err
			}},
			bench.Contestant{Work: func() error { return readAll(native) }})
		if err != nil {
			return err
		}
		if mode == "cached" {
			got := speed(costs[0])
			bench.Note("first read, cached", fmt.Sprintf("%.2f GB/s, native %.2f GB/s", got, speed(costs[1])), got >= 2, "2 GB/s")
		} else {
			bench.Report("first read, "+mode, costs[0], "native", costs[1], 1/0.95)
		}
		err = s.local(func(dir string) error { return again(mode, filepath.Join(dir, "big"), native) }, "--mode", mode)
		if err != nil {
			return err
		}
	}
	return nil
}

// speed returns how many GB of the big file were read in a second.
func speed(cost bench.Cost) float64 { return float64(int64(*big)<<20) / cost.Wall.Seconds() / 1e9 }

// again reads what the kernel has seen before.
func again(mode, path, native string) error {
	if err := readAll(path); err != nil {
		return err
	}
	err := race("warm read, "+mode, 1/0.95, "native",
		bench.Contestant{Work: func() error { return readAll(path) }},
		bench.Contestant{Work: func() error { return readAll(native) }})
	if err != nil || mode != "passthrough" {
		return err
	}
	const reads = 100_000
	return race("random 4 KiB, "+mode, 1/0.9, "native",
		bench.Contestant{Work: func() error { return readRandom(path, reads) }},
		bench.Contestant{Work: func() error { return readRandom(native, reads) }})
}
