package disk

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"

	"github.com/dgraph-io/badger/v4"

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
	w := packWriter{reserve: ballast / 2}
	defer w.close()
	for _, p := range sparse {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := x.compactPack(ctx, p.id, &w); err != nil {
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
	path := x.store.path(packsDir, packName(id))
	f, err := os.Open(path)
	if err != nil || !lock(f) {
		f.Close()
		return nil // gone, or somebody's
	}
	defer f.Close()
	m := mover{engine: x, writer: w}
	err = x.store.scanPack(id, func(it item) error {
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
	return os.Remove(path)
}

// mover moves the objects in use from one pack to another, a batch at a time.
type mover struct {
	engine *engine
	writer *packWriter
	old    []item
	batch  []*parcel
	bytes  int
}

func (m *mover) add(it item) error {
	var now entry
	err := m.engine.view(func(txn *badger.Txn) (err error) {
		now, err = get(txn, it.digest)
		return err
	})
	if err != nil || now.kind != packed || now.place != it.entry.place {
		return err
	}
	data, err := m.engine.store.readPacked(it.digest, it.entry)
	var mismatch *cas.MismatchError
	if errors.As(err, &mismatch) {
		m.engine.store.log.Warn("set a damaged object aside", "cache", m.engine.store.dir, "cause", err)
		return m.engine.forget(m.engine.lifetime, it)
	}
	if err != nil {
		return err
	}
	h := heads.Get().(*head)
	m.old = append(m.old, it)
	m.batch = append(m.batch, &parcel{digest: it.digest, head: h, size: copy(h[:], data)})
	m.bytes += len(data)
	if m.bytes >= batchBytes || len(m.batch) >= 64 {
		return m.flush()
	}
	return nil
}

func (m *mover) flush() error {
	if len(m.batch) == 0 {
		return nil
	}
	items, err := m.writer.write(m.engine.store, m.batch)
	if err == nil {
		err = m.engine.change(func(c *change) error { return m.repoint(c, items) })
	}
	for _, p := range m.batch {
		heads.Put(p.head)
	}
	m.old, m.batch, m.bytes = m.old[:0], m.batch[:0], 0
	return err
}

// repoint lets the entries of moved objects name their new places.
func (m *mover) repoint(c *change, items []item) error {
	for i, it := range items {
		now, err := get(c.txn, it.digest)
		if err != nil {
			return err
		}
		if now.kind != packed || now.place != m.old[i].entry.place {
			continue // evicted while it moved
		}
		it.entry.used = now.used
		if err := c.set(it.digest, now, it.entry); err != nil {
			return err
		}
	}
	return nil
}
