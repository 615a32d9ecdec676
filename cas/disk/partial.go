package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

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
	own    *bao.Partial // what was verified through this handle

	mu     sync.RWMutex     // held for reading by whoever uses what is below
	parts  *parts           // nil if nothing is here, or all of it
	whole  cas.RandomObject // nil if the store did not hold it yet
	closed bool
}

// look finds out what is here, unless that is known and still true.
func (p *partial) look(ctx context.Context) error {
	p.mu.RLock()
	known := p.closed || p.whole != nil || p.parts != nil && !p.parts.gone()
	p.mu.RUnlock()
	if known {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.whole != nil || p.parts != nil && !p.parts.gone() {
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

// leave forgets the parts.
func (p *partial) leave() {
	if p.parts != nil {
		p.parts.close()
		p.parts = nil
		p.own.Drop(0, p.size)
	}
}

// glance is look for calls without a context.
func (p *partial) glance() {
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
	p.mu.RLock()
	known := p.closed || p.whole != nil || p.parts != nil
	p.mu.RUnlock()
	if !known {
		p.glance()
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	switch {
	case p.closed:
		return 0, fs.ErrClosed
	case p.whole != nil:
		return p.whole.ReadAt(b, off)
	case p.parts == nil || !p.parts.has(groupsIn(clip(p.size, off, int64(len(b))))):
		return 0, p.missing()
	}
	return p.readParts(b, off)
}

func (p *partial) missing() error { return fmt.Errorf("object %s: %w", p.digest, bao.ErrMissing) }

func (p *partial) readParts(b []byte, off int64) (int, error) {
	r, err := p.parts.reader(p.digest)
	if err != nil {
		return 0, err
	}
	n, err := r.ReadAt(b, off)
	if isWrong(err) {
		p.drop(clip(p.size, off, int64(len(b))))
		p.store.log.Warn("dropped damaged parts of an object", "cache", p.store.dir, "object", p.digest, "cause", err)
		err = p.missing()
	}
	return n, err
}

// isWrong tells whether err says that bytes on disk are not what they were.
func isWrong(err error) bool { return isMismatch(err) || errors.Is(err, bao.ErrOutboard) }

func (p *partial) drop(off, n int64) {
	p.own.Drop(off, n)
	p.parts.drop(groupsIn(off, n))
}

// Add verifies the slice s, which r delivers, and keeps it.
func (p *partial) Add(ctx context.Context, s bao.Slice, r io.Reader) error {
	err := p.look(ctx)
	if err == nil && !p.isWhole() {
		err = p.own.Add(s, &contextReader{ctx, r}, partWriter{ctx, p, p.writeGroup}, partWriter{ctx, p, p.writeRecord})
	}
	if errors.Is(err, errGone) {
		if err := p.look(ctx); err != nil || p.isWhole() {
			return err // somebody else was quicker
		}
	}
	if failed := p.promote(ctx); failed != nil && err == nil {
		err = &bao.KeepError{Err: failed}
	}
	return err
}

func (p *partial) isWhole() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.whole != nil
}

// partWriter writes to the parts of a partial object, which are made when the
// first verified bytes are there.
type partWriter struct {
	ctx   context.Context
	p     *partial
	write func(ctx context.Context, parts *parts, b []byte, off int64) error
}

func (w partWriter) WriteAt(b []byte, off int64) (int, error) {
	err := w.p.make(w.ctx)
	if err == nil {
		err = w.p.withParts(func(parts *parts) error { return w.write(w.ctx, parts, b, off) })
	}
	if err != nil {
		return 0, &bao.KeepError{Err: w.p.failed(err)}
	}
	return len(b), nil
}

func (p *partial) writeGroup(ctx context.Context, parts *parts, b []byte, off int64) error {
	if err := p.store.room(reserve); err != nil {
		return err
	}
	err := parts.write(ctx, b, off)
	if err == nil {
		p.store.grow(ctx, int64(len(b)))
	}
	return err
}

func (p *partial) writeRecord(_ context.Context, parts *parts, b []byte, off int64) error {
	_, err := parts.outboard.WriteAt(b, off)
	return err
}

// make makes parts if there are none.
func (p *partial) make(ctx context.Context) error {
	p.mu.RLock()
	known := p.closed || p.whole != nil || p.parts != nil
	p.mu.RUnlock()
	if known {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.whole != nil || p.parts != nil {
		return nil
	}
	if err := p.store.room(reserve); err != nil {
		return err
	}
	made, err := makeParts(ctx, p.store.partPath(p.digest, p.size), p.size)
	if err == nil {
		p.take(made)
	}
	return err
}

// withParts runs fn while nobody closes the parts.
func (p *partial) withParts(fn func(*parts) error) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	switch {
	case p.closed:
		return fs.ErrClosed
	case p.parts == nil:
		return errGone
	}
	return fn(p.parts)
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

// promote makes an object of parts that are complete.
func (p *partial) promote(ctx context.Context) error {
	complete := false
	err := p.withParts(func(parts *parts) error {
		if complete = parts.complete(); !complete {
			return nil
		}
		return parts.locked(ctx, unix.LOCK_EX, func() error { return p.publish(ctx, parts) })
	})
	switch {
	case errors.Is(err, errGone): // or somebody else has done it
		if !complete {
			return nil
		}
	case err != nil || !complete:
		return err
	}
	return p.look(ctx)
}

// publish makes an object of parts, all of which are verified then.
func (p *partial) publish(ctx context.Context, parts *parts) error {
	if _, err := parts.verify(ctx, p.own); err != nil || !p.own.Complete() {
		return err
	}
	info, err := parts.data.Stat()
	if err != nil {
		return err
	}
	pub := publication{
		Digest: p.digest, Size: p.size, Keep: p.store.limits(),
		Parts: partName(p.digest, p.size), Inode: identityOf(info).inode,
	}
	if err := p.store.ask(ctx, func(ctx context.Context, x index) error { return x.publish(ctx, pub) }); err != nil {
		return err
	}
	if _, err := changeParts(parts.dir, removeAll); err != nil {
		p.store.log.Debug("what is left of parts stays", "cache", p.store.dir, "object", p.digest, "cause", err)
	}
	return nil
}

// verify reads the groups that are said to be here and that own does not know,
// and drops those that are wrong. It returns how many that were.
func (p *parts) verify(ctx context.Context, own *bao.Partial) (dropped int64, err error) {
	r, err := p.reader(own.Digest())
	if err != nil {
		return 0, err
	}
	for here := range p.runs(p.all(), true) {
		for at := here; at.first < at.end; {
			if ctx.Err() != nil {
				return dropped, context.Cause(ctx)
			}
			var wrong bool
			if at.first, wrong, err = p.verifyNext(own, r, at); err != nil {
				return dropped, err
			}
			if wrong {
				dropped++
			}
		}
	}
	return dropped, nil
}

// verifyNext verifies some of the groups of r that own does not know, up to the
// first wrong one, which it drops. It returns where to go on.
func (p *parts) verifyNext(own *bao.Partial, r *bao.ReaderAt, in run) (next int64, wrong bool, err error) {
	const piece = 256
	off, n := p.bytes(run{in.first, min(in.end, in.first+piece)})
	unknown := own.Missing(off, n)
	if len(unknown) == 0 {
		return min(in.end, in.first+piece), false, nil
	}
	gap := unknown[0]
	if err = own.Verify(r, gap.Off, gap.Len); err == nil {
		return groupsIn(gap.Off, gap.Len).end, false, nil
	}
	if !isWrong(err) {
		return 0, false, err
	}
	bad := own.Missing(gap.Off, gap.Len)[0].Off / bao.GroupSize
	p.drop(run{bad, bad + 1})
	return bad + 1, true, nil
}
