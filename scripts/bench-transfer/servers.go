package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"time"

	"github.com/fstree/fstree/scripts/internal/bench"
)

var grpcAddress = regexp.MustCompile(`grpc://([0-9.:]+)`)

// startServer starts a server of an empty store, in place of the one before.
func (s *site) startServer() error {
	s.stopServer()
	if err := empty(s.path("store")); err != nil {
		return err
	}
	server, stderr, err := start(s.binary, "serve", "--path", s.path("store"), "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.server = server
	address, err := readAddress(stderr)
	if err != nil {
		return err
	}
	if address, err = s.behindNetwork(address); err != nil {
		return err
	}
	s.remote = "jolt://" + address
	if s.delay > 0 {
		s.link = s.links[len(s.links)-1]
	}
	return nil
}

// readAddress returns where a server says that it listens.
func readAddress(stderr io.Reader) (string, error) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if found := grpcAddress.FindStringSubmatch(lines.Text()); found != nil {
			return found[1], nil
		}
	}
	return "", errors.New("the server did not say where it listens")
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
	for _, l := range s.links {
		l.Close()
	}
}

// behindNetwork returns the address at which clients reach a server.
func (s *site) behindNetwork(address string) (string, error) {
	if s.delay == 0 {
		return address, nil
	}
	l, err := bench.NewLink(address, s.delay)
	if err != nil {
		return "", err
	}
	s.links = append(s.links, l)
	return l.Address(), nil
}

// roundTrips returns how many there were to our server since the last time, and
// whether that is known.
func (s *site) roundTrips() (int, bool) {
	if s.link == nil {
		return 0, false
	}
	return s.link.Take().Rounds, true
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
	config := fmt.Sprintf("use chroot = no\nuid = %d\ngid = %d\n[files]\npath = %s\nread only = no\n", os.Getuid(), os.Getgid(), s.base)
	if err := os.WriteFile(s.path("rsyncd.conf"), []byte(config), 0o644); err != nil {
		return err
	}
	if s.daemon, _, err = start("rsync", "--daemon", "--no-detach", "--config", s.path("rsyncd.conf"), "--port", port, "--address", "127.0.0.1"); err != nil {
		return err
	}
	if err := await(address); err != nil {
		return err
	}
	behind, err := s.behindNetwork(address)
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
