package worktree

import (
	"golang.org/x/sys/unix"
)

func (c *checkout) leave(p *place) {
	for ; p != nil && p.pending.Add(-1) == 0; p = p.parent {
		if c.ctx.Err() == nil {
			if err := c.finish(p); err != nil {
				c.fail(p.path, err)
			}
		}
		if p.parent != nil && p.fd >= 0 {
			unix.Close(p.fd)
		}
	}
}

// finish sets p's permission bits, now that nothing is left to do in it.
func (c *checkout) finish(p *place) error {
	if p.parent != nil {
		if err := c.setMode(p); err != nil {
			return err
		}
	}
	if c.opt.DryRun {
		return nil
	}
	if p.known != nil && p.known.digest() == p.want && p.known.describes(p.items) {
		p.section = &section{block: p.known, old: true}
	} else {
		p.items = tidy(p.items)
		s, err := newSection(p.want, p.items)
		if err != nil {
			return err
		}
		p.section = s
	}
	if p.parent != nil {
		it := &p.parent.items[p.slot]
		it.section, it.stat = p.section, p.now
		it.stat.ctime = 0 // nobody knows what came into it meanwhile
	}
	giveItems(p.items)
	p.items = nil
	return nil
}

func (c *checkout) setMode(p *place) error {
	differs := p.now.perm() != p.perm
	if c.opt.DryRun {
		if differs && !p.fresh {
			c.would(p.path, Chmod, true)
		}
		return nil
	}
	if !differs && !p.loosened {
		return nil
	}
	if err := c.writable(); err != nil {
		return err
	}
	// Set-gid and sticky are not the tree's business.
	if err := unix.Fchmod(p.fd, p.perm|uint32(p.now.mode)&0o7000); err != nil {
		return err
	}
	if differs && !p.fresh {
		c.did(p.path, Chmod, 0)
	}
	now, err := statOf(p.fd)
	p.now = now
	return err
}
