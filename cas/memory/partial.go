package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// Slice opens the slice s of d. Every call hashes all of d.
func (s *Store) Slice(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
	s.mu.RLock()
	data, ok := s.objects[d]
	s.mu.RUnlock()
	if !ok || int64(len(data)) != slice.Size {
		return nil, &cas.NotFoundError{Digest: d}
	}
	if d.Algorithm() != cas.BLAKE3 {
		return nil, fmt.Errorf("parts of object %s: %w", d, errors.ErrUnsupported)
	}
	var outboard bao.Buffer
	if _, err := bao.HashAt(ctx, bytes.NewReader(data), slice.Size, &outboard); err != nil {
		return nil, err
	}
	var encoded bytes.Buffer
	if err := bao.WriteSlice(&encoded, bytes.NewReader(data), outboard, slice); err != nil {
		return nil, err
	}
	return io.NopCloser(&encoded), nil
}

// OpenPartial opens what is here of d.
func (s *Store) OpenPartial(_ context.Context, d cas.Digest, size int64) (bao.PartialObject, error) {
	state, err := bao.NewPartial(d, size)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := claim{d, size}
	p, ok := s.partials[key]
	if !ok {
		p = &partial{store: s, Partial: state}
		if s.partials == nil {
			s.partials = map[claim]*partial{}
		}
		s.partials[key] = p
	}
	return p, nil
}

// claim is an object and how long it is said to be.
type claim struct {
	digest cas.Digest
	size   int64
}

// partial is an object of which parts are here.
type partial struct {
	*bao.Partial
	store          *Store
	data, outboard buffer
}

func (p *partial) ReadAt(b []byte, off int64) (int, error) {
	if size, _ := p.Size(); off < 0 || off > size {
		return 0, io.EOF
	}
	if len(p.Missing(off, int64(len(b)))) > 0 {
		return 0, fmt.Errorf("object %s: %w", p.Digest(), bao.ErrMissing)
	}
	return p.data.ReadAt(b, off)
}

func (p *partial) Add(_ context.Context, s bao.Slice, r io.Reader) error {
	err := p.Partial.Add(s, r, &p.data, &p.outboard)
	if p.Complete() {
		p.store.keep(p.Digest(), p.data.bytes())
	}
	return err
}

func (p *partial) Close() error { return nil }

// buffer is a bao.Buffer that may be read while it is written.
type buffer struct {
	mu sync.RWMutex
	b  bao.Buffer
}

func (b *buffer) bytes() []byte {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return bytes.Clone(b.b)
}

func (b *buffer) ReadAt(p []byte, off int64) (int, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.b.ReadAt(p, off)
}

func (b *buffer) WriteAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.WriteAt(p, off)
}
