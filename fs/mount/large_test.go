package mount

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

func TestTableTakesFewBytesPerEntry(t *testing.T) {
	s, d, err := newSynthetic(1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var content *tree.Tree
	for d = range s.dirs {
		if content, err = tree.Read(t.Context(), s, d); err != nil {
			t.Fatal(err)
		}
	}
	const dirs = 1000
	before := heap()
	table := newTable()
	opened := openMany(t, table, d, content, dirs)
	perEntry := float64(heap()-before) / float64(opened)
	if perEntry > 24 {
		t.Errorf("%.1f bytes per entry", perEntry)
	}
	runtime.KeepAlive(table)
}

// The bounds of a namespace are bounds of its memory.
func TestWeightIsTheMemoryOfATable(t *testing.T) {
	const dirs = 50_000
	content, err := tree.New([]tree.Entry{{Name: "dir", Type: tree.Dir, Perm: 0o755, Digest: cas.Sum(nil)}})
	if err != nil {
		t.Fatal(err)
	}
	var digests [dirs]cas.Digest
	for i := range digests {
		digests[i] = cas.Sum([]byte{byte(i), byte(i >> 8)})
	}
	before, sum := heap(), new(atomic.Int64)
	table := newTable()
	table.reportTo(sum)
	for id, d := range digests {
		if _, err := table.open(uint32(id), d, content); err != nil {
			t.Fatal(err)
		}
	}
	taken := float64(heap() - before)
	runtime.KeepAlive(&digests)
	if weight := float64(sum.Load()); weight < taken/1.25 || weight > taken*1.25 {
		t.Errorf("%.0f bytes are taken, and %.0f counted", taken, weight)
	}
	t.Logf("%.0f bytes a directory", taken/dirs)
	table.reportTo(nil)
	if n := sum.Load(); n != 0 {
		t.Errorf("%d bytes are counted of nothing", n)
	}
}

// openMany opens the nodes of content as if each were a directory of the same
// content, and returns how many entries that makes.
func openMany(t *testing.T, table *table, d cas.Digest, content *tree.Tree, n int) (entries int) {
	for id := range uint32(n) {
		if _, err := table.open(id, d, content); err != nil {
			t.Fatal(err)
		}
		entries += content.Len()
	}
	return entries
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestMemoryFollowsWhatWasListed(t *testing.T) {
	m := mountChild(t, childOptions{Synthetic: [2]int{100, 1000}})
	if _, err := os.ReadDir(m.path("dir000050")); err != nil {
		t.Fatal(err)
	}
	if n := m.report().Stats.Entries; n != 1100 {
		t.Errorf("%d entries are known, want those of two directories", n)
	}
}

func TestLargeDirectoryIsListed(t *testing.T) {
	m := mountChild(t, childOptions{Synthetic: [2]int{1, 100_000}})
	for range 2 {
		start := time.Now()
		names, err := os.ReadDir(m.path("dir000000"))
		if err != nil || len(names) != 100_000 {
			t.Fatalf("%d names, %v", len(names), err)
		}
		if took := time.Since(start); took > waitLimit { // it must not be quadratic
			t.Errorf("it took %v", took)
		}
	}
	if info, err := os.Stat(m.path("dir000000", "file-000000-099999")); err != nil || info.Size() != 12345 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestHeapStaysSmall(t *testing.T) {
	for _, p := range []Prefetch{PrefetchNothing, PrefetchTrees} {
		m := prefetched(t, childOptions{Synthetic: [2]int{200, 1000}, Options: Options{Prefetch: p}})
		if out, err := exec.CommandContext(t.Context(), "find", m.dir).Output(); err != nil || bytes.Count(out, []byte("\n")) != 200_201 {
			t.Fatalf("%d entries, %v", bytes.Count(out, []byte("\n")), err)
		}
		if r := m.report(); r.Stats.Entries != 200_200 || r.HeapBytes > 2*treesWeight {
			t.Errorf("%d entries, %d bytes of heap", r.Stats.Entries, r.HeapBytes)
		}
	}
}
