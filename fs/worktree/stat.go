package worktree

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas/tree"
)

// stat is what the system tells about an entry, as far as anybody here asks.
// Times are nanoseconds since 1970.
type stat struct {
	size, mtime, ctime int64
	ino                uint64
	mode               uint16
	links              uint32
	device             uint64
}

const statMask = unix.STATX_TYPE | unix.STATX_MODE | unix.STATX_NLINK | unix.STATX_SIZE |
	unix.STATX_MTIME | unix.STATX_CTIME | unix.STATX_INO

func (s stat) perm() uint32 { return uint32(s.mode) & tree.PermMask }
func (s stat) isDir() bool  { return s.mode&unix.S_IFMT == unix.S_IFDIR }

// kind is what a tree calls the entry, 0 for what no tree holds.
func (s stat) kind() tree.Type { return kindOf(s.mode) }

func kindOf(mode uint16) tree.Type {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return tree.File
	case unix.S_IFDIR:
		return tree.Dir
	case unix.S_IFLNK:
		return tree.Symlink
	}
	return 0
}

// unchanged tells whether what has these two stats is certainly the same.
func (s stat) unchanged(t stat) bool {
	return s.size == t.size && s.mtime == t.mtime && s.ctime == t.ctime && s.ino == t.ino && s.mode == t.mode
}

// cname is a name of one component that ends in a NUL, as the system gives and
// takes it: going through an ordinary string would copy it for each call.
type cname []byte

func (n cname) bytes() []byte { return n[:len(n)-1] }

var noName = cname{0}

// statAt describes an entry of the open directory dir, never following a
// symlink.
func statAt(dir int, name cname) (stat, error) {
	return statx(dir, name, unix.AT_SYMLINK_NOFOLLOW)
}

// statOf describes what is open as fd.
func statOf(fd int) (stat, error) { return statx(fd, noName, unix.AT_EMPTY_PATH) }

func statx(dir int, name cname, flags uintptr) (stat, error) {
	var x unix.Statx_t
	for {
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(dir), uintptr(unsafe.Pointer(&name[0])),
			flags|unix.AT_NO_AUTOMOUNT, statMask, uintptr(unsafe.Pointer(&x)), 0)
		switch errno {
		case 0:
			return stat{
				size: int64(x.Size), mtime: nanoseconds(x.Mtime), ctime: nanoseconds(x.Ctime),
				ino: x.Ino, mode: x.Mode, links: x.Nlink, device: unix.Mkdev(x.Dev_major, x.Dev_minor),
			}, nil
		case unix.EINTR:
		default:
			return stat{}, errno
		}
	}
}

func nanoseconds(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }

// tick is the time that the system would now write into an inode. It advances
// in steps of some milliseconds.
func tick() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// settled tells whether every change from the given tick on gives an entry
// another ctime than it has in s. If not, s can't prove later that nothing has
// changed: the entry is racily clean. Times in whole seconds come from a file
// system that rounds them, to two seconds at worst.
func (s stat) settled(tick int64) bool {
	if s.ctime%int64(time.Second) == 0 {
		return s.ctime+2*int64(time.Second) < tick
	}
	return s.ctime < tick
}
