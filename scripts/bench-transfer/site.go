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
	links   []*bench.Link
	link    *bench.Link // to our server; nil on loopback

	root                   string // what write-tree printed last
	clientPeak, serverPeak int    // in kB
}

func (s *site) path(name string) string { return filepath.Join(s.base, name) }

func (s *site) run(in input) error {
	if err := s.startDaemon(); err != nil {
		return err
	}
	for _, step := range []func(input) error{s.pushAll, s.pushNothing, s.pullAll, s.pullNothing, s.pushChange, s.pullChange, s.plain} {
		if err := step(in); err != nil {
			return err
		}
	}
	s.stopServer()
	fmt.Printf("    peak memory: client %d MB, server %d MB\n", s.clientPeak>>10, s.serverPeak>>10)
	return nil
}

// race lets us and a peer do the same in turn, and reports it.
func (s *site) race(what string, goal float64, name string, ours, peer bench.Contestant) error {
	costs, err := bench.Race(*rounds, ours, peer)
	if err != nil {
		return err
	}
	if ours.Server == nil || peer.Server == nil {
		costs[1].CPU = 0 // of one end alone
	}
	bench.Report(what, costs[0], name, costs[1], goal)
	return nil
}

// compare is race against rsync, CPU time of the servers included. Trips is how
// many round trips we may make, 0 if they are not limited.
func (s *site) compare(what string, goal float64, trips int, prepare, ours, peerPrepare, peer func() error) error {
	made, known := 0, false
	counted := func() error {
		s.roundTrips()
		err := ours()
		made, known = s.roundTrips()
		return err
	}
	err := s.race(what, goal, "rsync -a",
		bench.Contestant{Prepare: prepare, Work: counted, Server: func() *bench.Process { return s.server }},
		bench.Contestant{Prepare: peerPrepare, Work: peer, Server: func() *bench.Process { return s.daemon }})
	if err != nil || !known || trips == 0 {
		return err
	}
	verdict := "met"
	if made > trips {
		verdict = "MISSED"
	}
	fmt.Printf("    %-24s %8d round trips   goal %d %s\n", "", made, trips, verdict)
	return nil
}

const (
	tripsForNothing = 3
	tripsForChange  = 6
)

func (s *site) push() error { return s.fstree("push", s.root, "--cache", s.path("cache")) }

func (s *site) pull() error { return s.fstree("pull", s.root, "--cache", s.path("other")) }

func (s *site) emptyOther() error { return empty(s.path("other")) }

func (s *site) rsyncUp() error { return s.rsync(s.path("tree")+"/", s.modules+"target/") }

func (s *site) rsyncDown() error { return s.rsync(s.modules+"tree/", s.path("out")) }

func (s *site) pushAll(in input) error {
	if err := s.write("write-tree"); err != nil {
		return err
	}
	return s.compare("push", in.goal, 0, s.startServer, s.push,
		func() error { return empty(s.path("target")) }, s.rsyncUp)
}

func (s *site) pushNothing(input) error {
	return s.compare("push again", 0, tripsForNothing, nil, s.push, nil, s.rsyncUp)
}

func (s *site) pullAll(in input) error {
	if err := os.RemoveAll(s.path("cache")); err != nil { // room, for the big file
		return err
	}
	if err := empty(s.path("target")); err != nil {
		return err
	}
	return s.compare("pull", in.goal, 0, s.emptyOther, s.pull,
		func() error { return empty(s.path("out")) }, s.rsyncDown)
}

func (s *site) pullNothing(input) error {
	return s.compare("pull again", 0, tripsForNothing, nil, s.pull, nil, s.rsyncDown)
}

// pushChange goes from directory to server, as rsync does.
func (s *site) pushChange(in input) error {
	if !in.many {
		return nil
	}
	if err := s.write("write-tree-push"); err != nil {
		return err
	}
	if err := s.rsyncUp(); err != nil {
		return err
	}
	touch := func() error { return bench.Touch(s.path("tree")) }
	return s.compare("push 1 % changed", 0, tripsForChange,
		touch, func() error { return s.write("write-tree-push") }, touch, s.rsyncUp)
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
	return s.compare("pull 1 % changed", 0, tripsForChange,
		func() error {
			if err := touch(); err != nil {
				return err
			}
			return s.write("write-tree-push")
		}, checkout, touch, s.rsyncDown)
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
