package bulk

import "sync"

// Buffer is up to FrameSize bytes that are about to be sent. Get one from
// NewBuffer; sending it in an Out, or Free, gives it back.
type Buffer struct {
	bytes []byte
	array [FrameSize]byte
}

var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// NewBuffer returns an empty Buffer.
func NewBuffer() *Buffer {
	b := buffers.Get().(*Buffer)
	b.bytes = b.array[:0]
	return b
}

// Free gives b back. A nil b is fine.
func (b *Buffer) Free() {
	if b != nil {
		buffers.Put(b)
	}
}

// Len returns the number of bytes in b.
func (b *Buffer) Len() int { return len(b.bytes) }

// Space returns what b has room for: to be filled from the start and then
// announced to Extend.
func (b *Buffer) Space() []byte { return b.bytes[len(b.bytes):FrameSize] }

// Extend adds the first n bytes of Space to b.
func (b *Buffer) Extend(n int) { b.bytes = b.bytes[:len(b.bytes)+n] }

// Get makes a Buffer the pool of itself, for gRPC to give it back.
func (b *Buffer) Get(int) *[]byte { panic("bulk: a Buffer holds one slice of bytes only") }

// Put is how gRPC gives b back.
func (b *Buffer) Put(*[]byte) { b.Free() }
