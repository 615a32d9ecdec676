package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

// addMany adds objects 0 to n of the seed.
func addMany(t *testing.T, s *Store, n int, seed uint64) {
	t.Helper()
	err := s.AddMany(t.Context(), func(a cas.Adder) error {
		for i := range n {
			if _, _, err := a.Add(t.Context(), bytes.NewReader(nth(i, seed))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("AddMany: %v", err)
	}
}

func nth(i int, seed uint64) []byte {
	return append(castest.Bytes(300, seed), fmt.Sprint(i)...)
}

func TestKnownObjectsAreNotStoredAgain(t *testing.T) {
	owner := openOwner(t, t.TempDir())
	addMany(t, owner, 3000, 1)
	before, bytes := stats(t, owner), packBytes(t, owner)
	for _, s := range []*Store{owner, openClient(t, owner.dir)} {
		addMany(t, s, 3000, 1)
		if after := stats(t, owner); after.Objects != before.Objects || after.Bytes != before.Bytes {
			t.Errorf("stats were %+v and are %+v", before, after)
		}
		if after := packBytes(t, owner); after != bytes {
			t.Errorf("the packs had %d bytes and have %d", bytes, after)
		}
	}
}

// One known object among many new ones escapes the sample.
func TestKnownObjectAmongNewOnesStaysWhereItIs(t *testing.T) {
	s := openOwner(t, t.TempDir())
	known := put(t, s, nth(1, 1))
	place := fileOf(t, s, known)
	before, err := s.lookupOne(t.Context(), known)
	if err != nil {
		t.Fatal(err)
	}
	addMany(t, s, 500, 1)
	after, err := s.lookupOne(t.Context(), known)
	if err != nil || after.place != before.place {
		t.Errorf("it was at %v and is at %v, %v", before.place, after.place, err)
	}
	if got := stats(t, s); got.Objects != 500 {
		t.Errorf("%d objects, want 500", got.Objects)
	}
	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}
	addMany(t, s, 1, 1)
	expect(t, s, nth(0, 1))
}

func TestLostObjectAmongNewOnesIsStoredAgain(t *testing.T) {
	dir := t.TempDir()
	s := openOwner(t, dir)
	lost := put(t, s, nth(1, 1))
	if err := os.Remove(fileOf(t, s, lost)); err != nil {
		t.Fatal(err)
	}
	addMany(t, s, 500, 1)
	for i := range 500 {
		expect(t, s, nth(i, 1))
	}
	if got := stats(t, s); got.Objects != 500 {
		t.Errorf("%d objects, want 500", got.Objects)
	}
}

// What could not be stored was named already, so nobody may believe in it.
func TestAddManyFailsIfAnythingCouldNotBeStored(t *testing.T) {
	s := openOwner(t, t.TempDir())
	fill := func(ctx context.Context, a cas.Adder) {
		for i := range 2 * batchCount {
			a.Add(ctx, bytes.NewReader(nth(i, 1)))
		}
	}
	broken := errors.New("no more")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	err := s.AddMany(ctx, func(a cas.Adder) error {
		fill(t.Context(), a)
		return nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("cancelled: %v", err)
	}
	if err := os.RemoveAll(s.path(packsDir)); err != nil {
		t.Fatal(err)
	}
	err = s.AddMany(t.Context(), func(a cas.Adder) error {
		fill(t.Context(), a)
		return nil
	})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without its directory: %v", err)
	}
}

func TestAddManyEndsWithTheStore(t *testing.T) {
	s := openOwner(t, t.TempDir())
	err := s.AddMany(t.Context(), func(a cas.Adder) error {
		if _, _, err := a.Add(t.Context(), bytes.NewReader(nth(0, 1))); err != nil {
			t.Error(err)
		}
		return s.Close()
	})
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
