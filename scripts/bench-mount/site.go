package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/fstree/fstree/scripts/internal/bench"
)

// site is a place with a tree, a server that has it, and clients.
type site struct {
	base, binary string
	server       *exec.Cmd
	address      string // of the server
	root         string // digest of the tree
}

func (s *site) path(name string) string { return filepath.Join(s.base, name) }

var grpcAddress = regexp.MustCompile(`grpc://([0-9.:]+)`)

// serve stores the tree and starts a server over the store.
func (s *site) serve() (err error) {
	if s.root, err = s.client("", "write-tree", s.path("tree"), "--cache", s.path("store"), "--index", s.path("index")); err != nil {
		return err
	}
	s.server = exec.Command(s.binary, "serve", "--path", s.path("store"), "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0")
	stderr, err := s.server.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.server.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if found := grpcAddress.FindStringSubmatch(lines.Text()); found != nil {
			s.address = found[1]
			go io.Copy(io.Discard, stderr)
			return nil
		}
	}
	return errors.New("the server did not say where it listens")
}

func (s *site) stop() {
	if s.server != nil && s.server.Process != nil {
		s.server.Process.Signal(syscall.SIGTERM)
		s.server.Wait()
	}
}

// client runs fstree and returns what it prints.
func (s *site) client(address string, args ...string) (string, error) {
	if address == "" {
		address = "127.0.0.1:1"
	}
	c := exec.Command(s.binary, append(args, "--remote", "jolt://"+address, "--cache-size", "0")...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("fstree %s: %w: %s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// pull fetches the tree into an empty cache.
func (s *site) pull(address, root string) (time.Duration, error) {
	if err := os.RemoveAll(s.path("pulled")); err != nil {
		return 0, err
	}
	start := time.Now()
	_, err := s.client(address, "pull", root, "--cache", s.path("pulled"))
	return time.Since(start), err
}

// mountTime bounds a measurement on a mount. Then the mount is broken, and
// whoever hangs in it gets an error.
const mountTime = 5 * time.Minute

// mounted calls use with the tree mounted from a cache, and ends the mount.
func (s *site) mounted(address, cache string, use func(dir string) error, options ...string) error {
	dir := s.path("mnt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := append([]string{"mount", s.root, dir, "--cache", cache, "--timeout", "10s"}, options...)
	if _, err := s.client(address, args...); err != nil {
		return err
	}
	limit := time.AfterFunc(mountTime, func() { s.client("", "umount", "--lazy", dir) })
	defer limit.Stop()
	err := use(dir)
	_, unmountErr := s.client("", "umount", dir)
	return errors.Join(err, unmountErr)
}

// cold does so with an empty cache, at the end of a network.
func (s *site) cold(delay time.Duration, use func(dir string, l *bench.Link) error, options ...string) error {
	if err := os.RemoveAll(s.path("cache")); err != nil {
		return err
	}
	l, err := bench.NewLink(s.address, delay)
	if err != nil {
		return err
	}
	defer l.Close()
	return s.mounted(l.Address(), s.path("cache"), func(dir string) error { return use(dir, l) }, options...)
}

// local does so with a cache that has everything.
func (s *site) local(use func(dir string) error, options ...string) error {
	return s.mounted("", s.path("store"), use, options...)
}

// run runs a program that prints much, and expects it to succeed.
func run(name string, args ...string) error {
	c := exec.Command(name, args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", c, err, &stderr)
	}
	return nil
}

func grep(dir string) error {
	// What is not there is looked for to the end. That is exit code 1.
	err := run("grep", "-r", "fstree-bench-no-such-word", dir)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil
	}
	return err
}
