package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child whose memory is watched. What wait says of a child's
// memory includes its parent's, so the system is asked while it runs.
type process struct {
	*exec.Cmd
	watching sync.WaitGroup
	stopped  chan struct{}
	peak     int // in kB
}

const watchEvery = 20 * time.Millisecond

func watch(c *exec.Cmd) *process {
	p := &process{Cmd: c, stopped: make(chan struct{})}
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

func (p *process) look() {
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

// start starts a program that runs until end, and returns what it says on
// stderr.
func start(name string, args ...string) (*process, io.Reader, error) {
	c := exec.Command(name, args...)
	stderr, err := c.StderrPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := c.Start(); err != nil {
		return nil, nil, err
	}
	return watch(c), stderr, nil
}

// wait waits for the end and returns the peak memory in kB.
func (p *process) wait() (int, error) {
	err := p.Wait()
	close(p.stopped)
	p.watching.Wait()
	return p.peak, err
}

// end stops the program and returns its peak memory in kB.
func (p *process) end() int {
	p.look()
	p.Process.Signal(syscall.SIGTERM)
	peak, _ := p.wait()
	return peak
}

// client runs fstree and returns what it prints.
func (s *site) client(args ...string) (string, error) {
	c := exec.Command(s.binary, append(args, "--remote", s.remote, "--cache-size", "0")...)
	if s.remote == "" {
		c.Args = append(c.Args, "--remote", "jolt://127.0.0.1:1")
	}
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Start(); err != nil {
		return "", err
	}
	peak, err := watch(c).wait()
	s.clientPeak = max(s.clientPeak, peak)
	if err != nil {
		return "", fmt.Errorf("fstree %s: %w: %s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}

func (s *site) rsync(from, to string) error {
	if out, err := exec.Command("rsync", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("rsync %s %s: %w: %s", from, to, err, out)
	}
	return nil
}
