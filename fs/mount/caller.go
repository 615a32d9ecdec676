package mount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// errInterrupted ends the wait of a caller that nobody will miss.
var errInterrupted = errors.New("interrupted")

const (
	// interruptPoll is how often an interrupted caller is looked at.
	interruptPoll = 20 * time.Millisecond
	// interruptGrace is how long a caller waits on after an interrupt if its
	// process can't be seen from here.
	interruptGrace = 5 * time.Second
)

// caller is the process behind a request.
type caller struct {
	thread    uint32          // its id, 0 if unknown
	interrupt <-chan struct{} // closed by any signal, and when the mount ends
	ended     func() bool     // tells whether the mount has ended
	waiting   *atomic.Int64   // counts those who wait; may be nil
}

func (s *shared) caller(cancel <-chan struct{}, h *fuse.InHeader) caller {
	return caller{thread: h.Pid, interrupt: cancel, ended: s.ended, waiting: &s.stats.waiting}
}

// callerUntil is a caller that is no process and leaves when done is closed.
func callerUntil(done <-chan struct{}) caller {
	return caller{interrupt: done, ended: func() bool { return true }}
}

// wait returns when done is closed, or with errInterrupted when the caller is
// to end. The kernel reports the first signal only, and any signal: a Go
// program under load gets several a second for its scheduler, and must not see
// EINTR from a file for that. So an interrupt is merely a reason to look at the
// signals that wait for the caller. The bound of the wait is that of the load
// behind done.
func (c caller) wait(done <-chan struct{}) error {
	if c.waiting != nil {
		c.waiting.Add(1)
		defer c.waiting.Add(-1)
	}
	select {
	case <-done:
		return nil
	case <-c.interrupt:
	}
	poll := time.NewTicker(interruptPoll)
	defer poll.Stop()
	for deadline := time.Now().Add(interruptGrace); ; {
		if c.ended() || c.toEnd(deadline) {
			return errInterrupted
		}
		select {
		case <-done:
			return nil
		case <-poll.C:
		}
	}
}

// during calls f with a context that is done when the caller is to end.
func (c caller) during(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	defer close(done)
	go func() {
		if err := c.wait(done); err != nil {
			cancel(err)
		}
	}()
	return f(ctx)
}

func (c caller) toEnd(deadline time.Time) bool {
	if c.thread == 0 {
		return time.Now().After(deadline)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.thread))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return true
	}
	if err != nil {
		return time.Now().After(deadline)
	}
	return endPending(status)
}

// endPending reads a /proc/PID/status and tells whether a signal that asks the
// thread to end waits for it. Whatever signal ends a process by default, the
// kernel turns into a SIGKILL for each of its threads. A handler on the other
// hand can't run before the call on the mount returns.
func endPending(status []byte) bool {
	var thread, process, blocked uint64
	for line := range bytes.Lines(status) {
		field, value, _ := bytes.Cut(line, []byte(":"))
		mask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		if err != nil {
			continue
		}
		switch string(field) {
		case "SigPnd":
			thread = mask
		case "ShdPnd":
			process = mask
		case "SigBlk":
			blocked = mask
		}
	}
	return (thread|process)&^blocked&endSignals != 0
}

const endSignals = 1<<(syscall.SIGKILL-1) | 1<<(syscall.SIGTERM-1) | 1<<(syscall.SIGINT-1) |
	1<<(syscall.SIGHUP-1) | 1<<(syscall.SIGQUIT-1)

// patience makes a wait that gives up after d with errImpatient.
func (c caller) patience(d time.Duration) func(<-chan struct{}) error {
	return func(done <-chan struct{}) error {
		late := time.NewTimer(d)
		defer late.Stop()
		select {
		case <-done:
			return nil
		case <-c.interrupt:
			return errImpatient
		case <-late.C:
			return errImpatient
		}
	}
}

var errImpatient = errors.New("not waited for")
