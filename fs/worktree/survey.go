package worktree

import (
	"bytes"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas/tree"
)

// survey returns what is in p, compared with the index, and whether there is
// something of the workspace's own as well.
func (c *checkout) survey(p *place) (found []item, own bool, err error) {
	if p.fresh {
		return nil, false, nil
	}
	found = takeItems()
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
	known := 0
	for i := range found {
		if found[i].place < 0 {
			continue
		}
		if found[i].changed {
			return false
		}
		known++
	}
	return known == p.known.len() && !repeats(found, known)
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
