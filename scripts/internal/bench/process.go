package bench

import (
	"fmt"
	"os"
	"os/exec"
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
	peak     int // in kB
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
