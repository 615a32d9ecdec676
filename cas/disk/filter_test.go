package disk

import (
	"encoding/binary"
	"testing"

	"github.com/fstree/fstree/cas"
)

func TestFilterLacksNothingThatWasAdded(t *testing.T) {
	var f filter
	name := func(i int) cas.Digest { return cas.Sum(binary.LittleEndian.AppendUint64(nil, uint64(i))) }
	for i := range 200_000 {
		f.add(name(i))
	}
	unknown := 0
	for i := range 200_000 {
		if f.lacks(name(i)) {
			t.Fatalf("number %d was added", i)
		}
		if !f.lacks(name(-1 - i)) {
			unknown++
		}
	}
	if unknown > 200 {
		t.Errorf("nothing is known of %d strangers among 200000", unknown)
	}
}

// TestFilterIsMadeBesideWriters opens an index that is there, and stores and asks
// until it has a filter.
func TestFilterIsMadeBesideWriters(t *testing.T) {
	dir := t.TempDir()
	s := openOwner(t, dir)
	addMany(t, s, 6000, 1)
	s.Close()

	s = openOwner(t, dir)
	x := owned(s)
	if x.strangers.filter.Load() != nil {
		t.Error("there is a filter before anybody needs it")
	}
	for i := range 20 {
		addMany(t, s, 200*(i+1), 2)
	}
	x.background.Wait()
	if !x.strangers.whole.Load() {
		t.Fatal("there is no filter")
	}
	before := x.strangers.looks.Load()
	addMany(t, s, 4000, 3)
	if looks := x.strangers.looks.Load() - before; looks > 100 {
		t.Errorf("the index was looked at for %d strangers of 4000", looks)
	}
	for _, of := range []struct{ n, seed int }{{6000, 1}, {4000, 2}, {4000, 3}} {
		for i := range of.n {
			if !has(t, s, cas.Sum(nth(i, uint64(of.seed)))) {
				t.Fatalf("object %d of %d is taken for new", i, of.seed)
			}
		}
		addMany(t, s, of.n, uint64(of.seed))
	}
	if got := stats(t, s); got.Objects != 14000 {
		t.Errorf("%d objects, want 14000", got.Objects)
	}
	expectExactTotals(t, s)
}
