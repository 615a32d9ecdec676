package control

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A socket that is not listened on yet has a name that begins so. Under its
// final name there is none that refuses but for one whose process is gone.
const unborn = ".new-"

// birthTime is how long a socket may take to be listened on.
const birthTime = time.Minute

// The address of a Unix socket has room for a path of 107 bytes. Longer ones
// are reached through an open directory.
const maxSocketPath = 100

// withPath calls fn with a path of the socket dir/name that fits into an
// address.
func withPath(dir, name string, fn func(path string) error) error {
	if path := filepath.Join(dir, name); len(path) <= maxSocketPath {
		return fn(path)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return fn(fmt.Sprintf("/proc/self/fd/%d/%s", fd, name))
}

// listen makes the socket dir/name, in place of one that a dead process may
// have left.
func listen(dir, name string) (*net.UnixListener, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	temporary := fmt.Sprintf("%s%d-%s", unborn, os.Getpid(), name)
	os.Remove(filepath.Join(dir, temporary))
	var l *net.UnixListener
	err := withPath(dir, temporary, func(path string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := os.Rename(filepath.Join(dir, temporary), filepath.Join(dir, name)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// names returns the sockets in dir, and takes away those that never came to
// life.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	var found []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), unborn) {
			found = append(found, e.Name())
		} else if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > birthTime {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return found, err
}

// removeSame removes the file at path if it is still the one that info is of.
func removeSame(path string, info os.FileInfo) {
	if now, err := os.Lstat(path); err == nil && info != nil && os.SameFile(now, info) {
		os.Remove(path)
	}
}
