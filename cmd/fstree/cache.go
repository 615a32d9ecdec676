package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/fstree/fstree/cas/disk"
)

type cacheCommand struct {
	Stats cacheStatsCommand `cmd:"" help:"Tell what the cache holds (with --json as one JSON object)."`
}

type cacheStatsCommand struct{}

// cacheStats is what "cache stats --json" prints. Sizes are in bytes.
type cacheStats struct {
	Objects     int64      `json:"objects"`
	Bytes       int64      `json:"bytes"`
	Files       int64      `json:"files"`
	FileBytes   int64      `json:"file_bytes"`
	Packs       int64      `json:"packs"`
	PackedBytes int64      `json:"packed_bytes"`
	Partial     int64      `json:"partial"`
	InPartial   int64      `json:"partial_bytes"`
	Hits        int64      `json:"hits"`
	Misses      int64      `json:"misses"`
	Oldest      *time.Time `json:"oldest,omitempty"`
}

// Run prints what the cache holds.
func (*cacheStatsCommand) Run(ctx context.Context, a *app) error {
	return a.withCache(func(cache *disk.Store) error {
		stats, err := readCacheStats(ctx, cache)
		if err != nil {
			return err
		}
		if a.JSON {
			return json.NewEncoder(a.stdout).Encode(stats)
		}
		out := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		size := func(n int64) string { return humanize.IBytes(uint64(n)) }
		fmt.Fprintf(out, "objects\t%d\t%s\n", stats.Objects, size(stats.Bytes))
		fmt.Fprintf(out, "  in packs\t%d\t%s\tin %d packs\n", stats.Objects-stats.Files, size(stats.PackedBytes), stats.Packs)
		fmt.Fprintf(out, "  in files\t%d\t%s\n", stats.Files, size(stats.FileBytes))
		fmt.Fprintf(out, "partial\t%d\t%s\n", stats.Partial, size(stats.InPartial))
		fmt.Fprintf(out, "hits\t%d\tof %d objects asked for\n", stats.Hits, stats.Hits+stats.Misses)
		if stats.Oldest != nil {
			fmt.Fprintf(out, "oldest use\t%s\n", stats.Oldest.Format(time.RFC3339))
		}
		return out.Flush()
	})
}

func readCacheStats(ctx context.Context, cache *disk.Store) (cacheStats, error) {
	stats, err := cache.Stats(ctx)
	if err != nil {
		return cacheStats{}, err
	}
	oldest, err := cache.Oldest(ctx)
	if err != nil {
		return cacheStats{}, err
	}
	s := cacheStats{
		Objects: stats.Objects, Bytes: stats.Bytes, Files: stats.Files, FileBytes: stats.InFiles,
		Packs: stats.Packs, PackedBytes: stats.InPacks,
		Partial: stats.Partial, InPartial: stats.InPartial, Hits: stats.Hits, Misses: stats.Misses,
	}
	if !oldest.IsZero() {
		s.Oldest = &oldest
	}
	return s, nil
}
