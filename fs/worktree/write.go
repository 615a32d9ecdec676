package worktree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/fs/ignore"
)

// Result is what Write found.
type Result struct {
	Root    cas.Digest
	Entries int // in the tree: files, directories and symlinks, the root left out

	// What was handed to the store, files and trees. Some of it the store may
	// have had before.
	Added      int
	AddedBytes int64
}

// Write stores the directory dir in store and returns the digest of its tree.
//
// A file is read once, and its digest is of the bytes that were stored. A tree
// is stored after all that it names. What the index knows to be unchanged is
// not read, and stored again only if the store has lost it.
//
// A file that changes while it is read is read again, a few times. Entries
// that can't be read fail all together with an *EntryErrors; the index then
// stays as it was. A vanished entry is none. An index that can't be read or
// written costs time, not correctness, and is a warning.
func Write(ctx context.Context, dir string, store Store, opt Options) (Result, error) {
	opt = opt.withDefaults()
	fd, err := openRoot(dir)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", dir, err)
	}
	defer unix.Close(fd)
	rules, err := loadIgnore(fd, opt)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", dir, err)
	}
	x := loadIndex(dir, opt)
	opt.observe(Event{Kind: IndexRefreshed, Path: dir})
	q := inquire(ctx, store, x)
	defer q.end()
	w := &writer{store: store, opt: opt, ignore: rules, index: x, own: ownOf(dir, opt), inquiry: q}
	root, err := w.walk(ctx, fd)
	if errors.Is(err, errLost) {
		w.lost = q.lost
		root, err = w.walk(ctx, fd)
	}
	if err != nil {
		return Result{}, err
	}
	if !root.section.old || x.epoch != q.epoch {
		saveIndex(dir, opt, x, root.section, q.epoch)
	}
	return Result{
		Root: root.section.block.digest(), Entries: int(w.entries.Load()),
		Added: int(w.added.Load()), AddedBytes: w.addedBytes.Load(),
	}, nil
}

// writer is one run of Write.
type writer struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	store   Store
	opt     Options
	ignore  *ignore.Matcher
	index   *index
	own     own
	inquiry *inquiry
	lost    map[cas.Digest]struct{} // known objects that the store no longer holds
	crew    crew

	failures   failures
	entries    atomic.Int64
	added      atomic.Int64
	addedBytes atomic.Int64
}

// walk goes through the directory that is open as fd. It does not wait for the
// inquiry as long as nothing has to be stored that could name what the store
// has lost; if something is lost it fails with errLost.
func (w *writer) walk(ctx context.Context, fd int) (*dirNode, error) {
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	defer w.cancel(nil)
	w.entries.Store(0)
	if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
		return nil, err
	}
	root := &dirNode{fd: fd, known: w.index.top()}
	root.pending.Store(1)
	w.crew.run(w.opt.Threads, func() { w.visit(root) })
	if w.ctx.Err() != nil {
		return nil, context.Cause(w.ctx)
	}
	if err := w.failures.err(); err != nil {
		return nil, err
	}
	return root, w.heed()
}

// heed waits for what the inquiry finds.
func (w *writer) heed() error {
	if w.lost != nil {
		return nil
	}
	return w.inquiry.wait(w.ctx)
}

// dirNode is a directory whose tree is not known yet. It waits for its own
// listing, for its files that have to be read, and for its subdirectories;
// whoever ends last finishes it.
type dirNode struct {
	parent  *dirNode
	slot    int    // its place among the parent's items
	path    string // relative to the root
	fd      int
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
	if w.ctx.Err() != nil || !w.open(d) {
		d.failed.Store(true)
		return
	}
	d.items = takeItems()
	if err := list(d.fd, func(name cname, kind uint8) { w.meet(d, name, kind) }); err != nil {
		d.fail(w, d.path, err)
		return
	}
	w.entries.Add(int64(len(d.items)))
	w.opt.observe(Event{Kind: Scanned, Path: d.path, Size: int64(len(d.items))})
	tasks := w.tasks(d)
	d.pending.Add(int32(len(tasks)))
	w.crew.add(tasks...)
}

// open opens d inside its parent. The root is open already.
func (w *writer) open(d *dirNode) bool {
	if d.parent == nil {
		return true
	}
	it := &d.parent.items[d.slot]
	fd, err := openDir(d.parent.fd, string(it.name))
	if err == unix.ENOENT {
		it.gone = true
		w.entries.Add(-1)
		return false
	}
	d.fd = fd
	if err == nil {
		it.stat, err = statOf(fd)
	}
	if err != nil {
		d.fail(w, d.path, err)
		return false
	}
	return true
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
	w.recognise(d, &it, name.bytes())
	d.items = append(d.items, it)
}

