package worktree

import (
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
