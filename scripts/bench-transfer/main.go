// Command bench-transfer measures push and pull against rsync and its daemon,
// against gRPC that streams the same bytes and does nothing else, and, without
// our extension of the service, against one call at a time: on loopback and
// through a relay that delays both directions. It prints the ratios, the round
// trips where there is a delay, and the peak memory of client and server.
//
//	bench-transfer [-fstree bin/fstree] [-dir /dev/shm] [-rounds 3] [-delays 0,20ms] [-big 2048] [-small 50000] [-only WORD]
package main

import (
	"context"
	"flag"
	"fmt"
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
	only     = flag.String("only", "", "run only the inputs with this word in their name: source, small, big, basic")
)

// ctx is that of all calls that the benchmark makes itself.
var ctx = context.Background()

func main() {
	bench.Main("bench-transfer", func() error {
		if *peer {
			return servePeer()
		}
		return benchmark()
	})
}

// input makes a directory, and says what it is called.
type input struct {
	name string // for -only
	make func(dir string) (string, error)
	goal float64 // of the time of rsync, when everything is moved
	move func(*site, input) error
}

func benchmark() error {
	fmt.Printf("best of %d rounds, in %s\n", *rounds, *where)
	delays, err := parseDelays()
	if err != nil {
		return err
	}
	for _, in := range []input{
		{"source", bench.GoSource, 0.6, (*site).moveMany},
		{"small", func(dir string) (string, error) { return bench.SmallFiles(dir, *small) }, 0.6, (*site).moveMany},
		{"big", func(dir string) (string, error) { return bench.BigFile(dir, *big) }, 1, (*site).moveBig},
		{"basic", noInput, 0, (*site).basic},
	} {
		if !strings.Contains(in.name, *only) {
			continue
		}
		for _, delay := range delays {
			if err := measure(delay, in); err != nil {
				return err
			}
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
func measure(delay time.Duration, in input) error {
	place, err := bench.NewPlace(*where, *fstree)
	if err != nil {
		return err
	}
	defer place.Close()
	s := &site{Place: place, delay: delay}
	defer s.stop()
	name, err := in.make(s.Path("tree"))
	if err != nil {
		return err
	}
	network := "loopback"
	if delay > 0 {
		network = fmt.Sprintf("%s each way", delay)
	}
	fmt.Printf("\n  %s, %s\n", name, network)
	return in.move(s, in)
}
