package main

import (
	"context"
	"fmt"

	"github.com/fstree/fstree/cas"
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
