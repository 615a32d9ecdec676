package cached

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// lazySize is the size below which an object is fetched whole.
const lazySize = 1 << 20

// claim is an object and how long it is said to be.
type claim struct {
	digest cas.Digest
	size   int64
}

// Lazy is an object that is fetched as it is read, a range at a time, verified
// and kept. Readers of one range wait for one fetch, which goes on when they
// leave; a fetch that has failed is tried again by the next reader. Sequential
// readers find ahead of them what they read next.
//
// Its Size is a claim. It is proved before a byte is delivered, and one that is
// wrong is an error of every read: a *cas.MismatchError if far sends something
// nevertheless, else a *cas.NotFoundError, for far does not have such an
// object. A read fails with errors.ErrUnsupported if far turns out to prove
// nothing about the object, or only to say so: opened again, it is fetched
// whole.
//
// It is safe for concurrent use, Read excepted.
type Lazy struct {
	*io.SectionReader // of ReadAt
	object            *lazy
	once              sync.Once
}

// ReadAtContext is ReadAt for a reader who may leave: then the error is the
// cause of ctx, and what was missing is on its way.
func (l *Lazy) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	return l.object.readAt(ctx, p, off)
}

// Fetch fetches what is missing of the object and returns when it is whole, or
// when ctx is done.
func (l *Lazy) Fetch(ctx context.Context) error { return l.object.fetchAll(ctx) }

// Close ends the use of l. What is on its way still arrives.
func (l *Lazy) Close() error {
	l.once.Do(l.object.leave)
	return nil
}

// Open opens d, which is said to be of size bytes. If it is large, and not
// near, and the stores can, that is a *Lazy and costs no fetch; otherwise Open
// does what Get does.
func (s *Store) Open(ctx context.Context, d cas.Digest, size int64) (cas.Object, error) {
	o, err := s.fromNear(ctx, d)
	if err == nil {
		return o, nil
	}
	l, lazyErr := s.openLazy(ctx, d, size)
	if errors.Is(lazyErr, errors.ErrUnsupported) {
		return s.getAbsent(ctx, d, err)
	}
	if lazyErr != nil {
		return nil, lazyErr
	}
	return &Lazy{SectionReader: io.NewSectionReader(l, 0, size), object: l}, nil
}

// openLazy returns the one lazy object of a claim. Its error is
// errors.ErrUnsupported for what is to be fetched whole.
func (s *Store) openLazy(ctx context.Context, d cas.Digest, size int64) (*lazy, error) {
	_, slices := s.far.(bao.Slicer)
	near, keeps := s.near.(bao.PartialStore)
	if !slices || !keeps || size < lazySize || d.Algorithm() != cas.BLAKE3 || s.isUnprovable(d) {
		return nil, errors.ErrUnsupported
	}
	if l := s.enter(claim{d, size}, nil); l != nil {
		return l, nil
	}
	part, err := near.OpenPartial(ctx, d, size)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, errors.ErrUnsupported):
		return nil, err
	case err != nil:
		part = nil // near is a cache and no authority
		s.unkept.failed()
	}
	fresh := &lazy{store: s, digest: d, size: size, part: part}
	if part != nil {
		fresh.opened = []io.Closer{part}
	}
	l := s.enter(claim{d, size}, fresh)
	if l != fresh && part != nil {
		part.Close() // somebody was quicker
	}
	if l == nil {
		return nil, errClosed(d)
	}
	return l, nil
}

// enter counts a use of the lazy object of a claim, and makes it the given one
// if there is none. It returns nil if there is still none.
func (s *Store) enter(c claim, fresh *lazy) *lazy {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.lazies[c]
	if !ok && (fresh == nil || s.closed) {
		return nil
	}
	if !ok {
		l = fresh
		s.lazies[c] = l
	}
	l.users++
	return l
}

var _ cas.RandomObject = (*Lazy)(nil)

