package main

import (
	"fmt"
	"os"
	"time"

	"github.com/fstree/fstree/internal/relay"
	"github.com/fstree/fstree/scripts/internal/bench"
)

// site is a place with a tree, both kinds of servers, and clients.
type site struct {
	*bench.Place
	delay time.Duration

	server  *bench.Process
	daemon  *bench.Process
	address string // of the server, behind the network
	modules string // URL of rsync's daemon, behind the network
	relays  []*relay.Relay
	relay   *relay.Relay // to our server; nil on loopback

	root       string // what write-tree printed last
	serverPeak int    // in kB
}

// moveMany moves many files, and then those that have changed.
func (s *site) moveMany(in input) error {
	return s.run(in, s.pushAll, s.pushNothing, s.pullAll, s.pullNothing, s.pushChange, s.pullChange)
}

// moveBig moves one file.
func (s *site) moveBig(in input) error {
	return s.run(in, s.pushAll, s.pushNothing, s.pullAll, s.pullNothing, s.plain)
}

func (s *site) run(in input, steps ...func(input) error) error {
	if err := s.startDaemon(); err != nil {
		return err
	}
	for _, step := range steps {
		if err := step(in); err != nil {
			return err
		}
	}
	s.stopServer()
	fmt.Printf("    peak memory: client %d MB, server %d MB\n", s.ClientPeak>>10, s.serverPeak>>10)
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
	bench.Note("", fmt.Sprintf("%8d round trips", made), made <= trips, trips)
	return nil
}

const (
	tripsForNothing = 3
	tripsForChange  = 6
)

func (s *site) push() error { return s.fstree("push", s.root, "--cache", s.Path("cache")) }

func (s *site) pull() error { return s.fstree("pull", s.root, "--cache", s.Path("other")) }

func (s *site) emptyOther() error { return s.Empty("other") }

func (s *site) rsyncUp() error { return s.rsync(s.Path("tree")+"/", s.modules+"target/") }

func (s *site) rsyncDown() error { return s.rsync(s.modules+"tree/", s.Path("out")) }

func (s *site) pushAll(in input) error {
	if err := s.write("write-tree"); err != nil {
		return err
	}
	return s.compare("push", in.goal, 0, s.startServer, s.push,
		func() error { return s.Empty("target") }, s.rsyncUp)
}

func (s *site) pushNothing(input) error {
	return s.compare("push again", 0, tripsForNothing, nil, s.push, nil, s.rsyncUp)
}

func (s *site) pullAll(in input) error {
	if err := os.RemoveAll(s.Path("cache")); err != nil { // room, for the big file
		return err
	}
	if err := s.Empty("target"); err != nil {
		return err
	}
	return s.compare("pull", in.goal, 0, s.emptyOther, s.pull,
		func() error { return s.Empty("out") }, s.rsyncDown)
}

func (s *site) pullNothing(input) error {
	return s.compare("pull again", 0, tripsForNothing, nil, s.pull, nil, s.rsyncDown)
}

// pushChange goes from directory to server, as rsync does.
func (s *site) pushChange(input) error {
	if err := s.write("write-tree-push"); err != nil {
		return err
	}
	if err := s.rsyncUp(); err != nil {
		return err
	}
	touch := func() error { return bench.Touch(s.Path("tree")) }
	return s.compare("push 1 % changed", 0, tripsForChange,
		touch, func() error { return s.write("write-tree-push") }, touch, s.rsyncUp)
}

// pullChange goes from server to directory, as rsync does.
func (s *site) pullChange(input) error {
	checkout := func() error {
		return s.fstree("pull-checkout", s.root, s.Path("checkout"), "--cache", s.Path("other"), "--index", s.Path("checkout.index"))
	}
	if err := checkout(); err != nil {
		return err
	}
	touch := func() error { return bench.Touch(s.Path("tree")) }
	return s.compare("pull 1 % changed", 0, tripsForChange,
		func() error {
			if err := touch(); err != nil {
				return err
			}
			return s.write("write-tree-push")
		}, checkout, touch, s.rsyncDown)
}

// write stores the tree and remembers its digest.
func (s *site) write(verb string) (err error) {
	s.root, err = s.Client(s.address, verb, s.Path("tree"), "--cache", s.Path("cache"), "--index", s.Path("index"))
	return err
}

func (s *site) fstree(args ...string) error {
	_, err := s.Client(s.address, args...)
	return err
}

func (s *site) rsync(from, to string) error { return bench.Run("", "rsync", "-a", from, to) }
