package mount

import (
	"os"
	"testing"
	"time"
)

func TestSweepIsFasterThanItsRoundTrips(t *testing.T) {
	source := realTree(t)
	m := mountChild(t, childOptions{Source: source})
	m.fault("get slow 50ms files")
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
	if took, turns := time.Since(start), time.Duration(files)*50*time.Millisecond; took > turns/2 {
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

func TestSweepSteps(t *testing.T) {
	s := newSweeps()
	d := dir{first: 100, count: 50}
	for _, step := range []struct{ id, from, to uint32 }{
		{100, 0, 0}, {101, 0, 0}, {102, 0, 0},
		{103, 104, 107}, // as many ahead as there were steps in order
		{104, 107, 109},
		{110, 111, 116},
		{140, 0, 0}, // out of order
		{141, 142, 145},
		{148, 149, 150}, // the end
		{149, 150, 150},
	} {
		from, to := s.step(d, step.id)
		if from != step.from || to != step.to {
			t.Errorf("step to %d: from %d to %d, want from %d to %d", step.id, from, to, step.from, step.to)
		}
	}
	next := dir{first: 300, count: 50}
	if from, to := s.step(next, 300); from != 301 || to != 301+sweepGrowth {
		t.Errorf("in the next directory: from %d to %d", from, to)
	}
}

func TestFirstFilesOfDirectoriesAreNoSweep(t *testing.T) {
	s := newSweeps()
	for i := range uint32(10 * sweepDirs) {
		d := dir{first: 1000 + i*10, count: 10}
		if from, to := s.step(d, d.first+i%sweepGap); from < to {
			t.Fatalf("directory %d: from %d to %d", i, from, to)
		}
	}
	if len(s.dirs) > sweepDirs {
		t.Errorf("%d directories are remembered", len(s.dirs))
	}
}
