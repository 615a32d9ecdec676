// Command bench-transfer measures push and pull against rsync and its daemon,
// on loopback and through a relay that delays both directions, and prints the
// ratios and the peak memory of client and server.
//
//	bench-transfer [-fstree bin/fstree] [-dir /dev/shm] [-rounds 3] [-delays 0,20ms] [-big 2048] [-small 50000]
package main

import (
	"flag"
	"fmt"
	"log"
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
	delays = flag.String("delays", "0,20ms", "delays of the network, each way, separated by commas")
	big    = flag.Int("big", 2048, "size of the big file in MiB")
	small  = flag.Int("small", 50_000, "number of small files")
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench-transfer: ")
	flag.Parse()
	if err := benchmark(); err != nil {
		log.Fatal(err)
	}
}

// input makes a directory, and says what it is called.
type input struct {
	make func(dir string) (string, error)
	goal float64 // of the time of rsync, when everything is moved
	many bool    // whether one percent of its files can change
}

func benchmark() error {
	binary, err := filepath.Abs(*fstree)
	if err != nil {
		return err
	}
	fmt.Printf("best of %d rounds, in %s\n", *rounds, *where)
	for _, in := range []input{
		{bench.GoSource, 0.6, true},
		{func(dir string) (string, error) { return bench.SmallFiles(dir, *small) }, 0.6, true},
		{func(dir string) (string, error) { return bench.BigFile(dir, *big) }, 1, false},
	} {
		for text := range strings.SplitSeq(*delays, ",") {
			delay, err := time.ParseDuration(text)
			if err != nil {
				return err
			}
			if err := measure(binary, in, delay); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure makes a place for one input and one network, and takes it away again.
func measure(binary string, in input, delay time.Duration) error {
	base, err := os.MkdirTemp(*where, "bench-transfer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	s := &site{base: base, binary: binary, delay: delay}
	defer s.stop()
	name, err := in.make(s.path("tree"))
	if err != nil {
		return err
	}
	network := "loopback"
	if delay > 0 {
		network = fmt.Sprintf("%s each way", delay)
	}
	fmt.Printf("\n  %s, %s\n", name, network)
	return s.run(in)
}
