package mount

import (
	"os"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

func TestSweepIsFasterThanItsRoundTrips(t *testing.T) {
	source := realTree(t)
	m := mountChild(t, childOptions{Source: source})
	const delay = 150 * time.Millisecond // so long that little else counts on a busy machine
	m.fault("get slow " + delay.String() + " files")
	names, err := os.ReadDir(m.path("http"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	files := 0
	for _, name := range names {
		if name.Type().IsRegular() {
			files++
			if _, err := os.ReadFile(m.path("http", name.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if took, turns := time.Since(start), time.Duration(files)*delay; took > turns/2 {
		t.Errorf("%d files took %v, one by one they take %v", files, took, turns)
	}
}

func TestReadersOutOfOrderFetchNothingElse(t *testing.T) {
	m := mountChild(t, childOptions{Source: realTree(t)})
	names := []string{"udpsock.go", "dial.go", "tcpsock.go", "addrselect.go", "pipe.go", "conf.go", "lookup.go", "cgo_stub.go"}
	for _, name := range names {
		if _, err := os.ReadFile(m.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.report().Stats.Objects; n != int64(len(names)) {
		t.Errorf("%d files were fetched for %d", n, len(names))
	}
}

// sweepTable is a root with dirs directories of files files each. It returns
// the first node of each directory.
func sweepTable(t *testing.T, dirs, files int) (*table, []uint32) {
	t.Helper()
	s, rootDigest, err := newSynthetic(dirs, files)
	if err != nil {
		t.Fatal(err)
	}
	table := newTable()
	var firsts []uint32
	open := func(id uint32, d cas.Digest) dir {
		content, err := tree.Read(t.Context(), s, d)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := table.open(id, d, content)
		if err != nil {
			t.Fatal(err)
		}
		for i := range opened.count {
			table.setSizes([]uint32{opened.first + i}, []int64{1000})
		}
		return opened
	}
	top := open(root, rootDigest)
	content, _ := tree.Read(t.Context(), s, rootDigest)
	for i := range top.count {
		firsts = append(firsts, open(top.first+i, content.At(int(i)).Digest).first)
	}
	return table, firsts
}

func TestSweepLooksFurtherAheadWithEveryStep(t *testing.T) {
	table, firsts := sweepTable(t, 30, 10)
	s := &sweeps{}
	fetched := map[uint32]bool{}
	missed := 0
	for i, first := range firsts {
		for id := first; id < first+10; id++ {
			if !fetched[id] {
				missed++
			}
			for _, step := range s.step(table, id) {
				if fetched[step.id] || step.id == id {
					t.Errorf("node %d is fetched twice", step.id)
				}
				fetched[step.id] = true
			}
		}
		if len(s.kept) != 1 {
			t.Fatalf("directory %d: it is taken for %d sweeps", i, len(s.kept))
		}
	}
	if missed > sweepStart+1 {
		t.Errorf("%d files were not fetched ahead", missed)
	}
}

func TestParallelReadersAreOneSweep(t *testing.T) {
	table, firsts := sweepTable(t, 1, 1000)
	s := &sweeps{}
	fetched, missed := map[uint32]bool{}, 0
	for i := range uint32(1000) {
		id := firsts[0] + i ^ 3 // 3, 2, 1, 0, 7, 6, 5, 4
		if !fetched[id] {
			missed++
		}
		for _, step := range s.step(table, id) {
			fetched[step.id] = true
		}
	}
	if missed > 20 {
		t.Errorf("%d files were not fetched ahead", missed)
	}
}

func TestReadersOfSomeFilesAreNoSweep(t *testing.T) {
	table, firsts := sweepTable(t, 100, 20)
	s := &sweeps{}
	for round := range uint32(3) {
		for _, first := range firsts {
			if found := s.step(table, first+5*round); len(found) > 0 {
				t.Fatalf("%d files are fetched", len(found))
			}
		}
	}
	if len(s.kept) > sweepsKept {
		t.Errorf("%d sweeps are kept", len(s.kept))
	}
}

func TestSweepIsBounded(t *testing.T) {
	table, firsts := sweepTable(t, 1, 1000)
	for id := firsts[0]; id < firsts[0]+1000; id++ {
		table.correct(id, 1<<20)
	}
	s := &sweeps{}
	ahead := 0
	for i := range uint32(100) {
		ahead += len(s.step(table, firsts[0]+i))
	}
	if most := 100 + sweepBytes>>20 + 1; ahead > most {
		t.Errorf("%d files of a megabyte were fetched after 100 steps", ahead)
	}
}

func TestDirectoriesThatAreAlikeShareTheirSizes(t *testing.T) {
	s, d, err := newSynthetic(1, 10)
	if err != nil {
		t.Fatal(err)
	}
	content, err := tree.Read(t.Context(), s, d)
	if err != nil {
		t.Fatal(err)
	}
	below := content.At(0).Digest
	if content, err = tree.Read(t.Context(), s, below); err != nil {
		t.Fatal(err)
	}
	table := newTable()
	first, _ := table.open(root, below, content)
	table.setSizes([]uint32{first.first + 3}, []int64{1234})
	second, _ := table.open(first.first+9, below, content) // as if that were a directory
	for i := range uint32(9) {
		want := int64(sizeUnasked)
		if i == 3 {
			want = 1234
		}
		if n, _ := table.get(second.first + i); n.size != want {
			t.Errorf("entry %d: size %d, want %d", i, n.size, want)
		}
	}
}

func TestSweepIsFollowedByEveryEighthFile(t *testing.T) {
	table, firsts := sweepTable(t, 100, 20)
	s := &sweeps{}
	fetched, missed := map[uint32]bool{}, 0
	step := func(id uint32) {
		if !fetched[id] {
			missed++
		}
		for _, next := range s.step(table, id) {
			fetched[next.id] = true
		}
	}
	for _, first := range firsts {
		for i := range uint32(20) {
			if id := first + i; !fetched[id] || i%pushLess == 0 {
				step(id)
			}
		}
	}
	if missed > sweepStart+1 || len(s.kept) != 1 {
		t.Errorf("%d files were not fetched ahead, %d sweeps are told apart", missed, len(s.kept))
	}
}
