package worktree

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// chmod gives the entry its permission bits, and describes it.
func (c *checkout) chmod(p *place, j *job) (stat, error) {
	if err := chmodAt(p.fd, j.entry.Name, j.entry.Perm); err != nil {
		return stat{}, err
	}
	return statAt(p.fd, append([]byte(j.entry.Name), 0))
}

// putLink makes the symlink, and describes it.
func (c *checkout) putLink(p *place, j *job) (stat, error) {
	temp := c.tempName()
	if err := unix.Symlinkat(j.entry.Target, p.fd, temp); err != nil {
		return stat{}, err
	}
	if err := c.replace(p, j, temp); err != nil {
		unix.Unlinkat(p.fd, temp, 0)
		return stat{}, err
	}
	return statAt(p.fd, append([]byte(j.entry.Name), 0))
}

// putFile makes the file with the content o.
func (c *checkout) putFile(p *place, j *job, o cas.Object) (err error) {
	temp := c.tempName()
	fd, err := openAt(p.fd, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, j.entry.Perm)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	defer func() {
		if err != nil {
			unix.Unlinkat(p.fd, temp, 0)
		}
	}()
	n, err := pour(c.ctx, fd, o)
	if err != nil {
		return err
	}
	if j.entry.Perm&c.umask != 0 {
		if err = unix.Fchmod(fd, j.entry.Perm); err != nil {
			return err
		}
	}
	if err = c.replace(p, j, temp); err != nil {
		return err
	}
	st, err := statWith(fd, j.entry.Perm)
	if err == nil {
		c.done(p, j, st, n)
	}
	return err
}

// statWith describes what is open as fd, which gets the permission bits perm if
// something else than the umask, such as an access control list, withheld them.
func statWith(fd int, perm uint32) (stat, error) {
	st, err := statOf(fd)
	if err != nil || st.perm() == perm {
		return st, err
	}
	if err := unix.Fchmod(fd, perm); err != nil {
		return st, err
	}
	return statOf(fd)
}

// umask returns the permission bits that the system withholds from new files:
// all, if it does not say so.
func umask() uint32 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return tree.PermMask
	}
	_, rest, _ := strings.Cut(string(status), "\nUmask:\t")
	text, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(text, 8, 32)
	if err != nil {
		return tree.PermMask
	}
	return uint32(mask)
}

// replace puts temp in the place of the entry.
func (c *checkout) replace(p *place, j *job, temp string) error {
	if j.there != nil && j.there.stat.isDir() {
		if err := c.clearWay(p, j.there); err != nil {
			return err
		}
	}
	return unix.Renameat(p.fd, temp, p.fd, j.entry.Name)
}

// chmodAt sets the permission bits of an entry of dir, which must not be a
// symlink, and which the user need not be allowed to open.
func chmodAt(dir int, name string, perm uint32) error {
	fd, err := openAt(dir, name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	st, err := statOf(fd)
	if err != nil {
		return err
	}
	if st.kind() != tree.File && st.kind() != tree.Dir {
		return errNoLongerFile
	}
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), perm)
}
