package worktree

import (
	"errors"
	"slices"

	"github.com/fstree/fstree/cas/tree"
)

// job is an entry that has to become what the tree says.
type job struct {
	entry tree.Entry
	there *item // what stands at its name, nil if nothing
	out   *item // where to note what it has become
	slot  int   // of out
	known block // of a subdirectory

	action Action // what is to be done to a file or symlink
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
