package bench

import (
	"fmt"
	"runtime"
	"syscall"
	"time"
)

// Cost is what something took. CPU is the time of all processors, in user and
// in kernel mode, of this process and of its children that have ended.
type Cost struct{ Wall, CPU time.Duration }

// Contestant is one way to do something. It is prepared before each round.
type Contestant struct {
	Prepare, Work func() error
	// Timed stands in place of Work, where only a part of the work counts: it
	// returns how long that took. Its CPU time is then unknown.
	Timed func() (time.Duration, error)
	// Server works for it, and was running before. Nil if there is none.
	Server func() *Process
}

// Race lets all contestants run once in every round, so that what else happens
// on the machine meets them all, and returns the least of each one's costs.
func Race(rounds int, contestants ...Contestant) ([]Cost, error) {
	costs := make([]Cost, len(contestants))
	for round := range rounds {
		for i, c := range contestants {
			cost, err := c.run()
			if err != nil {
				return nil, err
			}
			if round > 0 {
				cost.Wall = min(cost.Wall, costs[i].Wall)
				cost.CPU = min(cost.CPU, costs[i].CPU)
			}
			costs[i] = cost
		}
	}
	return costs, nil
}

func (c Contestant) run() (Cost, error) {
	if c.Prepare != nil {
		if err := c.Prepare(); err != nil {
			return Cost{}, err
		}
	}
	runtime.GC()
	if c.Timed != nil {
		took, err := c.Timed()
		return Cost{Wall: took}, err
	}
	start, used := time.Now(), c.cpu()
	err := c.Work()
	took := time.Since(start)
	return Cost{took, c.cpu() - used}, err
}

func (c Contestant) cpu() time.Duration {
	if c.Server == nil {
		return cpu()
	}
	return cpu() + c.Server().CPU()
}

func cpu() (used time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if syscall.Getrusage(who, &r) == nil {
			used += time.Duration(r.Utime.Nano() + r.Stime.Nano())
		}
	}
	return used
}

// Timed returns how long work took.
func Timed(work func() error) (time.Duration, error) {
	start := time.Now()
	err := work()
	return time.Since(start), err
}

// Report prints how long something took beside a peer. The ratio should be at
// most goal; a goal of 0 is none. Costs in CPU follow where both are known.
func Report(what string, took Cost, peer string, peerTook Cost, goal float64) {
	ratio := float64(took.Wall) / float64(peerTook.Wall)
	verdict := ""
	if goal > 0 {
		verdict = Verdict(ratio <= goal, fmt.Sprintf("%.2f", goal))
	}
	if took.CPU > 0 && peerTook.CPU > 0 {
		verdict = fmt.Sprintf("%-17s CPU %8.1f ms %8.1f ms   %5.2f",
			verdict, MS(took.CPU), MS(peerTook.CPU), float64(took.CPU)/float64(peerTook.CPU))
	}
	fmt.Printf("    %-32s %8.1f ms   %-18s %8.1f ms   %5.2f   %s\n",
		what, MS(took.Wall), peer, MS(peerTook.Wall), ratio, verdict)
}

// Note prints what else was seen of something, and whether that met its goal.
func Note(what, seen string, met bool, goal any) {
	fmt.Printf("    %-32s %-48s   %s\n", what, seen, Verdict(met, goal))
}

// Verdict says whether a goal was met.
func Verdict(met bool, goal any) string {
	if met {
		return fmt.Sprintf("goal %v met", goal)
	}
	return fmt.Sprintf("goal %v MISSED", goal)
}

// MS returns d in milliseconds.
func MS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
