package worktree

import (
	"io"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// settleAll makes files and symlinks of p what they shall be.
func (c *checkout) settleAll(p *place, jobs []job) {
	defer c.leave(p)
	sizes, err := c.sizes(jobs)
	if err != nil {
		c.fail(p.path, err)
		return
	}
	for i := range jobs {
		if c.ctx.Err() != nil {
			return
		}
		if err := c.settle(p, &jobs[i], sizes[i]); err != nil {
			c.fail(join(p.path, jobs[i].out.name), err)
			return
		}
	}
}

// sizes returns how long the files of jobs shall be, -1 where the store does
// not know or nobody asks.
func (c *checkout) sizes(jobs []job) ([]int64, error) {
	var ds []cas.Digest
	sizes := make([]int64, len(jobs))
	for i := range jobs {
		sizes[i] = -1
		if jobs[i].comparable() {
			ds = append(ds, jobs[i].entry.Digest)
		}
	}
	if len(ds) == 0 {
		return sizes, nil
	}
	known, err := cas.SizesOf(c.ctx, c.store, ds)
	if err != nil {
		return nil, err
	}
	for i := range jobs {
		if jobs[i].comparable() {
			sizes[i], known = known[0], known[1:]
		}
	}
	return sizes, nil
}

// comparable tells whether there is a file whose content may be right though
// the index can't say so.
func (j *job) comparable() bool {
	return j.entry.Type == tree.File && j.there != nil && j.there.changed && j.there.stat.kind() == tree.File
}

// settle makes one file or symlink what it shall be.
func (c *checkout) settle(p *place, j *job, size int64) error {
	same, err := c.same(p, j, size)
	if err != nil {
		return err
	}
	if same && (j.entry.Type == tree.Symlink || j.there.stat.perm() == j.entry.Perm) {
		c.note(j, j.there.stat)
		return nil
	}
	path := join(p.path, j.out.name)
	action := Replace
	switch {
	case j.there == nil:
		action = Create
	case same && j.there.stat.links == 1:
		// With more links the others would get the permissions too.
		action = Chmod
	}
	if c.opt.DryRun {
		return c.wouldSettle(p, j, path, action)
	}
	if err := c.allow(p); err != nil {
		return err
	}
	st, n, err := c.put(p, j, path, action)
	if err != nil {
		return err
	}
	c.note(j, st)
	c.did(path, action, n)
	return nil
}

// note keeps for the index what the entry has become.
func (c *checkout) note(j *job, st stat) {
	j.out.stat, j.out.digest, j.out.target = st, j.entry.Digest, []byte(j.entry.Target)
	j.out.changed = true
}

func (c *checkout) wouldSettle(p *place, j *job, path string, action Action) error {
	known := j.there == nil || !j.there.changed || action == Chmod
	if j.there != nil && j.there.stat.isDir() {
		known = true // what it holds is listed by itself
		if err := c.clearWay(p, j.there); err != nil {
			return err
		}
	}
	c.would(path, action, known)
	return nil
}

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

// same tells whether what is there has the content that it shall have.
func (c *checkout) same(p *place, j *job, size int64) (bool, error) {
	if j.there == nil || j.there.stat.kind() != j.entry.Type {
		return false, nil
	}
	if j.entry.Type == tree.Symlink {
		start := tick()
		target, err := readLink(p.fd, j.entry.Name, j.there.stat.size)
		if !j.there.stat.settled(start) {
			j.there.stat.ctime = 0
		}
		return err == nil && target == j.entry.Target, nil
	}
	if !j.there.changed {
		return j.there.digest == j.entry.Digest, nil
	}
	if size >= 0 && size != j.there.stat.size {
		return false, nil
	}
	return c.sameContent(p, j)
}

var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// sameContent reads the file. One that can't be read, or that changes
// meanwhile, is not the same.
func (c *checkout) sameContent(p *place, j *job) (bool, error) {
	fd, err := openAt(p.fd, j.entry.Name, unix.O_RDONLY, 0)
	if err != nil {
		return false, nil
	}
	defer unix.Close(fd)
	start := tick()
	before, err := statOf(fd)
	if err != nil || before.kind() != tree.File {
		return false, nil
	}
	hasher := cas.NewHasher(j.entry.Digest.Algorithm())
	defer hasher.Release()
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	r := &readFD{c.ctx, fd}
	if _, err := io.CopyBuffer(onlyWriter{hasher}, onlyReader{r}, buf[:]); err != nil {
		return false, c.ctx.Err()
	}
	after, err := statOf(fd)
	if err != nil || !before.unchanged(after) || hasher.Digest() != j.entry.Digest {
		return false, nil
	}
	j.there.stat = after
	if !after.settled(start) {
		j.there.stat.ctime = 0
	}
	return true, nil
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
