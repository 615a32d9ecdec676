// Command bench-transfer measures push and pull against rsync and its daemon,
// against gRPC that streams the same bytes and does nothing else, and, without
// our extension of the service, against one call at a time: on loopback and
// through a relay that delays both directions. It prints the ratios, the round
// trips where there is a delay, and the peak memory of client and server.
//
//	bench-transfer [-fstree bin/fstree] [-dir /dev/shm] [-rounds 3] [-delays 0,20ms] [-big 2048] [-small 50000]
package main

import (
	"context"
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
	fstree   = flag.String("fstree", "bin/fstree", "the binary to measure")
	where    = flag.String("dir", "/dev/shm", "where to work")
	rounds   = flag.Int("rounds", 3, "how often each is measured; the best counts")
	networks = flag.String("delays", "0,20ms", "delays of the network, each way, separated by commas")
	big      = flag.Int("big", 2048, "size of the big file in MiB")
	small    = flag.Int("small", 50_000, "number of small files")
)

// ctx is that of all calls that the benchmark makes itself.
var ctx = context.Background()

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench-transfer: ")
	flag.Parse()
	do := benchmark
	if *peer {
		do = servePeer
	}
	if err := do(); err != nil {
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
	delays, err := parseDelays()
	if err != nil {
		return err
	}
	for _, in := range []input{
		{bench.GoSource, 0.6, true},
		{func(dir string) (string, error) { return bench.SmallFiles(dir, *small) }, 0.6, true},
		{func(dir string) (string, error) { return bench.BigFile(dir, *big) }, 1, false},
	} {
		for _, delay := range delays {
			if err := measure(binary, delay, in.make, func(s *site) error { return s.run(in) }); err != nil {
				return err
			}
		}
	}
	for _, delay := range delays {
		if err := measure(binary, delay, noInput, (*site).basic); err != nil {
			return err
		}
	}
	return nil
}

func parseDelays() (delays []time.Duration, err error) {
	for text := range strings.SplitSeq(*networks, ",") {
		delay, err := time.ParseDuration(text)
		if err != nil {
			return nil, err
		}
		delays = append(delays, delay)
	}
	return delays, nil
}

func noInput(string) (string, error) { return "server without the extension", nil }

// measure makes a place for one input and one network, and takes it away again.
func measure(binary string, delay time.Duration, makeInput func(dir string) (string, error), run func(*site) error) error {
	base, err := os.MkdirTemp(*where, "bench-transfer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	s := &site{base: base, binary: binary, delay: delay}
	defer s.stop()
	name, err := makeInput(s.path("tree"))
	if err != nil {
		return err
	}
	network := "loopback"
	if delay > 0 {
		network = fmt.Sprintf("%s each way", delay)
	}
	fmt.Printf("\n  %s, %s\n", name, network)
	return run(s)
}
