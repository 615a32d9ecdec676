package worktree

import (
	"bytes"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// dirNode is a directory whose tree is not known yet. It waits for its own
// listing, for its files that have to be read, and for its subdirectories;
// whoever ends last finishes it.
type dirNode struct {
	parent  *dirNode
	slot    int    // its place among the parent's items
	path    string // relative to the root
	fd      int
	start   int64 // a tick before anything in it was described
	known   block
	items   []item
	pending atomic.Int32
	failed  atomic.Bool
	section *section // set when it is finished
}

// item is one entry of a directory.
type item struct {
	name    []byte
	stat    stat
	digest  cas.Digest // of a file
	target  []byte     // of a symlink
	section *section   // of a directory
	place   int        // of its record in the known block, -1 if none
	changed bool       // the record does not describe it
	gone    bool       // it vanished after it was listed
}

func join(dir string, name []byte) string {
	if dir == "" {
		return string(name)
	}
	return dir + "/" + string(name)
}

func (d *dirNode) fail(w *writer, path string, err error) {
	d.failed.Store(true)
	w.failures.add(path, err)
}

// visit lists d and hands out the work below it.
func (w *writer) visit(d *dirNode) {
	defer w.leave(d)
	if w.ctx.Err() != nil {
		d.failed.Store(true)
		return
	}
	if err := w.look(d); err != nil {
		w.excuse(d, err)
		return
	}
	w.entries.Add(int64(len(d.items)))
	w.opt.observe(Event{Kind: Scanned, Path: d.path, Size: int64(len(d.items))})
	tasks := w.tasks(d)
	d.pending.Add(int32(len(tasks)))
	w.crew.add(tasks...)
}

// look opens d inside its parent, unless it is the root, and describes its
// entries.
func (w *writer) look(d *dirNode) (err error) {
	d.start = tick()
	d.items = takeItems()
	if d.parent != nil {
		it := &d.parent.items[d.slot]
		if d.fd, err = openDir(d.parent.fd, string(it.name)); err != nil {
			return err
		}
		if it.stat, err = statOf(d.fd); err != nil {
			return err
		}
		if w.spares(d, it) && w.revisit(d) {
			return nil
		}
		if !w.timely(it) || !it.stat.settled(d.start) {
			it.stat.ctime = 0
		}
	}
	return list(d.fd, func(name cname, kind uint8) { w.meet(d, name, kind) })
}

// excuse tells a directory that has vanished, which is no failure, from one
// that can't be read.
func (w *writer) excuse(d *dirNode, err error) {
	if err == unix.ENOENT && d.parent != nil {
		d.failed.Store(true)
		d.parent.items[d.slot].gone = true
		w.entries.Add(-1)
		return
	}
	d.fail(w, d.path, err)
}

// meet takes one entry that the listing of d has shown.
func (w *writer) meet(d *dirNode, name cname, kind uint8) {
	if kind != unix.DT_REG && kind != unix.DT_DIR && kind != unix.DT_LNK && kind != unix.DT_UNKNOWN {
		return
	}
	if w.own.has(d.path, name.bytes()) {
		return
	}
	it := item{place: -1}
	if kind == unix.DT_DIR {
		it.stat.mode = unix.S_IFDIR // the rest is seen when it is open
	} else {
		st, err := statAt(d.fd, name)
		if err == unix.ENOENT {
			return
		}
		if err != nil {
			d.fail(w, join(d.path, name.bytes()), err)
			return
		}
		it.stat = st
	}
	if it.stat.kind() == 0 || w.ignore != nil && w.ignore.Match(join(d.path, name.bytes()), it.stat.isDir()) {
		return
	}
	if place, found := d.known.find(name.bytes()); found {
		w.recognise(d, &it, place)
	} else {
		it.name, it.changed = bytes.Clone(name.bytes()), true
	}
	d.items = append(d.items, it)
}

// recognise compares it with what the index knows at place.
func (w *writer) recognise(d *dirNode, it *item, place int) {
	r := d.known.at(place)
	it.name, it.place = r.name(), place
	switch {
	case it.stat.isDir():
		it.changed = r.kind() != tree.Dir
	case !r.stat().unchanged(it.stat):
		it.changed = true
	case r.kind() == tree.File:
		it.digest = r.digest()
		it.changed = !w.usable(it.digest)
	default:
		it.target = r.target()
	}
}

// filesPerTask is how many changed files one task reads.
const filesPerTask = 16

// tasks returns the work below d: its subdirectories, and upon them, so that
// they come first and d can be closed soon, its changed entries.
func (w *writer) tasks(d *dirNode) []func() {
	var tasks []func()
	var changed []*item
	for i := range d.items {
		it := &d.items[i]
		switch {
		case it.stat.isDir():
			child := &dirNode{parent: d, slot: i, path: join(d.path, it.name), fd: -1}
			if it.place >= 0 && !it.changed {
				child.known = w.index.child(d.known.at(it.place))
			}
			child.pending.Store(1)
			tasks = append(tasks, func() { w.visit(child) })
		case it.changed:
			changed = append(changed, it)
		}
	}
	for batch := range slices.Chunk(changed, filesPerTask) {
		tasks = append(tasks, func() { w.read(d, batch) })
	}
	return tasks
}
