package cached

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/fstree/fstree/cas"
)

const (
	// These bound what is in memory of batches: objects in one of them, and
	// batches at a time.
	manyObjects = 128
	manyBatches = 8

	// manyParallel is how many objects of a batch are asked for, or stored, at
	// a time where there is no better way.
	manyParallel = 32
)

// Fetch brings ds near, in one question as far as stores can, and returns when
// that is done: nil if all can be had. It is for many small objects that are
// needed soon. Like all fetches this one goes on when its caller leaves.
func (s *Store) Fetch(ctx context.Context, ds []cas.Digest) error {
	missing, err := s.Lacking(ctx, ds)
	if err != nil {
		return err
	}
	flights, err := s.joinMany(missing)
	for _, f := range flights {
		err = errors.Join(err, f.wait(ctx))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return err
}

// joinMany returns the flights of ds, starting one batch of those that are not
// on their way.
func (s *Store) joinMany(ds []cas.Digest) ([]*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && len(ds) > 0 {
		return nil, errClosed(ds[0])
	}
	flights := make([]*flight, len(ds))
	var own []cas.Digest
	for i, d := range ds {
		f, ok := s.flights[d]
		if !ok {
			f = newFlight()
			s.flights[d] = f
			own = append(own, d)
		}
		flights[i] = f
	}
	for some := range slices.Chunk(own, manyObjects) {
		b := &batch{store: s, flights: map[cas.Digest]*flight{}, left: some, landed: make(chan cas.Digest, len(some))}
		for _, d := range some {
			b.flights[d] = s.flights[d]
		}
		s.running.Go(b.run)
	}
	return flights, nil
}

// batch is a fetch of many objects.
type batch struct {
	store   *Store
	flights map[cas.Digest]*flight
	left    []cas.Digest    // neither landed nor failed
	failure error           // why the last of them was left that was told of
	landed  chan cas.Digest // what near is to store
}

// run fetches the batch and stores what lands.
func (b *batch) run() {
	b.store.batches <- struct{}{}
	defer func() { <-b.store.batches }()
	stored := make(chan struct{})
	go func() {
		defer close(stored)
		b.keep()
	}()
	err := b.store.observed(func() error { return b.store.insist(b.store.lifetime, b.fetch) })
	close(b.landed)
	for _, d := range b.left {
		b.store.finish(d, b.flights[d], err)
	}
	<-stored
}

// fetch asks far for what is left, and tells whether it is less then.
func (b *batch) fetch() (gotOn bool, err error) {
	asked := b.left
	b.left = nil
	answered := make(map[cas.Digest]struct{}, len(asked))
	err = b.store.watch(b.store.lifetime, asked[0], func(ctx context.Context, w *watched) error {
		return cas.GetUnverified(ctx, b.store.far, asked, manyParallel, func(d cas.Digest, o io.Reader, err error) error {
			w.sleep()
			defer w.wake()
			answered[d] = struct{}{}
			b.take(ctx, w, d, o, err)
			return ctx.Err()
		})
	})
	if err == nil && len(b.left) > 0 {
		err = b.failure
	}
	for _, d := range asked {
		if _, ok := answered[d]; !ok && err != nil {
			b.left = append(b.left, d)
		}
	}
	return len(b.left) < len(asked), err
}

// take takes one answer. What could not be asked for is left.
func (b *batch) take(ctx context.Context, w *watched, d cas.Digest, o io.Reader, err error) {
	f := b.flights[d]
	if err == nil {
		err = b.store.receive(ctx, d, f, o, sizeOf(o), w)
	}
	switch {
	case f.landed():
		b.store.recent.add(d, f.data)
		b.landed <- d
	case errors.Is(err, cas.ErrUnavailable) || ctx.Err() != nil:
		b.left, b.failure = append(b.left, d), err
	default:
		b.store.finish(d, f, err)
	}
}

// sizeOf returns how long something says that it is, -1 if it doesn't.
func sizeOf(r io.Reader) int64 {
	if sized, ok := r.(interface{ Size() int64 }); ok { // an object, or bytes in memory
		return sized.Size()
	}
	return -1
}

// keep stores what lands.
func (b *batch) keep() {
	open := map[cas.Digest]struct{}{}
	for d := range b.flights {
		open[d] = struct{}{}
	}
	err := cas.PutMany(b.store.outliving(), b.store.near, b.objects, manyParallel, func(d cas.Digest, err error) error {
		delete(open, d)
		b.store.finish(d, b.flights[d], err)
		return nil
	})
	for range b.landed { // a broken store may not ask for all
	}
	for d := range open {
		if f := b.flights[d]; f.landed() {
			b.store.finish(d, f, err)
		}
	}
}

// objects yields what has landed.
func (b *batch) objects(yield func(cas.Digest, cas.Object) bool) {
	for d := range b.landed {
		if !yield(d, cas.NewObject(b.flights[d].data)) {
			return
		}
	}
}
