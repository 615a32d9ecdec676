package worktree

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas/tree"
)

// put makes the entry, and returns how it is described from now on and how
// many bytes were written.
func (c *checkout) put(p *place, j *job, path string, action Action) (st stat, n int64, err error) {
	if action == Chmod {
		if err := chmodAt(p.fd, j.entry.Name, j.entry.Perm); err != nil {
			return st, 0, err
		}
		st, err = statAt(p.fd, append([]byte(j.entry.Name), 0))
		return st, 0, err
	}
	replace := func(temp string) error {
		if j.there != nil && j.there.stat.isDir() {
			if err := c.clearWay(p, j.there); err != nil {
				return err
			}
		}
		return unix.Renameat(p.fd, temp, p.fd, j.entry.Name)
	}
	if j.entry.Type == tree.Symlink {
		st, err = c.putLink(p, j, replace)
		return st, 0, err
	}
	return c.putFile(p, j, replace)
}

func (c *checkout) putLink(p *place, j *job, replace func(string) error) (stat, error) {
	temp := c.tempName()
	if err := unix.Symlinkat(j.entry.Target, p.fd, temp); err != nil {
		return stat{}, err
	}
	if err := replace(temp); err != nil {
		unix.Unlinkat(p.fd, temp, 0)
		return stat{}, err
	}
	return statAt(p.fd, append([]byte(j.entry.Name), 0))
}

func (c *checkout) putFile(p *place, j *job, replace func(string) error) (st stat, n int64, err error) {
	o, err := c.store.Get(c.ctx, j.entry.Digest)
	if err != nil {
		return st, 0, err
	}
	defer o.Close()
	temp := c.tempName()
	fd, err := openAt(p.fd, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return st, 0, err
	}
	defer unix.Close(fd)
	defer func() {
		if err != nil {
			unix.Unlinkat(p.fd, temp, 0)
		}
	}()
	if n, err = pour(c.ctx, fd, o); err != nil {
		return st, n, err
	}
	if err = unix.Fchmod(fd, j.entry.Perm); err != nil {
		return st, n, err
	}
	if err = replace(temp); err != nil {
		return st, n, err
	}
	st, err = statOf(fd)
	return st, n, err
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
