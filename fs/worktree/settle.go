package worktree

import (
	"slices"

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
	var wanting []*job
	for i := range jobs {
		if c.ctx.Err() != nil {
			return
		}
		wants, err := c.settle(p, &jobs[i], sizes[i])
		if err != nil {
			c.fail(join(p.path, jobs[i].out.name), err)
			return
		}
		if wants {
			wanting = append(wanting, &jobs[i])
		}
	}
	c.fetch(p, wanting)
}

// settle makes one file or symlink what it shall be, unless it wants content
// for that.
func (c *checkout) settle(p *place, j *job, size int64) (wants bool, err error) {
	same, err := c.same(p, j, size)
	if err != nil {
		return false, err
	}
	if same && (j.entry.Type == tree.Symlink || j.there.stat.perm() == j.entry.Perm) {
		c.note(j, j.there.stat)
		return false, nil
	}
	j.action = Replace
	switch {
	case j.there == nil:
		j.action = Create
	case same && j.there.stat.links == 1:
		// With more links the others would get the permissions too.
		j.action = Chmod
	}
	if c.opt.DryRun {
		return false, c.wouldSettle(p, j)
	}
	if err := c.allow(p); err != nil {
		return false, err
	}
	if j.action != Chmod && j.entry.Type == tree.File {
		return true, nil
	}
	put := c.putLink
	if j.action == Chmod {
		put = c.chmod
	}
	st, err := put(p, j)
	if err == nil {
		c.done(p, j, st, 0)
	}
	return false, err
}

// fetch gets the content of jobs, together, and makes their files.
func (c *checkout) fetch(p *place, jobs []*job) {
	if len(jobs) == 0 {
		return
	}
	ds := make([]cas.Digest, len(jobs))
	for i, j := range jobs {
		ds[i] = j.entry.Digest
	}
	err := cas.GetMany(c.ctx, c.store, ds, filesPerTask, func(d cas.Digest, o cas.Object, err error) error {
		i := slices.IndexFunc(jobs, func(j *job) bool { return j.entry.Digest == d })
		j := jobs[i]
		jobs = slices.Delete(jobs, i, i+1)
		if err == nil {
			err = c.putFile(p, j, o)
		}
		if err != nil {
			c.fail(join(p.path, j.out.name), err)
		}
		return c.ctx.Err()
	})
	if err != nil {
		c.fail(p.path, err)
	}
}

// done notes and tells that j's entry was made.
func (c *checkout) done(p *place, j *job, st stat, size int64) {
	c.note(j, st)
	c.did(join(p.path, j.out.name), j.action, size)
}

// note keeps for the index what the entry has become.
func (c *checkout) note(j *job, st stat) {
	j.out.stat, j.out.digest, j.out.target = st, j.entry.Digest, []byte(j.entry.Target)
	j.out.changed = true
}

func (c *checkout) wouldSettle(p *place, j *job) error {
	known := j.there == nil || !j.there.changed || j.action == Chmod
	if j.there != nil && j.there.stat.isDir() {
		known = true // what it holds is listed by itself
		if err := c.clearWay(p, j.there); err != nil {
			return err
		}
	}
	c.would(join(p.path, j.out.name), j.action, known)
	return nil
}
