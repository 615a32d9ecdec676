package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// OpenPartial opens what is here of d. Parts are kept of BLAKE3 objects of more
// than 1 MiB, and only once their size is proved; they stay when the process
// ends, until they are evicted like objects. An object is made of them without
// reading again what came through the one handle that completes it; what others
// have added, maybe before the machine was started, is read and verified first.
func (s *Store) OpenPartial(ctx context.Context, d cas.Digest, size int64) (bao.PartialObject, error) {
	own, err := bao.NewPartial(d, size)
	if err != nil {
		return nil, err
	}
	if !ranged(d, size) {
		return nil, fmt.Errorf("parts of object %s, of %d bytes: %w", d, size, errors.ErrUnsupported)
	}
	p := &partial{store: s, digest: d, size: size, own: own}
	if err := p.look(ctx); err != nil {
		return nil, err
	}
	if err := p.promote(ctx); err != nil { // it was not, if a process was killed
		s.log.Warn("a complete object is kept in parts", "cache", s.dir, "object", d, "cause", err)
	}
	return p, nil
}

// partial is an object of which parts are here, or all of it.
type partial struct {
	store  *Store
	digest cas.Digest
	size   int64

	mu     sync.RWMutex     // held for reading by whoever uses what is below
	own    *bao.Partial     // what was verified through this handle, and is in parts
	parts  *parts           // nil if nothing is here, or all of it
	whole  cas.RandomObject // nil if the store did not hold it yet
	closed bool
}

// look finds out what is here, unless that is known and still true.
func (p *partial) look(ctx context.Context) error {
	if p.isKnown() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known() {
		return nil
	}
	p.leave()
	// The object comes before its parts go, so that they are looked for first.
	found, err := findParts(p.store.partPath(p.digest, p.size), p.size)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p.failed(err)
	}
	p.whole, err = p.store.heldWhole(ctx, p.digest, p.size)
	if found != nil && (err != nil || p.whole != nil) {
		found.close()
		found = nil
	}
	if p.whole != nil {
		p.store.removePartial(partName(p.digest, p.size))
	}
	if found != nil {
		p.take(found)
	}
	return err
}

func (p *partial) isKnown() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.known()
}

// known tells, under mu, whether what is here is known and still true.
func (p *partial) known() bool {
	return p.closed || p.whole != nil || p.parts != nil && !p.parts.gone()
}

// heldWhole opens d if the store holds it and it is of that size.
func (s *Store) heldWhole(ctx context.Context, d cas.Digest, size int64) (cas.RandomObject, error) {
	o, err := s.get(ctx, d, false)
	if errors.Is(err, cas.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if o.Size() != size {
		return nil, o.Close()
	}
	return o, nil
}

// take makes found the parts of p. They are there because somebody has proved
// the size.
func (p *partial) take(found *parts) {
	p.parts = found
	p.parts.touch(p.store.now())
	p.own.TrustSize()
}

// leave forgets the parts. An Add that is under way goes on to tell the own that
// it began with what it has verified.
func (p *partial) leave() {
	if p.parts != nil {
		p.parts.close()
		p.parts = nil
		p.own, _ = bao.NewPartial(p.digest, p.size) // which was possible before
	}
}

// glance is look for calls without a context.
func (p *partial) glance() {
	if p.isKnown() {
		return
	}
	ctx, cancel := context.WithTimeout(p.store.lifetime, p.store.patience)
	defer cancel()
	if err := p.look(ctx); err != nil {
		p.store.log.Debug("what is here of an object is not known", "cache", p.store.dir, "object", p.digest, "cause", err)
	}
}

func (p *partial) failed(err error) error {
	return fmt.Errorf("cache %s: parts of %s: %w", p.store.dir, p.digest, bare(err))
}

// Missing returns the slices that are to be added before n bytes from off can
// be read.
func (p *partial) Missing(off, n int64) []bao.Slice {
	p.glance()
	p.mu.RLock()
	defer p.mu.RUnlock()
	switch {
	case p.whole != nil:
		return nil
	case p.parts == nil:
		return p.own.Missing(off, n)
	}
	var missing []bao.Slice
	for gap := range p.parts.runs(groupsIn(clip(p.size, off, n)), false) {
		off, n := p.parts.bytes(gap)
		missing = append(missing, bao.Slice{Size: p.size, Off: off, Len: n})
	}
	return missing
}

// ReadAt reads bytes that are verified each time. Those that turn out to be
// wrong are missing from then on.
func (p *partial) ReadAt(b []byte, off int64) (int, error) {
	p.glance()
	p.mu.RLock()
	defer p.mu.RUnlock()
	switch {
	case p.closed:
		return 0, fs.ErrClosed
	case p.whole != nil:
		return p.whole.ReadAt(b, off)
	case p.parts == nil || !p.parts.has(groupsIn(clip(p.size, off, int64(len(b))))):
		return 0, p.errMissing()
	}
	return p.readParts(b, off)
}

func (p *partial) errMissing() error { return fmt.Errorf("object %s: %w", p.digest, bao.ErrMissing) }

func (p *partial) readParts(b []byte, off int64) (int, error) {
	r, err := p.parts.reader(p.digest)
	if err != nil {
		return 0, err
	}
	n, err := r.ReadAt(b, off)
	if isWrong(err) {
		p.drop(clip(p.size, off, int64(len(b))))
		p.store.log.Warn("dropped damaged parts of an object", "cache", p.store.dir, "object", p.digest, "cause", err)
		err = p.errMissing()
	}
	return n, err
}

// isWrong tells whether err says that bytes on disk are not what they were.
func isWrong(err error) bool { return isMismatch(err) || errors.Is(err, bao.ErrOutboard) }

func (p *partial) drop(off, n int64) {
	p.own.Drop(off, n)
	p.parts.drop(groupsIn(off, n))
}

// Close ends the use of p. What was added stays.
func (p *partial) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if p.whole != nil {
		return p.whole.Close()
	}
	if p.parts != nil {
		p.parts.touch(p.store.now())
	}
	p.leave()
	return nil
}
