package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fstree/fstree/scripts/internal/bench"
)

// site is a place with a tree, both kinds of servers, and clients.
type site struct {
	base   string
	binary string
	delay  time.Duration

	server  *bench.Process
	daemon  *bench.Process
	remote  string // URL of the server, behind the network
	modules string // URL of rsync's daemon, behind the network
	relays  []*relay

	root                   string // what write-tree printed last
	clientPeak, serverPeak int    // in kB
}

func (s *site) path(name string) string { return filepath.Join(s.base, name) }

func (s *site) run(in input) error {
	if err := s.startDaemon(); err != nil {
		return err
	}
	for _, step := range []func(input) error{s.pushAll, s.pushNothing, s.pullAll, s.pullNothing, s.pushChange, s.pullChange} {
		if err := step(in); err != nil {
			return err
		}
	}
	s.stopServer()
	fmt.Printf("    peak memory: client %d MB, server %d MB\n", s.clientPeak>>10, s.serverPeak>>10)
	return nil
}

// compare measures our way and rsync's, and reports it.
func compare(what string, goal float64, prepare, ours, peerPrepare, peer func() error) error {
	costs, err := bench.Race(*rounds, bench.Contestant{Prepare: prepare, Work: ours}, bench.Contestant{Prepare: peerPrepare, Work: peer})
	if err != nil {
		return err
	}
	costs[1].CPU = 0 // that of its daemon is not known
	bench.Report(what, costs[0], "rsync -a", costs[1], goal)
	return nil
}

func nothing() error { return nil }

func (s *site) pushAll(in input) error {
	if err := s.write("write-tree"); err != nil {
		return err
	}
	return compare("push", in.goal,
		s.startServer, func() error { return s.fstree("push", s.root, "--cache", s.path("cache")) },
		func() error { return empty(s.path("target")) }, func() error { return s.rsync(s.path("tree")+"/", s.modules+"target/") })
}

func (s *site) pushNothing(input) error {
	return compare("push again", 0,
		nothing, func() error { return s.fstree("push", s.root, "--cache", s.path("cache")) },
		nothing, func() error { return s.rsync(s.path("tree")+"/", s.modules+"target/") })
}

func (s *site) pullAll(in input) error {
	if err := os.RemoveAll(s.path("cache")); err != nil { // room, for the big file
		return err
	}
	if err := empty(s.path("target")); err != nil {
		return err
	}
	return compare("pull", in.goal,
		func() error { return empty(s.path("other")) }, func() error { return s.fstree("pull", s.root, "--cache", s.path("other")) },
		func() error { return empty(s.path("out")) }, func() error { return s.rsync(s.modules+"tree/", s.path("out")) })
}

func (s *site) pullNothing(input) error {
	return compare("pull again", 0,
		nothing, func() error { return s.fstree("pull", s.root, "--cache", s.path("other")) },
		nothing, func() error { return s.rsync(s.modules+"tree/", s.path("out")) })
}

// pushChange goes from directory to server, as rsync does.
func (s *site) pushChange(in input) error {
	if !in.many {
		return nil
	}
	if err := s.write("write-tree-push"); err != nil {
		return err
	}
	if err := s.rsync(s.path("tree")+"/", s.modules+"target/"); err != nil {
		return err
	}
	touch := func() error { return bench.Touch(s.path("tree")) }
	return compare("push 1 % changed", 0,
		touch, func() error { return s.write("write-tree-push") },
		touch, func() error { return s.rsync(s.path("tree")+"/", s.modules+"target/") })
}

// pullChange goes from server to directory, as rsync does.
func (s *site) pullChange(in input) error {
	if !in.many {
		return nil
	}
	checkout := func() error {
		return s.fstree("pull-checkout", s.root, s.path("checkout"), "--cache", s.path("other"), "--index", s.path("checkout.index"))
	}
	if err := checkout(); err != nil {
		return err
	}
	touch := func() error { return bench.Touch(s.path("tree")) }
	return compare("pull 1 % changed", 0,
		func() error {
			if err := touch(); err != nil {
				return err
			}
			return s.write("write-tree-push")
		}, checkout,
		touch, func() error { return s.rsync(s.modules+"tree/", s.path("out")) })
}

// write stores the tree and remembers its digest.
func (s *site) write(verb string) error {
	out, err := s.client(verb, s.path("tree"), "--cache", s.path("cache"), "--index", s.path("index"))
	s.root = out
	return err
}

func (s *site) fstree(args ...string) error {
	_, err := s.client(args...)
	return err
}

// empty makes an empty directory.
func empty(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o755)
}
