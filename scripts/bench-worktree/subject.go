package main

import (
	"fmt"
	"os"
	"time"

	"github.com/fstree/fstree/scripts/internal/bench"
)

// subject is one tree, about which everything is measured.
type subject struct {
	*bench.Place
	dir     string
	root    string // what write-tree printed last
	watched bool
	peak    int // memory of the last run that was watched, in kB
}

func (b *subject) run(in input) error {
	name, err := in.make(b.dir)
	if err != nil {
		return err
	}
	fmt.Printf("\n  %s\n", name)
	first, err := b.first()
	if err != nil {
		return err
	}
	unchanged, err := b.unchanged(in)
	if err != nil {
		return err
	}
	if in.many {
		if err := b.changed(first, unchanged); err != nil {
			return err
		}
	}
	if err := b.checkouts(in); err != nil {
		return err
	}
	return b.memory()
}

// first measures a write into an empty cache.
func (b *subject) first() (bench.Cost, error) {
	costs, err := bench.Race(*rounds,
		bench.Contestant{Prepare: b.forget, Work: b.write},
		bench.Contestant{Work: func() error { return hashAll(b.dir, *threads) }})
	if err != nil {
		return bench.Cost{}, err
	}
	bench.Report("write, first time", costs[0], "read and hash", costs[1], 1.5)
	return costs[0], nil
}

// goal is one that only a tree with many files has.
func (in input) goal(ratio float64) float64 {
	if !in.many {
		return 0
	}
	return ratio
}

// rest waits until the system's clock has advanced, so that what was written
// before is not racily clean.
func rest() { time.Sleep(50 * time.Millisecond) }

// unchanged measures a write when the one before has seen the same.
func (b *subject) unchanged(in input) (bench.Cost, error) {
	if err := b.git("init", "-q"); err != nil {
		return bench.Cost{}, err
	}
	if err := b.git("add", "-A"); err != nil {
		return bench.Cost{}, err
	}
	rest()
	if err := b.write(); err != nil {
		return bench.Cost{}, err
	}
	costs, err := bench.Race(2*(*rounds),
		bench.Contestant{Work: b.write},
		bench.Contestant{Work: func() error { return b.git("add", "-A") }},
		bench.Contestant{Work: b.walk})
	if err != nil {
		return bench.Cost{}, err
	}
	bench.Report("write, unchanged", costs[0], "git add -A", costs[1], in.goal(1))
	bench.Report("write, unchanged", costs[0], "bare walk", costs[2], in.goal(1.5))
	return costs[0], nil
}

// changed measures a write after a hundredth of the files has changed. It
// should cost that much of a first one more than if nothing had changed.
func (b *subject) changed(first, unchanged bench.Cost) error {
	touch := func() error { return bench.Touch(b.dir) }
	costs, err := bench.Race(*rounds, bench.Contestant{Prepare: touch, Work: b.write})
	if err != nil {
		return err
	}
	share := bench.Cost{Wall: unchanged.Wall + first.Wall/100, CPU: unchanged.CPU + first.CPU/100}
	bench.Report("write, 1 % changed", costs[0], "in proportion", share, 0)
	return nil
}

func (b *subject) checkouts(in input) error {
	out := b.Path("out")
	remove := func() error { return os.RemoveAll(out) }
	costs, err := bench.Race(*rounds,
		bench.Contestant{Prepare: remove, Work: b.checkout},
		bench.Contestant{Prepare: remove, Work: func() error { return bench.Run("", "cp", "-a", b.dir, out) }})
	if err != nil {
		return err
	}
	bench.Report("checkout, into nothing", costs[0], "cp -a", costs[1], in.checkout)
	if err := b.checkout(); err != nil {
		return err
	}
	rest()
	if err := b.checkout(); err != nil {
		return err
	}
	costs, err = bench.Race(2*(*rounds), bench.Contestant{Work: b.checkout}, bench.Contestant{Work: b.walk})
	if err != nil {
		return err
	}
	bench.Report("checkout, unchanged", costs[0], "bare walk", costs[1], in.goal(1.5))
	return remove()
}

// forget makes the next write a first one.
func (b *subject) forget() error {
	for _, name := range []string{"cache", "index", "out", "out.index"} {
		if err := os.RemoveAll(b.Path(name)); err != nil {
			return err
		}
	}
	return nil
}

func (b *subject) walk() error { return walkAll(b.dir, *threads) }

// git keeps its own files out of the tree.
func (b *subject) git(args ...string) error {
	return bench.Run(b.dir, "git", append([]string{
		"--git-dir", b.Path("git"), "--work-tree", b.dir, "-c", "core.compression=0",
	}, args...)...)
}
