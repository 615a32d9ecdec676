package disk

import (
	"slices"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

func TestStoreThatHoldsLosesNothingItHasMet(t *testing.T) {
	dir := t.TempDir()
	other := open(t, dir, Options{})
	met := put(t, other, castest.Bytes(1000, 1))
	unmet := put(t, other, castest.Bytes(1000, 2))
	s := open(t, dir, Options{Size: 1, Hold: true})
	if _, err := s.Get(t.Context(), met); err != nil {
		t.Fatal(err)
	}
	stored := []cas.Digest{met, put(t, s, castest.Bytes(2000, 3)), put(t, s, castest.Bytes(200_000, 4))}
	for range 3 {
		if _, _, err := s.Evict(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	present, err := other.Has(t.Context(), append(stored, unmet))
	if err != nil || !slices.Equal(present, []bool{true, true, true, false}) {
		t.Errorf("after eviction: %v, %v", present, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	last := open(t, dir, Options{Size: 1})
	if n, _, err := last.Evict(t.Context()); err != nil || n != 3 {
		t.Errorf("after the end of the holder %d objects went, %v", n, err)
	}
}

// TestWhatIsHeldDuringAnEvictionCounts: an eviction reads on where it has read a
// hold, and what it has read stays held until its end.
func TestWhatIsHeldDuringAnEvictionCounts(t *testing.T) {
	s := openOwner(t, t.TempDir())
	ds := []cas.Digest{cas.Sum([]byte("a")), cas.Sum([]byte("b")), cas.Sum([]byte("c"))}
	first, second := newHold(t, s), newHold(t, s)
	h := holds{store: s}
	expectHeld := func(want ...bool) {
		t.Helper()
		if err := h.refresh(); err != nil {
			t.Fatal(err)
		}
		for i, d := range ds {
			if held := h.hasAny(nameOf(d)[1:]); held != want[i] {
				t.Errorf("object %d is held: %v", i, held)
			}
		}
	}
	first.Add(ds[0])
	expectHeld(true, false, false)
	first.Add(ds[1])
	expectHeld(true, true, false)
	second.Add(ds[1], ds[2])
	first.Close()
	expectHeld(true, true, true)
	if len(h.early)+len(h.late) != 4 {
		t.Errorf("four times something was held, but %d and %d names were read", len(h.early), len(h.late))
	}
}

func newHold(t *testing.T, s *Store) *Hold {
	t.Helper()
	h, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}
