// Package memory holds objects in a map: for tests, and for a server that
// forgets everything when it ends.
package memory

import (
	"context"
	"io"
	"sync"

	"github.com/fstree/fstree/cas"
)

// Store is a cas.Store in a map. Its zero value is empty and ready.
type Store struct {
	mu       sync.RWMutex
	objects  map[cas.Digest][]byte
	partials map[claim]*partial
}

// Get opens d.
func (s *Store) Get(_ context.Context, d cas.Digest) (cas.Object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	data, ok := s.objects[d]
	if !ok {
		return nil, &cas.NotFoundError{Digest: d}
	}
	return cas.NewObject(data), nil
}

// Has tells which of ds are held.
func (s *Store) Has(_ context.Context, ds []cas.Digest) ([]bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	present := make([]bool, len(ds))
	for i, d := range ds {
		_, present[i] = s.objects[d]
	}
	return present, nil
}

// Sizes returns the lengths of ds, -1 for what is not held.
func (s *Store) Sizes(_ context.Context, ds []cas.Digest) ([]int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sizes := make([]int64, len(ds))
	for i, d := range ds {
		sizes[i] = -1
		if data, ok := s.objects[d]; ok {
			sizes[i] = int64(len(data))
		}
	}
	return sizes, nil
}

// Put stores the bytes of r as d.
func (s *Store) Put(_ context.Context, d cas.Digest, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !d.Names(data) {
		return &cas.MismatchError{Want: d, Got: cas.Sum(data)}
	}
	s.keep(d, data)
	return nil
}

// Add stores the bytes of r and names them.
func (s *Store) Add(_ context.Context, r io.Reader) (cas.Digest, int64, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return cas.Digest{}, 0, err
	}
	d := cas.Sum(data)
	s.keep(d, data)
	return d, int64(len(data)), nil
}

func (s *Store) keep(d cas.Digest, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		s.objects = map[cas.Digest][]byte{}
	}
	s.objects[d] = data
}

// Remove forgets d, and what is here of it in part.
func (s *Store) Remove(d cas.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, d)
	for c := range s.partials {
		if c.digest == d {
			delete(s.partials, c)
		}
	}
}

// Len returns the number of objects held.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.objects)
}
