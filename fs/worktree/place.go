package worktree

import (
	"bytes"
	"errors"
	"os"
	"slices"
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

// survey returns what is in p, compared with the index, and whether there is
// something of the workspace's own as well.
func (c *checkout) survey(p *place) (found []item, own bool, err error) {
	if p.fresh {
		return nil, false, nil
	}
	var failed error
	err = list(p.fd, func(name cname, kind uint8) {
		if c.own.has(p.path, name.bytes()) {
			own = true
			return
		}
		if failed != nil {
			return
		}
		it := item{place: -1, changed: true}
		if kind == unix.DT_DIR {
			it.stat.mode = unix.S_IFDIR // the rest is seen when it is open
		} else {
			st, err := statAt(p.fd, name)
			if err == unix.ENOENT {
				return
			}
			if err != nil {
				failed = &EntryError{join(p.path, name.bytes()), err}
				return
			}
			it.stat = st
		}
		p.recognise(&it, name.bytes())
		found = append(found, it)
	})
	if err == nil {
		err = failed
	}
	return found, own, err
}

// recognise compares it with what the index knows.
func (p *place) recognise(it *item, name []byte) {
	place, found := p.known.find(name)
	if !found {
		it.name = bytes.Clone(name)
		return
	}
	r := p.known.at(place)
	it.name, it.place = r.name(), place
	switch {
	case it.stat.isDir():
		it.changed = r.kind() != tree.Dir
	case r.stat().unchanged(it.stat):
		it.changed = false
		if r.kind() == tree.File {
			it.digest = r.digest()
		} else {
			it.target = r.target()
		}
	}
}

// asKnown tells whether p shall hold what the index knows, and does hold it,
// subdirectories and unknown entries left out.
func (c *checkout) asKnown(p *place, found []item) bool {
	if p.known == nil || p.known.digest() != p.want {
		return false
	}
	known := make([]item, 0, p.known.len())
	for i := range found {
		if found[i].place >= 0 {
			if found[i].changed {
				return false
			}
			known = append(known, item{place: found[i].place})
		}
	}
	return len(known) == p.known.len() && !repeats(known)
}

// dropUnknown removes what the index does not know, and returns the rest.
func (c *checkout) dropUnknown(p *place, found []item) ([]item, error) {
	known := found[:0]
	for i := range found {
		if found[i].place >= 0 {
			known = append(known, found[i])
		} else if err := c.drop(p, &found[i]); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// job is an entry that has to become what the tree says.
type job struct {
	entry tree.Entry
	there *item // what stands at its name, nil if nothing
	out   *item // where to note what it has become
	slot  int   // of out
	known block // of a subdirectory
}

func (c *checkout) descendKnown(p *place) []job {
	var jobs []job
	for i := range p.items {
		it := &p.items[i]
		if !it.stat.isDir() {
			continue
		}
		r := p.known.at(it.place)
		known := c.index.child(r)
		e := tree.Entry{Name: string(it.name), Type: tree.Dir, Perm: r.stat().perm(), Digest: known.digest()}
		jobs = append(jobs, job{entry: e, there: it, out: it, slot: i, known: known})
	}
	return jobs
}

// merge goes through the tree and what was found, both in order of name, drops
// what the tree does not have, and returns what is not yet as it shall be.
func (c *checkout) merge(p *place, t *tree.Tree, found []item) ([]job, error) {
	var jobs []job
	p.items = make([]item, t.Len())
	for i := range t.Len() {
		e := t.At(i)
		var there *item
		for len(found) > 0 && there == nil && string(found[0].name) <= e.Name {
			if string(found[0].name) == e.Name {
				there = &found[0]
			} else if err := c.drop(p, &found[0]); err != nil {
				return nil, err
			}
			found = found[1:]
		}
		if c.own.has(p.path, []byte(e.Name)) {
			return nil, &EntryError{join(p.path, []byte(e.Name)), errors.New("the index stands where the tree has an entry")}
		}
		out := &p.items[i]
		if there != nil && there.is(e) {
			*out = *there
			continue
		}
		out.name, out.place = []byte(e.Name), -1
		j := job{entry: e, there: there, out: out, slot: i}
		if e.Type == tree.Dir && there != nil && !there.changed && there.stat.isDir() {
			out.place = there.place
			j.known = c.index.child(p.known.at(there.place))
		}
		jobs = append(jobs, j)
	}
	for i := range found {
		if err := c.drop(p, &found[i]); err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// is tells whether the index proves that it is e already. It never does for a
// directory.
func (it *item) is(e tree.Entry) bool {
	if it.changed || it.stat.kind() != e.Type {
		return false
	}
	switch e.Type {
	case tree.File:
		return it.digest == e.Digest && it.stat.perm() == e.Perm
	case tree.Symlink:
		return string(it.target) == e.Target
	}
	return false
}

// hand gives the jobs in p to the crew, subdirectories last: the crew begins
// with what was given last, so files come first, and p can be closed soon.
func (c *checkout) hand(p *place, jobs []job) {
	var tasks []func()
	var leaves []job
	for _, j := range jobs {
		if j.entry.Type != tree.Dir {
			leaves = append(leaves, j)
			continue
		}
		child := &place{
			parent: p, slot: j.slot, path: join(p.path, j.out.name), name: j.entry.Name, want: j.entry.Digest,
			perm: j.entry.Perm, there: j.there, fd: -1, known: j.known,
		}
		child.pending.Store(1)
		tasks = append(tasks, func() { c.visit(child) })
	}
	for batch := range slices.Chunk(leaves, filesPerTask) {
		tasks = append(tasks, func() { c.settleAll(p, batch) })
	}
	p.pending.Add(int32(len(tasks)))
	c.crew.add(tasks...)
}

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
	}
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
