package mount

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// prefetched mounts and waits until nothing is read ahead any more.
func prefetched(t *testing.T, o childOptions) *mounted {
	t.Helper()
	m := mountChild(t, o)
	eventually(t, func() error {
		if m.report().Stats.Prefetching {
			return errors.New("it still reads ahead")
		}
		return nil
	})
	return m
}

func TestPrefetchedTreesAreListedWithoutTheRemote(t *testing.T) {
	source := realTree(t)
	m := prefetched(t, childOptions{Source: source, Options: Options{Prefetch: PrefetchTrees}})
	m.fault("sizes fail")
	m.fault("get fail")
	out, err := exec.CommandContext(t.Context(), "ls", "-lR", m.dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.ReadFile(m.path("dial.go")); !errors.Is(err, unix.EIO) {
		t.Errorf("content: %v, want EIO, for it was not to be read ahead", err)
	}
	if n := m.report().Stats.Objects; n != 0 {
		t.Errorf("%d files were read", n)
	}
}

func TestPrefetchedFilesAreReadWithoutTheRemote(t *testing.T) {
	source := realTree(t)
	m := prefetched(t, childOptions{Source: source, Cached: true, Options: Options{Prefetch: PrefetchAll}})
	m.fault("get fail")
	if err := compareTrees(source, m.dir); err != nil {
		t.Error(err)
	}
}

// Nineteen trees that name each other twice have 262,144 paths.
func TestPrefetchReadsEveryDistinctTreeOnce(t *testing.T) {
	m := prefetched(t, childOptions{Doubled: 18, Options: Options{Prefetch: PrefetchTrees}})
	if n := m.report().Stats.Directories; n != 19 {
		t.Errorf("%d directories are open, want 19", n)
	}
}

func TestPrefetchGivesUpOnABrokenRemote(t *testing.T) {
	source := realTree(t)
	m := prefetched(t, childOptions{Source: source, Faults: "sizes fail", Options: Options{Prefetch: PrefetchTrees}})
	m.expectLog("read ahead failed", "the far store is broken")
	if n := m.report().SizesAsked; n > prefetchFailures+prefetchParallel {
		t.Errorf("it went on for %d failures", n)
	}
}

func TestPrefetchGivesWayForABoundedTime(t *testing.T) {
	const limit = 50 * time.Millisecond
	p := prefetcher{fileSystem: &fileSystem{shared: &shared{}}}
	start := time.Now()
	p.giveWay(time.Minute)
	p.stats.waiting.Store(1)
	p.giveWay(limit)
	if took := time.Since(start); took < limit || took > 100*limit {
		t.Errorf("it gave way for %v", took)
	}
}

func TestPrefetchIsText(t *testing.T) {
	for _, p := range []Prefetch{PrefetchNothing, PrefetchTrees, PrefetchAll} {
		var again Prefetch
		text, _ := p.MarshalText()
		if err := again.UnmarshalText(text); err != nil || again != p {
			t.Errorf("%s: %v, %v", text, again, err)
		}
	}
	if err := new(Prefetch).UnmarshalText([]byte("some")); err == nil {
		t.Error("there is no such value")
	}
}

func TestReadAheadCountsBeforeItBegins(t *testing.T) {
	s, release := &shared{}, make(chan struct{})
	s.inBackground(func() { <-release })
	if n := s.stats.prefetching.Load(); n != 1 {
		t.Errorf("%d reads ahead", n)
	}
	close(release)
	s.running.Wait()
	if n := s.stats.prefetching.Load(); n != 0 {
		t.Errorf("%d reads ahead after the end", n)
	}
}
