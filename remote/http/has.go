package http

import (
	"context"
	"errors"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/remote/internal/wire"
)

// Has tells which of ds the server holds.
func (s *Store) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	present := make([]bool, len(ds))
	err := s.headAll(ctx, ds, func(i int, _ int64) { present[i] = true })
	if err != nil {
		return nil, err
	}
	return present, nil
}

// Sizes returns the lengths that the server claims, -1 for what it does not
// hold or does not tell.
func (s *Store) Sizes(ctx context.Context, ds []cas.Digest) ([]int64, error) {
	sizes := make([]int64, len(ds))
	for i := range sizes {
		sizes[i] = -1
	}
	err := s.headAll(ctx, ds, func(i int, size int64) { sizes[i] = size })
	if err != nil {
		return nil, err
	}
	return sizes, nil
}

// headAll asks for every one of ds, many at a time, and calls found for those
// that are there, each i once, from many goroutines.
func (s *Store) headAll(ctx context.Context, ds []cas.Digest, found func(i int, size int64)) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(s.opt.Parallel)
	for i, d := range ds {
		group.Go(func() error {
			size, err := s.head(groupCtx, d)
			if errors.Is(err, cas.ErrNotFound) {
				return nil
			}
			if err == nil {
				found(i, size)
			}
			return err
		})
	}
	return group.Wait()
}

// head returns the size of d, -1 if the server does not tell.
func (s *Store) head(ctx context.Context, d cas.Digest) (int64, error) {
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	defer dog.Stop()
	response, err := s.do(s.request(ctx, http.MethodHead, d))
	if err != nil {
		return 0, s.named(err)
	}
	discard(response.Body)
	if response.StatusCode != http.StatusOK {
		return 0, s.named(statusError(http.MethodHead, d, response))
	}
	return response.ContentLength, nil
}
