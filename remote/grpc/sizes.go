package grpc

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
	"github.com/fstree/fstree/remote/internal/wire"
)

// sizesBatch bounds the digests of one GetSizes: 330 KB there, and less back.
const sizesBatch = 10_000

// Sizes returns the lengths that the server claims, -1 for what it does not
// hold or does not know. A server without the extension knows none.
func (s *Store) Sizes(ctx context.Context, ds []cas.Digest) ([]int64, error) {
	sizes := make([]int64, len(ds))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(s.opt.Parallel)
	for start := 0; start < len(ds); start += sizesBatch {
		end := min(start+sizesBatch, len(ds))
		group.Go(func() error { return s.someSizes(groupCtx, ds[start:end], sizes[start:end]) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return sizes, nil
}

func (s *Store) someSizes(ctx context.Context, ds []cas.Digest, sizes []int64) error {
	for i := range sizes {
		sizes[i] = -1
	}
	if s.extension.isAbsent() {
		return nil
	}
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	defer dog.Stop()
	response, err := s.store.GetSizes(ctx, &pb.GetSizesRequest{Digests: bulk.AppendDigests(nil, ds)})
	if s.extension.missing(err) {
		return nil
	}
	if err != nil {
		return s.fail(ctx, cas.Digest{}, err)
	}
	if len(response.Size) != len(ds) {
		return fmt.Errorf("%s: %d answers to %d questions", s.url, len(response.Size), len(ds))
	}
	for i, size := range response.Size {
		sizes[i] = bulk.SizeFromWire(size)
	}
	return nil
}
