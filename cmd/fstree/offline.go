package main

import (
	"context"
	"fmt"
	"io"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// errOffline is why nothing comes from a remote that is never asked. There is
// no use in trying again.
var errOffline = fmt.Errorf("%w: the remote is not asked", cas.ErrUnavailable)

// offline is a remote that is never asked.
type offline struct{}

func (offline) Get(_ context.Context, d cas.Digest) (cas.Object, error) {
	return nil, fmt.Errorf("object %s: %w", d, errOffline)
}

func (offline) Has(context.Context, []cas.Digest) ([]bool, error) { return nil, errOffline }

func (offline) Sizes(context.Context, []cas.Digest) ([]int64, error) { return nil, errOffline }

// Slice is there so that what is here of a large file can be read.
func (offline) Slice(_ context.Context, d cas.Digest, _ bao.Slice) (io.ReadCloser, error) {
	return nil, fmt.Errorf("object %s: %w", d, errOffline)
}
