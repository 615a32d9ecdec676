package mount

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// reader starts a process that reads a file of m and reports any error,
// EINTR included.
func (m *mounted) reader(name string) *exec.Cmd {
	m.t.Helper()
	cmd := role(m.t, "read", "FILE="+m.path(name))
	cmd.Stderr = &syncBuffer{}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	return cmd
}

func waitFor(cmd *exec.Cmd, limit time.Duration) error {
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(limit):
		return fmt.Errorf("it still runs after %v", limit)
	}
}

// The reader has no handlers of its own. With one for SIGTERM it would die at
// once in a lookup, but in a read only after it: there the kernel itself waits
// for the page and listens to nothing but death.
func TestKilledReaderDiesAtOnce(t *testing.T) {
	source, _ := someFiles(t)
	for _, fault := range []string{"get hang files", "get hang trees"} {
		for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
			t.Run(fmt.Sprintf("%s, %v", fault, signal), func(t *testing.T) {
				m := mountChild(t, childOptions{Source: source, Timeout: 2 * waitLimit})
				m.fault(fault)
				cmd := exec.CommandContext(t.Context(), "cat", m.path("dir/file"))
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				eventually(t, func() error { return blocked(cmd.Process.Pid) })
				cmd.Process.Signal(signal)
				err := waitFor(cmd, waitLimit)
				if err == nil || !strings.HasPrefix(err.Error(), "signal: ") {
					t.Errorf("%v, want an end by the signal", err)
				}
			})
		}
	}
}

// blocked tells whether a process waits in a call on the mount.
func blocked(pid int) error {
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, thread := range threads {
		call, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/syscall", pid, thread.Name()))
		number, _, _ := strings.Cut(string(call), " ")
		if number == fmt.Sprint(syscall.SYS_OPENAT) || number == fmt.Sprint(syscall.SYS_READ) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not wait for a file", pid)
}

// A Go program under load gets SIGURG all the time.
func TestInterruptedReadersSeeNoInterrupt(t *testing.T) {
	source, _ := someFiles(t)
	for _, fault := range []string{"get slow 1s files", "get slow 1s trees"} {
		t.Run(fault, func(t *testing.T) {
			m := mountChild(t, childOptions{Source: source})
			m.fault(fault)
			var readers sync.WaitGroup
			for range 64 {
				readers.Go(func() {
					cmd := m.reader("dir/file")
					interrupt := time.NewTicker(time.Millisecond + rand.N(20*time.Millisecond))
					defer interrupt.Stop()
					done := make(chan struct{})
					go func() {
						for {
							select {
							case <-interrupt.C:
								cmd.Process.Signal(syscall.SIGURG)
							case <-done:
								return
							}
						}
					}()
					err := waitFor(cmd, waitLimit)
					close(done)
					if err != nil {
						t.Errorf("%v: %s", err, cmd.Stderr)
					}
				})
			}
			readers.Wait()
		})
	}
}

func TestEndSignalsAreTold(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tx\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n": false,
		"SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n":           true,  // KILL
		"SigPnd:\t0000000000000000\nShdPnd:\t0000000000004000\n":           true,  // TERM
		"ShdPnd:\t0000000000000002\nSigBlk:\t0000000000000000\n":           true,  // INT
		"ShdPnd:\t0000000000000002\nSigBlk:\t0000000000000002\n":           false, // INT, blocked
		"SigPnd:\t0000000000400000\nShdPnd:\t0000000000010000\n":           false, // URG, CHLD
		"SigCgt:\t0000000000000100\n":                                      false,
		"":                                                                 false,
	} {
		if got := endPending([]byte(status)); got != want {
			t.Errorf("%q: %v", status, got)
		}
	}
}
