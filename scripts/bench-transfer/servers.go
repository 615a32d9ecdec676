package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/fstree/fstree/internal/relay"
	"github.com/fstree/fstree/scripts/internal/bench"
)

// startServer starts a server of an empty store, in place of the one before.
func (s *site) startServer() (err error) {
	s.stopServer()
	if err := s.Empty("store"); err != nil {
		return err
	}
	var address string
	if s.server, address, err = s.Serve("store"); err != nil {
		return err
	}
	s.address, s.relay, err = s.behindNetwork(address)
	return err
}

func (s *site) stopServer() {
	if s.server != nil {
		s.serverPeak = max(s.serverPeak, s.server.End())
		s.server = nil
	}
}

func (s *site) stop() {
	s.stopServer()
	if s.daemon != nil {
		s.daemon.End()
	}
	for _, r := range s.relays {
		r.Close()
	}
}

// behindNetwork returns the address at which clients reach a server, and the
// relay that is there, nil on loopback.
func (s *site) behindNetwork(address string) (string, *relay.Relay, error) {
	if s.delay == 0 {
		return address, nil, nil
	}
	r, err := relay.New(address, relay.Delay{Up: s.delay, Down: s.delay})
	if err != nil {
		return "", nil, err
	}
	s.relays = append(s.relays, r)
	return r.Address(), r, nil
}

// roundTrips returns how many there were to our server since the last time, and
// whether that is known.
func (s *site) roundTrips() (int, bool) {
	if s.relay == nil {
		return 0, false
	}
	return s.relay.Take().Rounds, true
}

// startDaemon starts rsync's daemon over the base directory.
func (s *site) startDaemon() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	config := fmt.Sprintf("use chroot = no\nuid = %d\ngid = %d\n[files]\npath = %s\nread only = no\n", os.Getuid(), os.Getgid(), s.Base)
	if err := os.WriteFile(s.Path("rsyncd.conf"), []byte(config), 0o644); err != nil {
		return err
	}
	if s.daemon, err = bench.Start("rsync", "--daemon", "--no-detach", "--config", s.Path("rsyncd.conf"), "--port", port, "--address", "127.0.0.1"); err != nil {
		return err
	}
	if err := await(address); err != nil {
		return err
	}
	behind, _, err := s.behindNetwork(address)
	s.modules = "rsync://" + behind + "/files/"
	return err
}

// await returns once somebody listens at address.
func await(address string) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}
