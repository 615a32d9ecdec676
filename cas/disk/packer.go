package disk

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/fstree/fstree/cas"
)

// packer stores small objects, many at a time: what arrives while one batch is
// written forms the next. A batch costs one question to the index, one write,
// and one entry to the index, however many objects it has.
type packer struct {
	store *Store
	queue chan *parcel
	ended chan struct{}

	gate   sync.RWMutex // held for reading by whoever sends to queue
	closed bool
}

// parcel is a small object on its way. The packer owns it once it is in the
// queue.
type parcel struct {
	digest cas.Digest
	data   []byte
	head   *head // where data lies, nil if it lies by itself
	done   chan error
}

// newParcel packs the first size bytes of h, which it takes.
func newParcel(d cas.Digest, h *head, size int) *parcel {
	p := &parcel{digest: d, data: h[:size], head: h, done: make(chan error, 1)}
	if size <= len(h)/16 {
		p.data = bytes.Clone(p.data)
		p.release()
	}
	return p
}

// release gives the memory back that p shares.
func (p *parcel) release() {
	if p.head != nil {
		heads.Put(p.head)
		p.head = nil
	}
}

// head holds the beginning of an object: all of a small one, and one byte more
// to tell that an object is large.
type head [inlineLimit + 1]byte

var heads = sync.Pool{New: func() any { return new(head) }}

const (
	batchBytes = 1 << 20
	batchCount = 1024
)

func (p *packer) start(s *Store) {
	p.store = s
	p.queue = make(chan *parcel, 64)
	p.ended = make(chan struct{})
	go p.run()
}

// stop stores what is in the queue and ends the packer.
func (p *packer) stop() {
	p.gate.Lock()
	if !p.closed {
		p.closed = true
		close(p.queue)
	}
	p.gate.Unlock()
	<-p.ended
}

// put stores the first size bytes of h, which it takes, as d.
func (p *packer) put(ctx context.Context, d cas.Digest, h *head, size int) error {
	parcel := newParcel(d, h, size)
	if err := p.send(ctx, parcel); err != nil {
		parcel.release()
		return err
	}
	select {
	case err := <-parcel.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *packer) send(ctx context.Context, parcel *parcel) error {
	p.gate.RLock()
	defer p.gate.RUnlock()
	if p.closed {
		return errClosed
	}
	select {
	case p.queue <- parcel:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *packer) run() {
	defer close(p.ended)
	w := packWriter{reserve: reserve}
	defer w.close()
	for first := range p.queue {
		batch := p.collect(first)
		err := w.store(p.store, batch)
		for _, parcel := range batch {
			parcel.release()
			parcel.done <- err
		}
	}
}

// collect returns first and what has gathered behind it, up to the bounds of a
// batch.
func (p *packer) collect(first *parcel) []*parcel {
	batch, size := []*parcel{first}, len(first.data)
	for len(batch) < batchCount && size < batchBytes {
		select {
		case next, ok := <-p.queue:
			if !ok {
				return batch
			}
			batch, size = append(batch, next), size+len(next.data)
		default:
			return batch
		}
	}
	return batch
}

// packWriter appends batches to packs, one after the other.
type packWriter struct {
	reserve int64 // bytes of the disk that are left free
	pack    *pack
	buf     []byte
}

func (w *packWriter) close() {
	if w.pack != nil {
		w.pack.file.Close()
		w.pack = nil
	}
}

// store stores what of batch is not there yet.
func (w *packWriter) store(s *Store, batch []*parcel) error {
	fresh, err := s.missing(batch)
	if err != nil || len(fresh) == 0 {
		return err
	}
	items, err := w.write(s, fresh)
	if err != nil {
		w.close()
		return fmt.Errorf("cache %s: cannot write: %w", s.dir, err)
	}
	return s.ask(s.lifetime, func(ctx context.Context, x index) error { return x.record(ctx, items, s.limits()) })
}

// missing returns the objects of batch that the store does not hold, each once.
func (s *Store) missing(batch []*parcel) ([]*parcel, error) {
	ds := make([]cas.Digest, len(batch))
	for i, p := range batch {
		ds[i] = p.digest
	}
	sizes, err := s.Sizes(s.lifetime, ds)
	if err != nil {
		return nil, err
	}
	var fresh []*parcel
	seen := make(map[cas.Digest]bool, len(batch))
	for i, p := range batch {
		if sizes[i] < 0 && !seen[p.digest] {
			seen[p.digest] = true
			fresh = append(fresh, p)
		}
	}
	return fresh, nil
}

// write appends fresh to the pack and returns where everything is.
func (w *packWriter) write(s *Store, fresh []*parcel) ([]item, error) {
	if err := s.room(w.reserve); err != nil {
		return nil, err
	}
	if w.pack == nil || w.pack.end >= packLimit || !w.pack.intact() {
		w.close()
		p, err := s.takePack()
		if err != nil {
			return nil, err
		}
		w.pack = p
	}
	w.buf = w.buf[:0]
	items := make([]item, len(fresh))
	for i, p := range fresh {
		at := place{w.pack.id, uint32(w.pack.end) + uint32(len(w.buf))}
		items[i] = item{p.digest, entry{kind: packed, size: int64(len(p.data)), place: at}}
		w.buf = appendRecord(w.buf, p.digest, p.data)
	}
	return items, w.pack.append(w.buf)
}
