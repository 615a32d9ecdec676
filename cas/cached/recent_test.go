package cached

import (
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

func TestRecentObjectsAreHeldUntilTheyAreTaken(t *testing.T) {
	var r recent
	var ds []cas.Digest
	for i := range 3 * recentBytes / inMemory {
		data := castest.Bytes(inMemory, uint64(i))
		ds = append(ds, cas.Sum(data[:8]))
		r.add(ds[i], data)
		r.add(ds[i], data)
		if r.bytes > recentBytes {
			t.Fatalf("%d bytes are held", r.bytes)
		}
	}
	last := ds[len(ds)-1]
	if data, ok := r.take(last); !ok || !last.Names(data[:8]) {
		t.Error("the last one is not held")
	}
	if _, ok := r.take(last); ok {
		t.Error("it is held for ever")
	}
	if _, ok := r.take(ds[0]); ok {
		t.Error("the first one is still held")
	}
}
