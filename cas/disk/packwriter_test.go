package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
)

// TestPacksDoNotMultiply has many processes, one after the other, fill packs side
// by side.
func TestPacksDoNotMultiply(t *testing.T) {
	dir := t.TempDir()
	for round := range 10 {
		s := openOwner(t, dir)
		err := s.AddMany(t.Context(), func(a cas.Adder) error {
			var workers errgroup.Group
			for worker := range 8 {
				workers.Go(func() error {
					for i := range 200 {
						data := bytes.Repeat(fmt.Appendf(nil, "%d %d %d ", round, worker, i), 2000)
						if _, _, err := a.Add(t.Context(), bytes.NewReader(data)); err != nil {
							return err
						}
					}
					return nil
				})
			}
			return workers.Wait()
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := stats(t, s); got.Packs > got.InPacks/packLimit+maxWriters {
			t.Fatalf("%d packs with %d bytes in them", got.Packs, got.InPacks)
		}
		s.Close()
	}
}

func TestPackThatNobodyAppendsToIsLeftToOthers(t *testing.T) {
	s := openOwner(t, t.TempDir())
	free := func(d cas.Digest) bool {
		t.Helper()
		f, err := os.Open(fileOf(t, s, d))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return lock(f)
	}
	for i := range 2 {
		d := put(t, s, nth(i, 1))
		s.writers.sweep()
		if free(d) {
			t.Error("somebody else may append right after a batch")
		}
		s.writers.sweep()
		if !free(d) {
			t.Error("nobody else may append as long as the store is open")
		}
	}
}

func TestStoreMayBeClosedByManyAtOnce(t *testing.T) {
	s := openOwner(t, t.TempDir())
	put(t, s, nth(1, 1))
	var all errgroup.Group
	for range 8 {
		all.Go(s.Close)
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

// TestWhatNobodyWaitsForIsBounded has many put objects, and give up, while nothing
// can be stored.
func TestWhatNobodyWaitsForIsBounded(t *testing.T) {
	s := openOwner(t, t.TempDir())
	turns := s.writers.turns
	for range cap(turns) {
		turns <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var all errgroup.Group
	for i := range 500 {
		all.Go(func() error {
			_, _, err := s.Add(ctx, bytes.NewReader(append(make([]byte, 20_000), nth(i, 1)...)))
			return err
		})
	}
	if err := all.Wait(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the end of the context", err)
	}
	s.packer.mu.Lock()
	if n := len(s.packer.parcels); n != maxParcels {
		t.Errorf("%d parcels wait, want %d", n, maxParcels)
	}
	s.packer.mu.Unlock()
	for range cap(turns) {
		<-turns
	}
	put(t, s, nth(1, 2))
	expect(t, s, nth(1, 2))
}
