package main

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"
)

type evictCommand struct{}

// Run shrinks the cache to its size and tells what that removed.
func (*evictCommand) Run(ctx context.Context, a *app) error {
	cache, err := a.openCache()
	if err != nil {
		return err
	}
	defer cache.Close()
	objects, bytes, err := cache.Evict(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "evicted %d objects, %s\n", objects, humanize.IBytes(uint64(bytes)))
	return err
}
