package main

import (
	"fmt"
	"runtime"
	"time"
)

// race lets two contestants run once in every round, so that what else happens
// on the machine meets both, and returns the least time of each.
func race(ours, theirs func() (time.Duration, error)) (best [2]time.Duration, err error) {
	for round := range *rounds {
		for i, run := range []func() (time.Duration, error){ours, theirs} {
			runtime.GC()
			took, err := run()
			if err != nil {
				return best, err
			}
			if round == 0 || took < best[i] {
				best[i] = took
			}
		}
	}
	return best, nil
}

// timed makes a contestant of work that needs no preparation.
func timed(work func() error) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		start := time.Now()
		err := work()
		return time.Since(start), err
	}
}

// compare reports our time beside a peer's. The ratio should be at most goal.
func compare(what string, peer string, took [2]time.Duration, goal float64) {
	ratio := float64(took[0]) / float64(took[1])
	report(what, fmt.Sprintf("%.1f ms, %s %.1f ms, %.2f times", ms(took[0]), peer, ms(took[1]), ratio),
		fmt.Sprintf("at most %.2f", goal), ratio <= goal)
}

func report(what, got, goal string, met bool) {
	verdict := "met"
	if !met {
		verdict = "MISSED"
	}
	fmt.Printf("    %-34s %-62s goal %s: %s\n", what, got, goal, verdict)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// rate returns bytes per second.
func rate(bytes int64, took time.Duration) float64 { return float64(bytes) / took.Seconds() }
