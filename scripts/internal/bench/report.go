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

// Report prints how long something took beside a peer. The ratio should be at
// most goal; a goal of 0 is none. Costs in CPU follow where they are known.
func Report(what string, took Cost, peer string, peerTook Cost, goal float64) {
	ratio := float64(took.Wall) / float64(peerTook.Wall)
	verdict := ""
	switch {
	case goal > 0 && ratio <= goal:
		verdict = fmt.Sprintf("goal %.1f met", goal)
	case goal > 0:
		verdict = fmt.Sprintf("goal %.1f MISSED", goal)
	}
	if peerTook.CPU > 0 {
		verdict = fmt.Sprintf("%-16s CPU %8.1f ms %8.1f ms   %5.2f",
			verdict, ms(took.CPU), ms(peerTook.CPU), float64(took.CPU)/float64(peerTook.CPU))
	}
	fmt.Printf("    %-24s %8.1f ms   %-18s %8.1f ms   %5.2f   %s\n",
		what, ms(took.Wall), peer, ms(peerTook.Wall), ratio, verdict)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
