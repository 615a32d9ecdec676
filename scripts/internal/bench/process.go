package bench

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a child whose memory is watched. What wait says of a child's
// memory includes its parent's, so the system is asked while it runs.
type Process struct {
	*exec.Cmd
	watching sync.WaitGroup
	stopped  chan struct{}

	mu   sync.Mutex
	peak int // in kB
}

const watchEvery = 5 * time.Millisecond

// Watch watches c, which was started.
func Watch(c *exec.Cmd) *Process {
	p := &Process{Cmd: c, stopped: make(chan struct{})}
	p.watching.Go(func() {
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			p.look()
			select {
			case <-ticker.C:
			case <-p.stopped:
				return
			}
		}
	})
	return p
}

func (p *Process) look() {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		return
	}
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	var now int
	if _, err := fmt.Sscan(rest, &now); found && err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.peak = max(p.peak, now)
	}
}

// Wait waits for the end and returns the peak memory in kB.
func (p *Process) Wait() (int, error) {
	err := p.Cmd.Wait()
	close(p.stopped)
	p.watching.Wait()
	return p.peak, err
}

// End stops the program and returns its peak memory in kB.
func (p *Process) End() int {
	p.look()
	p.Process.Signal(syscall.SIGTERM)
	peak, _ := p.Wait()
	return peak
}

// CPU returns the time that the running program and its children have used of
// all processors, 0 if that is not known.
func (p *Process) CPU() time.Duration {
	used := cpuOf(strconv.Itoa(p.Process.Pid))
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", p.Process.Pid))
	if err == nil {
		for pid := range strings.FieldsSeq(string(children)) {
			used += cpuOf(pid)
		}
	}
	return used
}

func cpuOf(pid string) (used time.Duration) {
	const perTick = time.Second / 100
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		ticks, _ := strconv.Atoi(field)
		used += time.Duration(ticks) * perTick
	}
	return used
}
