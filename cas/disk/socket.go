package disk

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The address of a Unix socket has room for a path of 107 bytes. Longer ones
// are reached through an open directory.
const maxSocketPath = 100

// withSocketPath calls fn with a path of the socket that fits into an address.
func (s *Store) withSocketPath(fn func(path string) error) error {
	path := s.path(runDir, "socket")
	if len(path) <= maxSocketPath {
		return fn(path)
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fn(fmt.Sprintf("/proc/self/fd/%d/socket", fd))
}

// listenSocket replaces the socket that an owner before may have left.
func (s *Store) listenSocket() (l *net.UnixListener, err error) {
	os.Remove(s.path(runDir, "socket"))
	err = s.withSocketPath(func(path string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err == nil {
		l.SetUnlinkOnClose(false)
	}
	return l, err
}

func (s *Store) dialSocket() (conn *net.UnixConn, err error) {
	err = s.withSocketPath(func(path string) (err error) {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	return conn, err
}
