package main

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/fstree/fstree/cas/disk"
)

type evictCommand struct{}

// Run shrinks the cache to its size and tells what that removed.
func (*evictCommand) Run(ctx context.Context, a *app) error {
	return a.withCache(func(cache *disk.Store) error {
		objects, bytes, err := cache.Evict(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "evicted %d objects, %s\n", objects, humanize.IBytes(uint64(bytes)))
		return err
	})
}
