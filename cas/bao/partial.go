package bao

import (
	"fmt"
	"io"
	"sync"

	"github.com/fstree/fstree/cas"
)

// Partial knows which groups of an object are here: verified, and written to a
// file of the object's length, with the records that prove them in another.
// The files are the caller's: both are sparse, and both are whole when the
// Partial is complete. To read from them, use a ReaderAt, whose ErrOutboard and
// *Error mean that the files are not what they were: Drop what was read.
//
// A Partial is of one process: what it tells to be here was verified by Add, and
// not merely found.
//
// It takes memory for what is present, 16 bytes for each run of adjacent
// groups, and none for the size that it was told. It is safe for concurrent use.
type Partial struct {
	digest cas.Digest
	size   int64

	mu      sync.Mutex
	proved  bool
	present runs
}

// NewPartial returns a Partial of the object d without any groups. The size may
// be a mere claim: it is proved by the first slice that is added. It fails with
// errors.ErrUnsupported if d is not BLAKE3.
func NewPartial(d cas.Digest, size int64) (*Partial, error) {
	if _, err := rootOf(d); err != nil {
		return nil, err
	}
	if size < 0 {
		return nil, fmt.Errorf("object %s can't be of %d bytes", d, size)
	}
	return &Partial{digest: d, size: size}, nil
}

// Digest returns the name of the object.
func (p *Partial) Digest() cas.Digest { return p.digest }

// Size returns the length of the object, and whether it is proved.
func (p *Partial) Size() (size int64, proved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size, p.proved
}

// TrustSize takes the size for proved. It is for whoever knows that somebody has
// proved it before.
func (p *Partial) TrustSize() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proved = true
}

// Complete tells whether the whole object is here.
func (p *Partial) Complete() bool { return len(p.Missing(0, p.size)) == 0 }

// Missing returns the slices that are to be fetched and added before n bytes
// from off can be read; what lies beyond the object is left out. They cover
// whole groups, in order, each gap as one slice. While the size is not proved
// each of them proves it, and there is at least one.
func (p *Partial) Missing(off, n int64) []Slice {
	wanted := groupsOf(p.clip(off, n))
	p.mu.Lock()
	defer p.mu.Unlock()
	var missing []Slice
	for _, gap := range p.present.missing(wanted) {
		b := p.bytesOf(gap)
		missing = append(missing, Slice{p.size, b.start, b.size(), !p.proved})
	}
	if len(missing) == 0 && !p.proved {
		missing = []Slice{{Size: p.size, ProveSize: true}}
	}
	return missing
}

// Add reads the slice s from r and verifies it. Each group is written to data
// and counts as present when its bytes, and before them its proof, are
// written; so what came before an error stays. The first slice must prove the
// size. Errors are those of Decoder.Next and of the writers.
func (p *Partial) Add(s Slice, r io.Reader, data, outboard io.WriterAt) error {
	_, proved := p.Size()
	switch {
	case s.Size != p.size:
		return fmt.Errorf("slice of %d bytes in a partial object of %d", s.Size, p.size)
	case !proved && !s.ProveSize:
		return fmt.Errorf("slice of object %s does not prove its size", p.digest)
	}
	d, err := NewDecoder(p.digest, s, r)
	if err != nil {
		return err
	}
	d.keep = func(i int64, r *record) error {
		_, err := outboard.WriteAt(r[:], recordOffset(i))
		return err
	}
	for {
		off, group, err := d.Next()
		if err != nil && err != io.EOF {
			return err
		}
		if len(group) > 0 {
			if _, err := data.WriteAt(group, off); err != nil {
				return err
			}
		}
		if s.ProveSize {
			p.TrustSize()
		}
		p.mark(span{off, off + int64(len(group))})
		if err == io.EOF {
			return nil
		}
	}
}

// Verify is Add for bytes that are in the files already: it reads n bytes from
// off through r, and those that are right count as present from then on. It
// stops at the first wrong ones, with an error of ReaderAt.ReadAt.
func (p *Partial) Verify(r *ReaderAt, off, n int64) error {
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	all := groupsOf(p.clip(off, n))
	for i := all.first; i < all.end; i++ {
		b := p.bytesOf(run{i, i + 1})
		if _, err := r.ReadAt(buf.group[:b.size()], b.start); err != nil {
			return err
		}
		p.mark(b)
	}
	return nil
}

func (p *Partial) mark(b span) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := groupsOf(b); g.first < g.end {
		p.present = p.present.add(g)
	}
}

// Drop forgets the groups that hold n bytes from off on.
func (p *Partial) Drop(off, n int64) {
	g := groupsOf(p.clip(off, n))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.present = p.present.remove(g)
}

// clip returns the part of n bytes from off that is inside the object.
func (p *Partial) clip(off, n int64) span {
	start := min(max(off, 0), p.size)
	return span{start, start + min(max(n, 0), p.size-start)}
}

// groupsOf returns the groups that b is in.
func groupsOf(b span) run {
	if b.size() == 0 {
		return run{}
	}
	return run{b.start / GroupSize, groups(b.end)}
}

func (p *Partial) bytesOf(r run) span {
	if r.end == groups(p.size) {
		return span{r.first * GroupSize, p.size}
	}
	return span{r.first * GroupSize, r.end * GroupSize}
}
