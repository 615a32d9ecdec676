package disk

import (
	"sync"
	"sync/atomic"
)

const copySize = 256 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// writing is a goroutine that writes a file. Who feeds it takes a buffer, fills
// and adds it, and may go on reading it until it takes the next one.
//
// Into the page cache writing takes about twice as long as hashing, and reading
// half as long. So who reads hashes as well, the writer is busy all the time,
// and more cores would be of no use.
type writing struct {
	full   chan filled
	free   chan *[copySize]byte
	failed atomic.Bool
	end    chan error
}

type filled struct {
	buf *[copySize]byte
	n   int
}

func startWriting(t *temp) *writing {
	const depth = 3
	w := &writing{full: make(chan filled, depth), free: make(chan *[copySize]byte, depth), end: make(chan error)}
	for range depth {
		w.free <- nil // allocated when it is needed
	}
	go w.run(t)
	return w
}

func (w *writing) run(t *temp) {
	var err error
	for in := range w.full {
		if err == nil {
			err = t.write(in.buf[:in.n])
			w.failed.Store(err != nil)
		}
		w.free <- in.buf
	}
	w.end <- err
}

func (w *writing) buffer() *[copySize]byte {
	if buf := <-w.free; buf != nil {
		return buf
	}
	return copyBuffers.Get().(*[copySize]byte)
}

func (w *writing) add(buf *[copySize]byte, n int) { w.full <- filled{buf, n} }

// finish ends the goroutine when it has written everything, or failed to.
func (w *writing) finish() error {
	close(w.full)
	err := <-w.end
	for len(w.free) > 0 {
		if buf := <-w.free; buf != nil {
			copyBuffers.Put(buf)
		}
	}
	return err
}
