package tree_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/cas/tree/treetest"
)

// counting counts the objects that are opened.
type counting struct {
	*memory.Store
	gets atomic.Int64
}

func (c *counting) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, d)
}

func TestWalkReadsEachDistinctTreeOnce(t *testing.T) {
	// Each level names the one below twice: 18 levels are 262,144 paths.
	s := &counting{Store: &memory.Store{}}
	level := treetest.Dir(t, s.Store, "", treetest.File(t, s.Store, "leaf", "x"))
	for range 18 {
		left, right := level, level
		left.Name, right.Name = "left", "right"
		level = treetest.Dir(t, s.Store, "", left, right)
	}
	visits := 0
	err := tree.Walk(t.Context(), s, []cas.Digest{level.Digest, level.Digest}, 4, func(_ cas.Digest, _ *tree.Tree, err error) error {
		visits++
		return err
	})
	if err != nil || visits != 19 || s.gets.Load() != 19 {
		t.Errorf("%d visits, %d reads, %v; want 19", visits, s.gets.Load(), err)
	}
}

func TestWalkStopsAtTheVisitorsError(t *testing.T) {
	var s memory.Store
	var children []tree.Entry
	for i := range 100 {
		children = append(children, treetest.Dir(t, &s, fmt.Sprint(i), treetest.File(t, &s, fmt.Sprint(i), fmt.Sprint(i))))
	}
	root := treetest.Dir(t, &s, "", children...)
	stop, visits := errors.New("stop"), 0
	err := tree.Walk(t.Context(), &s, []cas.Digest{root.Digest}, 8, func(cas.Digest, *tree.Tree, error) error {
		visits++
		if visits == 10 {
			return stop
		}
		return nil
	})
	if err != stop || visits != 10 {
		t.Errorf("%v after %d visits", err, visits)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tree.Walk(ctx, &s, []cas.Digest{root.Digest}, 8, func(cas.Digest, *tree.Tree, error) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled walk: %v", err)
	}
}

func TestFindMissing(t *testing.T) {
	var s memory.Store
	here, gone := treetest.File(t, &s, "here", "here"), treetest.File(t, &s, "gone", "gone")
	goneTree := treetest.Dir(t, &s, "goneTree", treetest.File(t, &s, "below", "below"))
	complete := treetest.Dir(t, &s, "complete", here)
	root := treetest.Dir(t, &s, "", here, gone, goneTree, complete)
	find := func(root cas.Digest) (trees, files []cas.Digest) {
		t.Helper()
		err := tree.FindMissing(t.Context(), &s, []cas.Digest{root}, 4, func(ts, fs []cas.Digest) error {
			trees, files = append(trees, ts...), append(files, fs...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return trees, files
	}
	if trees, files := find(root.Digest); len(trees)+len(files) != 0 {
		t.Errorf("a complete closure misses %v %v", trees, files)
	}
	s.Remove(gone.Digest)
	s.Remove(goneTree.Digest)
	trees, files := find(root.Digest)
	if !slices.Equal(trees, []cas.Digest{goneTree.Digest}) || !slices.Equal(files, []cas.Digest{gone.Digest}) {
		t.Errorf("missing %v %v", trees, files)
	}
	s.Remove(root.Digest)
	if trees, files := find(root.Digest); !slices.Equal(trees, []cas.Digest{root.Digest}) || len(files) != 0 {
		t.Errorf("an absent root misses %v %v", trees, files)
	}
}

func TestFindMissingReportsWhatIsNoTree(t *testing.T) {
	var s memory.Store
	bad := treetest.File(t, &s, "bad", "not a tree")
	bad.Type = tree.Dir
	root := treetest.Dir(t, &s, "", bad)
	err := tree.FindMissing(t.Context(), &s, []cas.Digest{root.Digest}, 4, func(_, _ []cas.Digest) error { return nil })
	var format *tree.FormatError
	if !errors.As(err, &format) || format.Digest != bad.Digest {
		t.Errorf("got %v, want a FormatError", err)
	}
}
