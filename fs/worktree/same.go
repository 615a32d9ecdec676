package worktree

import (
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

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
