package worktree

import (
	"bytes"
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// linux_dirent64: inode and offset of 8 bytes each, length of 2, type of 1,
// then the name and a NUL.
const (
	direntLength = 16
	direntType   = 18
	direntName   = 19
)

var direntBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// list calls visit for every entry of the open directory but "." and "..", in
// no order, with its type as a unix.DT value. The name is good until visit
// returns. A name may come twice if the directory changes meanwhile.
func list(fd int, visit func(name cname, kind uint8)) error {
	buf := direntBuffers.Get().(*[32 << 10]byte)
	defer direntBuffers.Put(buf)
	for {
		n, err := unix.Getdents(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		for rest := buf[:n]; len(rest) > 0; {
			length := binary.NativeEndian.Uint16(rest[direntLength:])
			name := cname(rest[direntName:length])
			name = name[:bytes.IndexByte(name, 0)+1]
			if !isDots(name) {
				visit(name, rest[direntType])
			}
			rest = rest[length:]
		}
	}
}

func isDots(n cname) bool {
	return n[0] == '.' && (len(n) == 2 || len(n) == 3 && n[1] == '.')
}

// openDir opens a directory inside another, which must not be a symlink.
func openDir(dir int, name string) (int, error) {
	return openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// openAt opens an entry of dir, which must not be a symlink. It does not wait
// for the other end of a pipe.
func openAt(dir int, name string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, perm)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// openRoot opens the directory that the user named, following symlinks.
func openRoot(dir string) (int, error) {
	for {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// readLink returns the target of a symlink that is size bytes long, as far as
// anybody knows.
func readLink(dir int, name string, size int64) (string, error) {
	for length := max(size, 0) + 1; ; length *= 2 {
		buf := make([]byte, min(max(length, 64), maxTarget+1))
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return "", err
		}
		if n < len(buf) || len(buf) > maxTarget {
			return string(buf[:n]), nil
		}
	}
}

// maxTarget is the longest target that Linux knows, in bytes, and a little
// more.
const maxTarget = 4096
