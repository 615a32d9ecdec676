// Command bench-mount measures a mount against a native directory in the same
// run, cold and warm, and prints the ratios, the round trips and the bytes. It
// needs root and /dev/fuse.
//
//	bench-mount [-fstree bin/fstree] [-dir /dev/shm] [-rounds 3] [-delay 20ms] [-big 2048] [-many 1000] [-only WORD]
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fstree/fstree/scripts/internal/bench"
)

var (
	fstree = flag.String("fstree", "bin/fstree", "the binary to measure")
	where  = flag.String("dir", "/dev/shm", "where to work")
	rounds = flag.Int("rounds", 3, "how often each is measured; the best counts")
	delay  = flag.Duration("delay", 20*time.Millisecond, "delay of the far network, each way")
	big    = flag.Int("big", 2048, "size of the big file in MiB")
	many   = flag.Int("many", 1000, "number of directories of 1000 files in the tree of many files")
	only   = flag.String("only", "", "run only the measurements with this word in their name")
)

func main() { bench.Main("bench-mount", benchmark) }

// measurement is a part of the table, about one tree.
type measurement struct {
	name string
	run  func(*site) error
}

func benchmark() error {
	fmt.Printf("best of %d rounds, in %s; far is %v away, each way\n", *rounds, *where, *delay)
	for _, tree := range []struct {
		make func(dir string) (string, error)
		then []measurement
	}{
		{bench.GoSource, []measurement{
			{"warm walks", warmWalks},
			{"cold listing", coldListing},
			{"cold grep near", func(s *site) error { return coldGrep(s, 0) }},
			{"cold grep far", func(s *site) error { return coldGrep(s, *delay) }},
		}},
		{func(dir string) (string, error) { return bench.BigFile(dir, *big) }, []measurement{
			{"big random", coldRandom},
			{"big cold", coldSequential},
			{"big local", localFile},
		}},
		{manyFiles, []measurement{{"many files", firstListing}}},
	} {
		var wanted []measurement
		for _, m := range tree.then {
			if strings.Contains(m.name, *only) {
				wanted = append(wanted, m)
			}
		}
		if len(wanted) == 0 {
			continue
		}
		if err := measure(tree.make, wanted); err != nil {
			return err
		}
	}
	return nil
}

// measure makes a tree and a server that has it, and takes both away again.
func measure(make func(dir string) (string, error), wanted []measurement) error {
	place, err := bench.NewPlace(*where, *fstree)
	if err != nil {
		return err
	}
	defer place.Close()
	s := &site{Place: place}
	defer s.stop()
	name, err := make(s.Path("tree"))
	if err != nil {
		return err
	}
	fmt.Printf("\n  %s\n", name)
	if err := s.serve(); err != nil {
		return err
	}
	for _, m := range wanted {
		if err := m.run(s); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// manyFiles makes empty files, a thousand in each directory.
func manyFiles(dir string) (string, error) {
	for i := range *many {
		below := filepath.Join(dir, fmt.Sprintf("dir%04d", i))
		if err := os.MkdirAll(below, 0o755); err != nil {
			return "", err
		}
		for j := range 1000 {
			if err := os.WriteFile(filepath.Join(below, fmt.Sprintf("file-%d-%d", i, j)), nil, 0o644); err != nil {
				return "", err
			}
		}
	}
	return fmt.Sprintf("%d empty files", *many*1000), nil
}
