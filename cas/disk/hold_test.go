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
