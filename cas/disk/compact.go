package disk

import (
	"cmp"
	"context"
	"os"
	"slices"

	"github.com/fstree/fstree/cas"
)

// compact gives back the space of sparse packs: what is in use moves to another
// pack. The emptiest go first, so that on a full disk
// the first ones make room for the others. A pack that somebody appends to is
// left alone.
func (x *engine) compact(ctx context.Context) error {
	sparse, err := x.sparse()
	if err != nil {
		return x.failed(err)
	}
	w := newPackWriter(ballast / 2)
	defer w.close()
	for _, p := range sparse {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := x.compactPack(ctx, p.id, w); err != nil {
			return x.failed(err)
		}
	}
	return nil
}

// sparsePack is a pack more than a quarter of which is not in use. So packs are
// at most a third longer than what is in them, besides those being written.
type sparsePack struct {
	id   uint64
	used int64
}

// sparse returns the sparse packs, the emptiest first.
func (x *engine) sparse() ([]sparsePack, error) {
	names, err := os.ReadDir(x.store.path(packsDir))
	if err != nil {
		return nil, err
	}
	var sparse []sparsePack
	for _, name := range names {
		id, ok := parsePackName(name.Name())
		info, err := name.Info()
		if !ok || err != nil {
			continue
		}
		if used := x.inUse(id); info.Size()-used > info.Size()/4 {
			sparse = append(sparse, sparsePack{id, used})
		}
	}
	slices.SortFunc(sparse, func(a, b sparsePack) int { return cmp.Compare(a.used, b.used) })
	return sparse, nil
}

func (x *engine) inUse(id uint64) int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.packs[id]
}

func (x *engine) compactPack(ctx context.Context, id uint64, w *packWriter) error {
	path := x.store.packPath(id)
	f, err := os.Open(path)
	if err != nil {
		return nil // gone
	}
	defer f.Close()
	if !lock(f) {
		return nil // somebody's
	}
	m := mover{engine: x, from: f, writer: w}
	err = scanPack(f, id, func(it item) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return m.add(it)
	})
	if err == nil {
		err = m.flush()
	}
	if err != nil {
		return err
	}
	return x.removeUnused(id, path)
}

// removeUnused removes a pack, unless something in it was entered meanwhile: its
// writer may have died when it had just asked for that.
func (x *engine) removeUnused(id uint64, path string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.packs[id] > 0 {
		return nil
	}
	return os.Remove(path)
}

// mover moves the objects in use from one pack to another, a batch at a time.
type mover struct {
	engine *engine
	from   *os.File
	writer *packWriter
	items  []item // found in the pack, in use or not
	bytes  int64  // in their records
}

func (m *mover) add(it item) error {
	m.items = append(m.items, it)
	m.bytes += recordSize(it.entry.size)
	if m.bytes < batchBytes && len(m.items) < batchCount {
		return nil
	}
	return m.flush()
}

func (m *mover) flush() error {
	b := newBatch()
	defer b.release()
	old, err := m.inUse(b)
	if err == nil && len(old) > 0 {
		err = m.move(old, b)
	}
	m.items, m.bytes = m.items[:0], 0
	return err
}

// inUse returns those of the items whose entries point here, and adds them to b.
func (m *mover) inUse(b *batch) (old []item, err error) {
	ds := make([]cas.Digest, len(m.items))
	for i, it := range m.items {
		ds[i] = it.digest
	}
	entries, err := m.engine.entries(ds)
	if err != nil {
		return nil, err
	}
	for i, it := range m.items {
		if entries[i].kind != packed || entries[i].place != it.entry.place {
			continue
		}
		data, err := readRecord(m.from, it.digest, it.entry)
		if isMismatch(err) {
			m.engine.store.log.Warn("set a damaged object aside", "cache", m.engine.store.dir, "cause", err)
			err = m.engine.forget(m.engine.lifetime, it)
			data = nil
		}
		if err != nil {
			return nil, err
		}
		if data != nil {
			old = append(old, it)
			b.add(it.digest, data)
		}
	}
	return old, nil
}

// move lets the entries of b, which were old, name their new places.
func (m *mover) move(old []item, b *batch) error {
	if err := m.writer.write(m.engine.store, b); err != nil {
		return err
	}
	return m.engine.change(func(c *change) error {
		for i, it := range b.items {
			now, err := get(c.txn, it.digest)
			if err != nil {
				return err
			}
			if now.kind != packed || now.place != old[i].entry.place {
				continue // evicted while it moved
			}
			it.entry.used = now.used
			if err := c.set(it.digest, now, it.entry); err != nil {
				return err
			}
		}
		return nil
	})
}
