package disk

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/fstree/fstree/cas"
)

// unheard writes a batch to a pack of its own, and lets go of it before it is
// entered, as a writer does that is killed.
func unheard(t *testing.T, s *Store) []item {
	t.Helper()
	w := newPackWriter(0)
	defer w.close()
	b := newBatch()
	defer b.release()
	b.add(cas.Sum(nth(1, 1)), nth(1, 1))
	if err := w.write(s, b); err != nil {
		t.Fatal(err)
	}
	return append([]item(nil), b.items...)
}

func TestWhatIsHeardOfLateIsNoLie(t *testing.T) {
	s := openOwner(t, t.TempDir())
	x := s.ways.current.(*owner)
	items := unheard(t, s)
	if err := x.compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := x.record(t.Context(), items, limits{}); !errors.Is(err, errPackGone) {
		t.Errorf("after the pack was compacted: %v", err)
	}
	expectAbsent(t, s, items[0].digest)

	items = unheard(t, s)
	path := s.packPath(items[0].entry.place.pack)
	if err := x.record(context.Background(), items, limits{}); err != nil {
		t.Fatal(err)
	}
	if err := x.removeUnused(items[0].entry.place.pack, path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the pack: %v", err)
	}
	expect(t, s, nth(1, 1))
}
