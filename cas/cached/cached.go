// Package cached puts a near store before a far one: what is asked for comes
// from near, and what near lacks is fetched from far once, kept near, and
// served to everybody who waits for it.
package cached

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/fstree/fstree/cas"
)

// Far is what a Store fetches from.
type Far interface {
	cas.Getter
	cas.Haser
}

// Store answers from near, else from far. Make one with New, end it with Close.
type Store struct {
	near cas.Store
	far  Far

	lifetime context.Context
	end      context.CancelFunc
	fetched  atomic.Int64
	bytes    atomic.Int64

	mu      sync.Mutex
	flights map[cas.Digest]*flight
	running sync.WaitGroup
}

// flight is the one fetch of an object. err is set when done is closed.
type flight struct {
	done chan struct{}
	err  error
}

// New returns a Store over near and far. It closes neither.
func New(near cas.Store, far Far) *Store {
	lifetime, end := context.WithCancel(context.Background())
	return &Store{near: near, far: far, lifetime: lifetime, end: end, flights: map[cas.Digest]*flight{}}
}

// Close ends all fetches and waits for their end.
func (s *Store) Close() error {
	s.end()
	s.running.Wait()
	return nil
}

// Fetched returns how many objects and bytes came from far so far.
func (s *Store) Fetched() (objects, bytes int64) { return s.fetched.Load(), s.bytes.Load() }

// Get answers from the near store. On a miss it waits for the one fetch of d,
// which belongs to the Store and not to any caller: an interrupted reader stops
// waiting, the fetch goes on, and the reader's next try finds the object near.
// Where near can't keep the object (a full disk) it streams from far.
func (s *Store) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	o, err := s.near.Get(ctx, d)
	if !fetchable(err) {
		return o, err
	}
	err = s.fetch(ctx, d)
	var full *keepError
	if errors.As(err, &full) {
		return s.far.Get(ctx, d)
	}
	if err != nil {
		return nil, err
	}
	o, err = s.near.Get(ctx, d)
	if fetchable(err) { // evicted in between, or a store that forgets
		return s.far.Get(ctx, d)
	}
	return o, err
}

// fetchable tells whether a near error is mended by a fetch: the object is
// absent or damaged.
func fetchable(err error) bool {
	var mismatch *cas.MismatchError
	return errors.Is(err, cas.ErrNotFound) || errors.As(err, &mismatch)
}

func (s *Store) fetch(ctx context.Context, d cas.Digest) error {
	f := s.join(d)
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// join returns the flight of d, starting it if there is none.
func (s *Store) join(d cas.Digest) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.flights[d]; ok {
		return f
	}
	f := &flight{done: make(chan struct{})}
	s.flights[d] = f
	s.running.Go(func() {
		f.err = s.copy(d)
		s.mu.Lock()
		delete(s.flights, d)
		s.mu.Unlock()
		close(f.done)
	})
	return f
}

// keepError is a failure of the near store, not of the far one.
type keepError struct{ err error }

func (e *keepError) Error() string { return e.err.Error() }
func (e *keepError) Unwrap() error { return e.err }

func (s *Store) copy(d cas.Digest) error {
	o, err := s.far.Get(s.lifetime, d)
	if err != nil {
		return err
	}
	defer o.Close()
	counted := &countingReader{r: o}
	if err := s.near.Put(s.lifetime, d, counted); err != nil {
		if counted.err != nil {
			return counted.err
		}
		return &keepError{err}
	}
	s.fetched.Add(1)
	s.bytes.Add(counted.n)
	return nil
}

// countingReader counts bytes and remembers why they ended.
type countingReader struct {
	r   io.Reader
	n   int64
	err error // of r, io.EOF left out
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// Has tells which of ds near or far hold; far is asked only for what near lacks.
func (s *Store) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	return ask(ds,
		func(ds []cas.Digest) ([]bool, error) { return s.near.Has(ctx, ds) },
		func(ds []cas.Digest) ([]bool, error) { return s.far.Has(ctx, ds) },
		func(present bool) bool { return present })
}

// Sizes returns the lengths that near knows, else those that far claims.
func (s *Store) Sizes(ctx context.Context, ds []cas.Digest) ([]int64, error) {
	return ask(ds,
		func(ds []cas.Digest) ([]int64, error) { return cas.SizesOf(ctx, s.near, ds) },
		func(ds []cas.Digest) ([]int64, error) { return cas.SizesOf(ctx, s.far, ds) },
		func(size int64) bool { return size >= 0 })
}

// ask puts a question about ds to near, and to far for those that near has no
// answer to.
func ask[T any](ds []cas.Digest, near, far func([]cas.Digest) ([]T, error), answered func(T) bool) ([]T, error) {
	answers, err := near(ds)
	if err != nil {
		return nil, err
	}
	var open []cas.Digest
	var places []int
	for i := range answers {
		if !answered(answers[i]) {
			open, places = append(open, ds[i]), append(places, i)
		}
	}
	if len(open) == 0 {
		return answers, nil
	}
	more, err := far(open)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		answers[place] = more[i]
	}
	return answers, nil
}