// recognise compares it with what the index knows.
func (w *writer) recognise(d *dirNode, it *item, name []byte) {
	place, found := d.known.find(name)
	if !found {
		it.name, it.changed = bytes.Clone(name), true
		return
	}
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

// usable tells whether a tree that we write can name d without more ado.
func (w *writer) usable(d cas.Digest) bool {
	if d.Algorithm() != cas.BLAKE3 {
		return false
	}
	if len(w.lost) == 0 {
		return true
	}
	_, lost := w.lost[d]
	return !lost
}

// filesPerTask is how many changed files one task reads. It has the small ones
// in hand all at once: a store keeps many objects together for much less than
// one by one.
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

// smallFile is the size in bytes up to which a file is cheap to have in hand.
const smallFile = 128 << 10

// read looks at the content of changed entries of d.
func (w *writer) read(d *dirNode, items []*item) {
	defer w.leave(d)
	var readers sync.WaitGroup
	for _, it := range items {
		if it.stat.size > smallFile {
			w.readOne(d, it)
			continue
		}
		readers.Go(func() { w.readOne(d, it) })
	}
	readers.Wait()
}

func (w *writer) readOne(d *dirNode, it *item) {
	if w.ctx.Err() != nil {
		d.failed.Store(true)
		return
	}
	err := w.readContent(d, it)
	if err == unix.ENOENT {
		it.gone = true
		w.entries.Add(-1)
	} else if err != nil {
		d.fail(w, join(d.path, it.name), err)
	}
}

func (w *writer) readContent(d *dirNode, it *item) error {
	if it.stat.kind() == tree.File {
		return w.addFile(d, it)
	}
	tick := tick()
	target, err := readLink(d.fd, string(it.name), it.stat.size)
	if err != nil {
		return err
	}
	it.target = []byte(target)
	if !it.stat.settled(tick) {
		it.stat.ctime = 0
	}
	return nil
}

// leave ends one of the things that d waits for. Whoever ends the last one
// finishes d, and so ends one of the things that the parent waits for.
func (w *writer) leave(d *dirNode) {
	for ; d != nil && d.pending.Add(-1) == 0; d = d.parent {
		w.finish(d)
	}
}

// finish names d's tree, now that all is known that is below.
func (w *writer) finish(d *dirNode) {
	if d.parent != nil && d.fd >= 0 {
		unix.Close(d.fd)
	}
	defer func() { giveItems(d.items); d.items = nil }()
	if !d.failed.Load() {
		if err := w.name(d); err != nil {
			d.failed.Store(true)
			w.cancel(&EntryError{d.path, err})
		}
	}
	if d.parent == nil {
		return
	}
	it := &d.parent.items[d.slot]
	it.section = d.section
	if d.failed.Load() && !it.gone {
		d.parent.failed.Store(true)
	}
}

// name sets d's section and makes sure that the store holds its tree.
func (w *writer) name(d *dirNode) error {
	if w.unchanged(d) {
		d.section = &section{block: d.known, old: true}
		return nil
	}
	if err := w.heed(); err != nil {
		return err
	}
	d.items = tidy(d.items)
	t, err := tree.New(entries(d.items))
	if err != nil {
		return err
	}
	encoded := t.Encode()
	digest := d.known.digest()
	if !w.usable(digest) || !digest.Names(encoded) {
		if digest, err = w.addTree(d, encoded); err != nil {
			return err
		}
	}
	d.section, err = newSection(digest, d.items)
	return err
}

// unchanged tells whether the index describes d and all below as it is.
func (w *writer) unchanged(d *dirNode) bool {
	return d.known != nil && w.usable(d.known.digest()) && d.known.describes(d.items)
}

// describes tells whether items are what the index knows of a directory, and
// of all below it.
func (b block) describes(items []item) bool {
	if len(items) != b.len() {
		return false
	}
	for i := range items {
		it := &items[i]
		if it.changed || it.gone || it.place < 0 {
			return false
		}
		if it.section != nil && (!it.section.old || it.stat.mode != b.at(it.place).stat().mode) {
			return false
		}
	}
	return !repeats(items)
}

// repeats tells whether a name was listed twice, as can happen while entries
// come and go. Items of equal name that the index knows have the same place.
func repeats(items []item) bool {
	var few [4]uint64
	seen := few[:]
	if len(items) > 64*len(few) {
		seen = make([]uint64, len(items)/64+1)
	}
	for i := range items {
		word, bit := items[i].place/64, uint64(1)<<(items[i].place%64)
		if seen[word]&bit != 0 {
			return true
		}
		seen[word] |= bit
	}
	return false
}

// tidy sorts items, and drops what has vanished and what was listed twice.
func tidy(items []item) []item {
	items = slices.DeleteFunc(items, func(it item) bool { return it.gone })
	slices.SortFunc(items, func(a, b item) int { return bytes.Compare(a.name, b.name) })
	return slices.CompactFunc(items, func(a, b item) bool { return bytes.Equal(a.name, b.name) })
}

func entries(items []item) []tree.Entry {
	entries := make([]tree.Entry, len(items))
	for i := range items {
		it := &items[i]
		e := tree.Entry{Name: string(it.name), Type: it.stat.kind(), Perm: it.stat.perm(), Digest: it.digest}
		switch e.Type {
		case tree.Dir:
			e.Digest = it.section.block.digest()
		case tree.Symlink:
			e.Target = string(it.target)
		}
		entries[i] = e
	}
	return entries
}

func (w *writer) addTree(d *dirNode, encoded []byte) (cas.Digest, error) {
	digest, size, err := w.store.Add(w.ctx, bytes.NewReader(encoded))
	if err == nil {
		w.wasAdded(d.path, digest, size)
	}
	return digest, err
}

func (w *writer) wasAdded(path string, digest cas.Digest, size int64) {
	w.added.Add(1)
	w.addedBytes.Add(size)
	w.opt.observe(Event{Kind: Added, Path: path, Digest: digest, Size: size})
}
