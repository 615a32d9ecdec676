package main

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/fstree/fstree/scripts/internal/bench"
)

// start starts a program that runs until End, and returns what it says on
// stderr.
func start(name string, args ...string) (*bench.Process, io.Reader, error) {
	c := exec.Command(name, args...)
	stderr, err := c.StderrPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := c.Start(); err != nil {
		return nil, nil, err
	}
	return bench.Watch(c), stderr, nil
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
	peak, err := bench.Watch(c).Wait()
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
