package disk

import (
	"bytes"
	"context"
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
	for first := range p.queue {
		p.write(first)
	}
}

// write stores first and what has gathered behind it, up to the bounds of a
// batch.
func (p *packer) write(first *parcel) {
	b := newBatch()
	defer b.release()
	var parcels []*parcel
	for next := first; next != nil; next = p.next(b) {
		b.add(next.digest, next.data)
		next.release()
		parcels = append(parcels, next)
	}
	err := p.store.writer.store(p.store.lifetime, p.store, b)
	for _, parcel := range parcels {
		parcel.done <- err
	}
}

// next returns a parcel if one is waiting that b has room for.
func (p *packer) next(b *batch) *parcel {
	if b.full() {
		return nil
	}
	select {
	case next := <-p.queue:
		return next
	default:
		return nil
	}
}
