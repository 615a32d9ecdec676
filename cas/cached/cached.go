// Package cached puts a near store before a far one: what is asked for comes
// from near, and what near lacks is fetched from far once, kept near, and
// served to everybody who waits for it.
//
// Near is a cache and no authority: where it is broken or full, far answers
// alone.
//
// A large object is used before it is here: where far proves ranges and near
// keeps them, Open fetches what is read of it, and what a sequential reader
// will read next. See Lazy.
package cached

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// Far is what a Store fetches from.
type Far interface {
	cas.Getter
	cas.Haser
}

// DefaultSilence is how long far may send nothing before a fetch fails.
const DefaultSilence = 30 * time.Second

// Store answers from near, else from far. Make one with New, end it with Close.
type Store struct {
	// Silence is how long far may send nothing before a fetch fails with
	// ErrUnavailable. Set it before the first use; 0 is DefaultSilence.
	Silence time.Duration
	// Observe, if not nil, is told how long every fetch took, of an object, a
	// range or a batch, and how it ended. Set it before the first use.
	Observe func(took time.Duration, err error)

	near cas.Store
	far  Far

	lifetime  context.Context
	end       context.CancelFunc
	lastHeard atomic.Int64 // when far said something, in Unix nanoseconds
	unkept    unkept
	recent    recent
	aheads    chan struct{} // one for each range that is fetched ahead
	batches   chan struct{} // one for each batch that is fetched
	stats     counters

	mu         sync.Mutex
	closed     bool
	flights    map[cas.Digest]*flight
	lazies     map[claim]*lazy
	unprovable map[cas.Digest]time.Time // from when on each is fetched whole
	running    sync.WaitGroup
}

// New returns a Store over near and far. It closes neither.
func New(near cas.Store, far Far) *Store {
	lifetime, end := context.WithCancel(context.Background())
	return &Store{
		near: near, far: far, lifetime: lifetime, end: end,
		aheads:     make(chan struct{}, aheadParallel),
		batches:    make(chan struct{}, manyBatches),
		flights:    map[cas.Digest]*flight{},
		lazies:     map[claim]*lazy{},
		unprovable: map[cas.Digest]time.Time{},
	}
}

// Close ends all fetches and waits for their end. What is asked for then comes
// from near or fails with ErrUnavailable.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.running.Wait()
	return nil
}

// begin counts something that runs, unless the Store is closed.
func (s *Store) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// Get answers from the near store. On a miss it waits for the one fetch of d,
// which belongs to the Store and not to any caller: an interrupted reader stops
// waiting, the fetch goes on, and the reader's next try finds the object near.
// A small object can be had as soon as it has come, while near still stores it.
// Where near can't keep the object (a full disk) it streams from far.
func (s *Store) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	o, err := s.fromNear(ctx, d)
	if err == nil {
		return o, nil
	}
	return s.getAbsent(ctx, d, err)
}

// fromNear opens what is here.
func (s *Store) fromNear(ctx context.Context, d cas.Digest) (cas.Object, error) {
	if data, ok := s.recent.take(d); ok {
		s.stats.hits.Add(1)
		return cas.NewObject(data), nil
	}
	o, err := s.near.Get(ctx, d)
	if err == nil {
		s.stats.hits.Add(1)
	}
	return o, err
}

// TakeAhead hands over a small object that was fetched ahead, if nobody has
// asked for it yet.
func (s *Store) TakeAhead(d cas.Digest) (data []byte, ok bool) {
	if data, ok = s.recent.take(d); ok {
		s.stats.hits.Add(1)
	}
	return data, ok
}

// getAbsent fetches d, which near has refused with nearErr.
func (s *Store) getAbsent(ctx context.Context, d cas.Digest, nearErr error) (cas.Object, error) {
	s.stats.misses.Add(1)
	if !cas.IsAbsent(nearErr) {
		return s.without(ctx, d, nearErr)
	}
	f, err := s.fetch(ctx, d)
	if keep := (*bao.KeepError)(nil); errors.As(err, &keep) {
		s.stats.unkept.Add(1)
		return s.without(ctx, d, keep.Err)
	}
	if err != nil {
		return nil, err
	}
	if f.data != nil {
		return cas.NewObject(f.data), nil
	}
	o, nearErr := s.near.Get(ctx, d)
	if nearErr == nil {
		return o, nil
	}
	return s.without(ctx, d, nearErr) // evicted in between, or a store that forgets
}

// without answers from far alone, near having failed with nearErr.
func (s *Store) without(ctx context.Context, d cas.Digest, nearErr error) (cas.Object, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	o, err := s.far.Get(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("%w; near: %w", err, nearErr)
	}
	return o, nil
}

// Has tells which of ds near or far hold; far is asked only for what near lacks.
func (s *Store) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	present, err := ask(ds, false,
		func(ds []cas.Digest) ([]bool, error) { return s.near.Has(ctx, ds) },
		func(ds []cas.Digest) ([]bool, error) { return s.far.Has(ctx, ds) })
	if err != nil {
		return nil, err
	}
	return present, nil
}

// Sizes returns the lengths that near knows, else those that far claims. What
// near knows is there even if far can't be asked.
func (s *Store) Sizes(ctx context.Context, ds []cas.Digest) ([]int64, error) {
	return ask(ds, -1,
		func(ds []cas.Digest) ([]int64, error) { return cas.SizesOf(ctx, s.near, ds) },
		func(ds []cas.Digest) ([]int64, error) { return cas.SizesOf(ctx, s.far, ds) })
}

// ask puts a question about ds to near, and to far for those that near has no
// answer to. Beside an error of far stands what near has answered.
func ask[T comparable](ds []cas.Digest, unknown T, near, far func([]cas.Digest) ([]T, error)) ([]T, error) {
	answers, err := near(ds)
	if err != nil {
		return far(ds)
	}
	var open []cas.Digest
	var places []int
	for i := range answers {
		if answers[i] == unknown {
			open, places = append(open, ds[i]), append(places, i)
		}
	}
	if len(open) == 0 {
		return answers, nil
	}
	more, err := far(open)
	if len(more) != len(open) {
		return answers, err
	}
	for i, place := range places {
		answers[place] = more[i]
	}
	return answers, err
}

// Near opens d if near holds it, and asks far for nothing.
func (s *Store) Near(ctx context.Context, d cas.Digest) (cas.Object, error) {
	return s.near.Get(ctx, d)
}
