package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/scripts/internal/bench"
)

// memoryGoal is how much a command may have resident, in MB.
const memoryGoal = 150

// openGoal is how long opening and closing the store may take together.
const openGoal = 50 * time.Millisecond

// footprint prints what the store takes of memory when it is filled, each time
// in a process of its own, and how long a cache that is there takes to open.
func footprint() error {
	base, err := os.MkdirTemp(*dir, "bench-store-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	fmt.Println()
	cache := filepath.Join(base, "cache")
	for _, fill := range []struct {
		count int
		size  int64
		text  string
	}{
		{1, int64(*big) << 20, fmt.Sprintf("one object of %d MiB", *big)},
		{*objects / 5, 4 << 10, fmt.Sprintf("%d objects of 4 KiB", *objects/5)},
		{*objects, 100, fmt.Sprintf("%d objects of 100 bytes", *objects)},
	} {
		if err := os.RemoveAll(cache); err != nil {
			return err
		}
		peak, err := fillApart(cache, fill.count, fill.size)
		if err != nil {
			return err
		}
		fmt.Printf("peak memory, %-28s %4d MB   %s\n", fill.text, peak, verdict(peak <= memoryGoal, memoryGoal))
	}
	costs, err := bench.Race(5, bench.Contestant{Work: func() error { return openAndClose(cache) }})
	if err != nil {
		return err
	}
	took := costs[0].Wall
	fmt.Printf("open and close, with these       %11.1f ms   %s\n",
		float64(took.Microseconds())/1000, verdict(took <= openGoal, openGoal))
	return nil
}

func verdict(met bool, goal any) string {
	if met {
		return fmt.Sprintf("goal %v met", goal)
	}
	return fmt.Sprintf("goal %v MISSED", goal)
}

// fillApart fills a cache in another process, and returns that one's peak of
// resident memory in MB.
func fillApart(cache string, count int, size int64) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, "-fill", cache, fmt.Sprint(count), fmt.Sprint(size))
	cmd.Env = append(os.Environ(), "GOGC=50") // as fstree has it
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	peak, err := bench.Watch(cmd).Wait()
	return peak >> 10, err
}

// runFill is what the other process does: args are the number of objects and
// their size.
func runFill(cache string, args []string) error {
	var count int
	var size int64
	if _, err := fmt.Sscan(strings.Join(args, " "), &count, &size); err != nil {
		return err
	}
	return fill(cache, count, size)
}

func fill(cache string, count int, size int64) error {
	store, err := disk.Open(cache, disk.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	const workers = 8
	block := make([]byte, min(size, 1<<20))
	rand.NewChaCha8([32]byte{1}).Read(block)
	group, ctx := errgroup.WithContext(context.Background())
	for worker := range workers {
		group.Go(func() error {
			for i := worker; i < count; i += workers {
				if _, _, err := store.Add(ctx, object(block, size, i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// object has size bytes, which are block again and again behind the number i.
func object(block []byte, size int64, i int) io.Reader {
	readers := []io.Reader{bytes.NewReader(binary.LittleEndian.AppendUint64(nil, uint64(i)))}
	for left := size - 8; left > 0; left -= int64(len(block)) {
		readers = append(readers, bytes.NewReader(block[:min(left, int64(len(block)))]))
	}
	return io.MultiReader(readers...)
}

func openAndClose(cache string) error {
	store, err := disk.Open(cache, disk.Options{})
	if err != nil {
		return err
	}
	if _, err := store.Stats(context.Background()); err != nil {
		return err
	}
	return store.Close()
}
