package worktree

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

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

// repeats tells whether a name that the index knows among n was listed twice, as
// can happen while entries come and go. Equal names have the same place.
func repeats(items []item, n int) bool {
	var few [4]uint64
	seen := few[:]
	if n > 64*len(few) {
		seen = make([]uint64, n/64+1)
	}
	for i := range items {
		place := items[i].place
		if place < 0 {
			continue
		}
		word, bit := place/64, uint64(1)<<(place%64)
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
