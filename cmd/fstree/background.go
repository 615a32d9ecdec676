package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// readyVariable tells a background process that it is one: the number of the
// file descriptor on which it reports.
const readyVariable = "FSTREE_READY_FD"

const (
	readyFD = 3
	readyOK = "ok\n"
)

// inBackground runs this same command again, as a process of its own session,
// and returns when that process is ready or has failed.
func (a *app) inBackground(ctx context.Context, logFile string) error {
	log, err := openLog(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	report, childEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer report.Close()
	child := exec.Command("/proc/self/exe", a.args...)
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%d", readyVariable, readyFD))
	child.Stdout, child.Stderr = log, log
	child.ExtraFiles = []*os.File{childEnd}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = child.Start()
	childEnd.Close()
	if err != nil {
		return err
	}
	return a.awaitReady(ctx, child, report, logFile)
}

// awaitReady waits for the child's report. The child bounds its own waits.
func (a *app) awaitReady(ctx context.Context, child *exec.Cmd, report *os.File, logFile string) error {
	stop := context.AfterFunc(ctx, func() { child.Process.Signal(syscall.SIGTERM) })
	defer stop()
	text, err := io.ReadAll(report)
	if err != nil {
		return err
	}
	if string(text) == readyOK && ctx.Err() == nil {
		return child.Process.Release()
	}
	child.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(text) == 0 {
		return hint(errors.New("the background process died"), "see %s", logFile)
	}
	return &hinted{err: errors.New(string(text))}
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// logFile is where the background process of a mount logs.
func (c *mountCommand) logFile(a *app) string {
	if c.Log != "" {
		return c.Log
	}
	name := strings.ReplaceAll(strings.Trim(c.Dir, "/"), "/", "-")
	return filepath.Join(a.Cache, "log", name[max(0, len(name)-200):]+".log")
}

// readyPipe is the background process's end of the report.
type readyPipe struct{ w *os.File }

// inheritedReadyPipe returns nil in a process that is not in the background.
func inheritedReadyPipe() *readyPipe {
	if os.Getenv(readyVariable) == "" {
		return nil
	}
	os.Unsetenv(readyVariable)
	return &readyPipe{os.NewFile(readyFD, "ready")}
}

// ok reports that the process does what it was started for.
func (r *readyPipe) ok() { r.report(readyOK) }

// failed reports why it does not; after ok it does nothing.
func (r *readyPipe) failed(message string) { r.report(message) }

func (r *readyPipe) report(text string) {
	if r.w == nil {
		return
	}
	io.WriteString(r.w, text)
	r.w.Close()
	r.w = nil
}
