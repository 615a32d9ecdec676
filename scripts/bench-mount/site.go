package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/fstree/fstree/internal/relay"
	"github.com/fstree/fstree/scripts/internal/bench"
)

// site is a place with a tree, a server that has it, and clients.
type site struct {
	*bench.Place
	server  *bench.Process
	address string // of the server
	root    string // digest of the tree
}

// serve stores the tree and starts a server over the store.
func (s *site) serve() (err error) {
	if s.root, err = s.Client("", "write-tree", s.Path("tree"), "--cache", s.Path("store"), "--index", s.Path("index")); err != nil {
		return err
	}
	s.server, s.address, err = s.Serve("store")
	return err
}

func (s *site) stop() {
	if s.server != nil {
		s.server.End()
	}
}

// pull fetches the tree into an empty cache.
func (s *site) pull(address, root string) (time.Duration, error) {
	if err := os.RemoveAll(s.Path("pulled")); err != nil {
		return 0, err
	}
	return bench.Timed(func() error {
		_, err := s.Client(address, "pull", root, "--cache", s.Path("pulled"))
		return err
	})
}

// mountTime bounds a measurement on a mount. Then the mount is broken, and
// whoever hangs in it gets an error.
const mountTime = 5 * time.Minute

// mounted calls use with the tree mounted from a cache, and ends the mount.
func (s *site) mounted(address, cache string, use func(dir string) error, options ...string) error {
	dir := s.Path("mnt")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := append([]string{"mount", s.root, dir, "--cache", cache, "--timeout", "10s"}, options...)
	if _, err := s.Client(address, args...); err != nil {
		return err
	}
	limit := time.AfterFunc(mountTime, func() { s.Client("", "umount", "--lazy", dir) })
	defer limit.Stop()
	err := use(dir)
	_, unmountErr := s.Client("", "umount", dir)
	return errors.Join(err, unmountErr)
}

// cold does so with an empty cache, at the end of a network.
func (s *site) cold(delay time.Duration, use func(dir string, r *relay.Relay) error, options ...string) error {
	if err := os.RemoveAll(s.Path("cache")); err != nil {
		return err
	}
	r, err := relay.New(s.address, relay.Delay{Up: delay, Down: delay})
	if err != nil {
		return err
	}
	defer r.Close()
	return s.mounted(r.Address(), s.Path("cache"), func(dir string) error { return use(dir, r) }, options...)
}

// local does so with a cache that has everything.
func (s *site) local(use func(dir string) error, options ...string) error {
	return s.mounted("", s.Path("store"), use, options...)
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
