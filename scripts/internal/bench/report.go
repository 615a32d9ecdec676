package bench

import (
	"fmt"
	"math"
	"runtime"
	"time"
)

// Best returns the shortest time of work in so many rounds, each after prepare.
func Best(rounds int, prepare, work func() error) (time.Duration, error) {
	best := time.Duration(math.MaxInt64)
	for range rounds {
		if err := prepare(); err != nil {
			return 0, err
		}
		runtime.GC()
		start := time.Now()
		if err := work(); err != nil {
			return 0, err
		}
		best = min(best, time.Since(start))
	}
	return best, nil
}

// Report prints how long something took beside a peer. The ratio should be at
// most goal; a goal of 0 is none.
func Report(what string, took time.Duration, peer string, peerTook time.Duration, goal float64) {
	ratio := float64(took) / float64(peerTook)
	verdict := ""
	switch {
	case goal > 0 && ratio <= goal:
		verdict = fmt.Sprintf("goal %.1f met", goal)
	case goal > 0:
		verdict = fmt.Sprintf("goal %.1f MISSED", goal)
	}
	fmt.Printf("    %-24s %8.1f ms   %-18s %8.1f ms   %5.2f   %s\n", what, ms(took), peer, ms(peerTook), ratio, verdict)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