// lazy is what all users of a Lazy share.
type lazy struct {
	store  *Store
	digest cas.Digest
	size   int64

	users int // under the mutex of the store

	mu      sync.Mutex
	part    bao.PartialObject // nil if near keeps nothing
	whole   cas.RandomObject  // nil until everything is here
	opened  []io.Closer       // what was ever one of them
	flights []*rangeFlight    // under way, failed a moment ago, or not kept
	streams streams
}

// leave ends a use, the last one the object.
func (l *lazy) leave() {
	l.store.mu.Lock()
	l.users--
	last := l.users == 0
	if last {
		delete(l.store.lazies, claim{l.digest, l.size})
	}
	l.store.mu.Unlock()
	if !last {
		return
	}
	for _, o := range l.opened {
		o.Close()
	}
}

// ReadAt is io.ReaderAt. Its waits are bounded by those of the fetches.
func (l *lazy) ReadAt(p []byte, off int64) (int, error) {
	return l.readAt(context.Background(), p, off)
}

// readTries is how often a read goes on after what it needs has come and is
// not there any more: dropped as damaged, or forgotten.
const readTries = 3

func (l *lazy) readAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("object %s: negative offset", l.digest)
	}
	for n < len(p) && err == nil && off+int64(n) < l.size {
		b := span{off + int64(n), min(off+int64(len(p)), l.size)}
		b.end = min(b.end, b.start+piece)
		var m int
		m, err = l.readPiece(ctx, p[n:], b)
		n += m
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (l *lazy) readPiece(ctx context.Context, p []byte, b span) (n int, err error) {
	waited := false
	for range readTries {
		flights := l.want(b, false)
		waited = waited || len(flights) > 0
		l.ahead(b)
		if err = await(ctx, flights); errors.Is(err, errUnkept) {
			continue // it was on its way for somebody else
		}
		if err != nil {
			break
		}
		if n, err = l.readHere(p[:b.size()], b.start, flights); !errors.Is(err, bao.ErrMissing) {
			break
		}
	}
	l.store.count(waited)
	return n, err
}

// readHere reads what has come: from those flights that near did not keep, and
// from near.
func (l *lazy) readHere(p []byte, off int64, flights []*rangeFlight) (n int, err error) {
	for n < len(p) && err == nil {
		pos := off + int64(n)
		data, next := unkeptAt(flights, pos)
		if data != nil {
			n += copy(p[n:], data)
			continue
		}
		var m int
		m, err = l.readNear(p[n:min(int64(len(p)), next-off)], pos)
		n += m
	}
	return n, err
}

// readNear reads what near has kept.
func (l *lazy) readNear(p []byte, off int64) (int, error) {
	l.mu.Lock()
	part, whole := l.part, l.whole
	l.mu.Unlock()
	var r io.ReaderAt = part
	switch {
	case whole != nil:
		r = whole
	case part == nil:
		return 0, bao.ErrMissing
	}
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if whole != nil {
		l.reopen(whole)
	} else if !errors.Is(err, bao.ErrMissing) {
		l.distrust(part)
	}
	return 0, fmt.Errorf("%w: %w", bao.ErrMissing, err)
}

// distrust has the object go on without a part that can't be read.
func (l *lazy) distrust(part bao.PartialObject) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.part == part {
		l.part = nil
	}
}

// reopen has near look again at an object that was whole and can't be read:
// it was damaged or lost, and is to be kept anew.
func (l *lazy) reopen(lost cas.RandomObject) {
	o, _ := l.store.near.Get(l.store.lifetime, l.digest)
	whole, _ := o.(cas.RandomObject)
	var part bao.PartialObject
	if whole == nil {
		part, _ = l.store.near.(bao.PartialStore).OpenPartial(l.store.lifetime, l.digest, l.size)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if whole != nil {
		l.opened = append(l.opened, whole)
	}
	if part != nil {
		l.opened = append(l.opened, part)
	}
	if l.whole == lost {
		l.whole, l.part = whole, part
	}
}
