package worktree

import (
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// place is a directory that is being made equal to a tree. Like a dirNode it
// waits for its own listing, its entries and its subdirectories, and whoever
// ends last finishes it: then it gets the permission bits it shall have.
type place struct {
	parent  *place
	slot    int    // its place among the parent's items
	path    string // relative to the root
	name    string
	want    cas.Digest
	perm    uint32
	there   *item // what stands at its name, nil if nothing
	fd      int   // -1 for a directory that a dry run would make
	fresh   bool  // made by this checkout, so there is nothing in it
	known   block
	items   []item // what the index shall know of it
	pending atomic.Int32
	section *section // set when it is finished

	mu       sync.Mutex
	now      stat
	loosened bool // it got permissions for the sake of the work in it
}

// visit makes p and compares what is in it with what shall be.
func (c *checkout) visit(p *place) {
	defer c.leave(p)
	if c.ctx.Err() != nil {
		return
	}
	if err := c.compare(p); err != nil {
		c.fail(p.path, err)
	}
}

func (c *checkout) compare(p *place) error {
	if err := c.enter(p); err != nil {
		return err
	}
	found, _, err := c.survey(p)
	if err != nil {
		return err
	}
	var jobs []job
	if c.asKnown(p, found) {
		if found, err = c.dropUnknown(p, found); err != nil {
			return err
		}
		p.items = found
		jobs = c.descendKnown(p)
	} else {
		t, err := tree.Read(c.ctx, c.store, p.want)
		if err != nil {
			return err
		}
		if jobs, err = c.merge(p, t, tidy(found)); err != nil {
			return err
		}
	}
	c.entries.Add(int64(len(p.items)))
	c.opt.observe(Event{Kind: Scanned, Path: p.path, Size: int64(len(p.items))})
	c.hand(p, jobs)
	return nil
}

// enter opens p, making it if need be.
func (c *checkout) enter(p *place) (err error) {
	if p.parent == nil {
		return nil
	}
	if p.there != nil && p.there.stat.isDir() {
		return c.open(p)
	}
	p.fresh, p.known = true, nil
	action, known := Create, true
	if p.there != nil {
		action, known = Replace, !p.there.changed
	}
	if c.opt.DryRun {
		c.would(p.path, action, known)
		return nil
	}
	if err := c.allow(p.parent); err != nil {
		return err
	}
	if p.there != nil {
		if err := unix.Unlinkat(p.parent.fd, p.name, 0); err != nil {
			return err
		}
	}
	if err := unix.Mkdirat(p.parent.fd, p.name, 0o700); err != nil {
		return err
	}
	if p.fd, err = openDir(p.parent.fd, p.name); err != nil {
		return err
	}
	p.loosened = true
	c.did(p.path, action, 0)
	p.now, err = statOf(p.fd)
	return err
}

func (c *checkout) open(p *place) (err error) {
	p.fd, err = openDir(p.parent.fd, p.name)
	if err == unix.EACCES && !c.opt.DryRun {
		if err = c.writable(); err != nil {
			return err
		}
		if err = chmodAt(p.parent.fd, p.name, 0o700); err != nil {
			return err
		}
		p.loosened = true
		p.fd, err = openDir(p.parent.fd, p.name)
	}
	if err != nil {
		return err
	}
	if p.now, err = statOf(p.fd); err != nil || p.now.mode&0o500 == 0o500 || c.opt.DryRun || os.Geteuid() == 0 {
		return err
	}
	return c.loosen(p) // or else its entries can't be looked at
}

// allow makes sure that entries of p can be made and removed.
func (c *checkout) allow(p *place) error {
	if err := c.writable(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parent == nil || p.now.mode&0o300 == 0o300 {
		return nil
	}
	return c.loosen(p)
}

func (c *checkout) loosen(p *place) error {
	if p.loosened {
		return nil
	}
	p.loosened = true
	return unix.Fchmod(p.fd, uint32(p.now.mode)&0o7777|0o700)
}
