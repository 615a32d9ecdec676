package disk

import (
	"sync"

	"github.com/fstree/fstree/cas"
)

const copySize = 256 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// hashing is a goroutine that hashes. Who feeds it takes a buffer, fills and
// adds it, and may go on reading it until it takes the next one.
type hashing struct {
	full chan hashed
	free chan *[copySize]byte
	sum  chan cas.Digest
}

type hashed struct {
	buf *[copySize]byte
	n   int
}

func startHashing(a cas.Algorithm) *hashing {
	const depth = 3
	h := &hashing{make(chan hashed, depth), make(chan *[copySize]byte, depth), make(chan cas.Digest)}
	for range depth {
		h.free <- nil // allocated when it is needed
	}
	go h.run(cas.NewHasher(a))
	return h
}

func (h *hashing) run(hasher *cas.Hasher) {
	for in := range h.full {
		hasher.Write(in.buf[:in.n])
		h.free <- in.buf
	}
	h.sum <- hasher.Digest()
	hasher.Release()
}

func (h *hashing) buffer() *[copySize]byte {
	if buf := <-h.free; buf != nil {
		return buf
	}
	return copyBuffers.Get().(*[copySize]byte)
}

func (h *hashing) add(buf *[copySize]byte, n int) { h.full <- hashed{buf, n} }

// finish ends the goroutine and returns the digest of what was added.
func (h *hashing) finish() cas.Digest {
	close(h.full)
	d := <-h.sum
	for len(h.free) > 0 {
		if buf := <-h.free; buf != nil {
			copyBuffers.Put(buf)
		}
	}
	return d
}
