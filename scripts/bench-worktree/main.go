// Command bench-worktree measures write-tree and checkout against what else
// goes through a directory on the same machine in the same run, and prints the
// ratios of wall time and of CPU time, and the peak memory.
//
//	bench-worktree [-fstree bin/fstree] [-dirs /dev/shm,/var/tmp] [-rounds 5] [-big 2048] [-small 50000]
//
// Ours is the binary, its start included. So are git and cp; the other peers
// run in this process.
package main

import (
	"flag"
	"fmt"
	"runtime"
	"strings"

	"github.com/fstree/fstree/scripts/internal/bench"
)

var (
	fstree  = flag.String("fstree", "bin/fstree", "the binary to measure")
	dirs    = flag.String("dirs", "/dev/shm", "where to work, separated by commas")
	rounds  = flag.Int("rounds", 5, "how often each is measured; the best counts")
	big     = flag.Int("big", 2048, "size of the big file in MiB")
	small   = flag.Int("small", 50_000, "number of small files")
	threads = flag.Int("threads", runtime.GOMAXPROCS(0), "threads of everything that has threads")
)

// input makes a directory, and says what it is called.
type input struct {
	make     func(dir string) (string, error)
	checkout float64 // goal for a checkout, of the time of cp -a
	many     bool    // else an unchanged tree costs the start of a process alone
}

func main() { bench.Main("bench-worktree", benchmark) }

func benchmark() error {
	fmt.Printf("%d threads, best of %d rounds\n", *threads, *rounds)
	for dir := range strings.SplitSeq(*dirs, ",") {
		fmt.Printf("\n%s\n", dir)
		for _, in := range []input{
			{bench.GoSource, 0.7, true},
			{func(dir string) (string, error) { return bench.SmallFiles(dir, *small) }, 0.7, true},
			{func(dir string) (string, error) { return bench.BigFile(dir, *big) }, 1, false},
		} {
			if err := measure(dir, in); err != nil {
				return err
			}
		}
	}
	return nil
}

func measure(dir string, in input) error {
	place, err := bench.NewPlace(dir, *fstree)
	if err != nil {
		return err
	}
	defer place.Close()
	return (&subject{Place: place, dir: place.Path("tree")}).run(in)
}
