package disk

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"github.com/fstree/fstree/cas"
)

// packer stores small objects, many at a time: what arrives while one parcel is
// stored forms the next. A parcel costs one question to the index, one write, and
// one entry to the index, however many objects it has.
type packer struct {
	store *Store
	wake  chan struct{} // has a token if there may be something to do
	ended chan struct{}

	mu      sync.Mutex
	parcels []*parcel // to be stored; the last one takes objects until it is full
	closed  bool
}

// parcel is objects that are stored together.
type parcel struct {
	batch *batch
	done  chan struct{} // closed when err is known
	err   error
}

// head holds the beginning of an object: all of a small one, and one byte more
// to tell that an object is large.
type head [inlineLimit + 1]byte

var heads = sync.Pool{New: func() any { return new(head) }}

func (p *packer) start(s *Store) {
	p.store = s
	p.wake = make(chan struct{}, 1)
	p.ended = make(chan struct{})
	go p.run()
}

// stop stores what has gathered and ends the packer.
func (p *packer) stop() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.wake)
	}
	p.mu.Unlock()
	<-p.ended
}

// put stores data as d. When it returns nobody uses data any more.
func (p *packer) put(ctx context.Context, d cas.Digest, data []byte) error {
	for ctx.Err() == nil {
		q, joined, err := p.join(d, data)
		if err != nil {
			return err
		}
		select {
		case <-q.done:
			if joined {
				return q.err
			}
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// maxParcels bounds what waits: those who put it may have given up.
const maxParcels = 4

// join adds data, as d, to the last parcel, and returns that. If no parcel has
// room it adds nothing, and returns the one to wait for.
func (p *packer) join(d cas.Digest, data []byte) (q *parcel, joined bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, errClosed
	}
	last := len(p.parcels) - 1
	if last < 0 || p.parcels[last].batch.full() {
		if len(p.parcels) == maxParcels {
			return p.parcels[0], false, nil
		}
		p.parcels = append(p.parcels, &parcel{batch: newBatch(), done: make(chan struct{})})
		last++
		select {
		case p.wake <- struct{}{}:
		default: // there is one
		}
	}
	q = p.parcels[last]
	q.batch.add(d, data)
	return q, true, nil
}

// next takes the first parcel, nil if there is none.
func (p *packer) next() *parcel {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.parcels) == 0 {
		return nil
	}
	q := p.parcels[0]
	p.parcels = slices.Delete(p.parcels, 0, 1)
	return q
}

// run stores one parcel after the other: two at a time would be smaller, and take
// more of the processor than they win. They belong to none of those who wait for
// them, so that one who gives up takes nothing from the others.
func (p *packer) run() {
	defer close(p.ended)
	for range p.wake {
		for q := p.next(); q != nil; q = p.next() {
			q.err = p.store.writers.store(p.store.lifetime, p.store, q.batch)
			q.batch.release()
			close(q.done)
			runtime.Gosched() // those who come back at once share the next one
		}
	}
}
