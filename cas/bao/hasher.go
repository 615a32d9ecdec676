package bao

import (
	"io"

	"github.com/fstree/fstree/cas"
	"lukechampine.com/blake3/guts"
)

const (
	blockGroups = 1024
	batchGroups = 32
	// It takes about this many groups to make up for waking another core.
	wakeGroups = 4
)

// Hasher makes an object's digest and outboard from one pass over its bytes.
// It holds up to 140 KiB, however long the object is. Large writes, of 512 KiB
// and more, are hashed on several cores.
type Hasher struct {
	out    io.WriterAt
	size   int64
	groups int64     // in stack
	stack  []chain   // of complete subtrees, one for each bit of groups, large ones first
	last   guts.Node // the group after them, if there is one: it may be the object's last
	buf    []byte    // of the group that is not whole yet
	block  []byte    // the latest records, which are written together
	tops   [batchGroups]guts.Node
	err    error
}

// NewHasher returns a Hasher that writes the outboard to out, in pieces of up
// to 64 KiB and in no order. Nothing is written for an object of one group,
// and nothing before Finish for one of less than 64 MiB.
func NewHasher(out io.WriterAt) *Hasher { return &Hasher{out: out} }

// Write adds p to the object. Its error is that of the outboard's writer, and
// is repeated by all further calls.
func (h *Hasher) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 && h.err == nil {
		if n := len(p) / GroupSize; n > 0 && len(h.buf) == 0 {
			p = p[h.batch(p, min(n, batchGroups)):]
			continue
		}
		n := min(len(p), GroupSize-len(h.buf))
		h.buf = append(h.buf, p[:n]...)
		p = p[n:]
		if len(h.buf) == GroupSize {
			h.add(hash(h.buf, h.size), GroupSize)
			h.buf = h.buf[:0]
		}
	}
	if h.err != nil {
		return 0, h.err
	}
	return written, nil
}

// batch adds the first n groups of p and returns their length.
func (h *Hasher) batch(p []byte, n int) int {
	inParallel(n, n/wakeGroups, func(i int) error {
		h.tops[i] = hash(p[i*GroupSize:][:GroupSize], h.size+int64(i)*GroupSize)
		return nil
	})
	for _, top := range h.tops[:n] {
		h.add(top, GroupSize)
	}
	return n * GroupSize
}

// add adds the next group. The one before it is now known not to be the last,
// so that it isn't the root and its parent may not be either.
func (h *Hasher) add(top guts.Node, size int) {
	if h.size > 0 {
		h.push(finish(h.last, false))
	}
	h.last = top
	h.size += int64(size)
}

// push adds a group that is not the last to the stack.
func (h *Hasher) push(c chain) {
	at := h.groups
	h.groups++
	for width := int64(1); h.groups&width == 0; width <<= 1 {
		left := h.pop()
		h.record(at, left, c)
		c = finish(parentOf(left, c), false)
		at -= width
	}
	h.stack = append(h.stack, c)
	if h.groups%blockGroups == 0 {
		h.flush(h.groups - blockGroups)
	}
}

func (h *Hasher) pop() chain {
	last := len(h.stack) - 1
	c := h.stack[last]
	h.stack = h.stack[:last]
	return c
}

// record keeps the children of the parent that divides the object before group
// at. Where two blocks meet, this is long after both were written.
func (h *Hasher) record(at int64, left, right chain) {
	r := newRecord(left, right)
	i := at % blockGroups
	if i == 0 {
		h.writeAt(r[:], recordOffset(at))
		return
	}
	if end := int(i * recordSize); len(h.block) < end {
		h.block = append(h.block, make([]byte, end-len(h.block))...)
	}
	copy(h.block[(i-1)*recordSize:], r[:])
}

// flush writes the records of the block that begins with group first.
func (h *Hasher) flush(first int64) {
	if len(h.block) > 0 {
		h.writeAt(h.block, recordOffset(first+1))
		h.block = h.block[:0]
	}
}

func (h *Hasher) writeAt(p []byte, off int64) {
	if h.err == nil {
		_, h.err = h.out.WriteAt(p, off)
	}
}

// Finish writes the rest of the outboard and returns the object's digest and
// length. The Hasher must not be used afterwards.
func (h *Hasher) Finish() (cas.Digest, int64, error) {
	if len(h.buf) > 0 || h.size == 0 {
		h.add(hash(h.buf, h.size), len(h.buf))
	}
	top := h.last
	for at := h.groups; at > 0; at &= at - 1 {
		left, right := h.pop(), finish(top, false)
		h.record(at, left, right)
		top = parentOf(left, right)
	}
	h.flush(h.groups - h.groups%blockGroups)
	if h.err != nil {
		return cas.Digest{}, 0, h.err
	}
	return digestOf(finish(top, true)), h.size, nil
}
