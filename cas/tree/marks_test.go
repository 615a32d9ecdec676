package tree_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/cas/tree/treetest"
)

// marker is a store in an epoch, which counts what it is asked.
type marker struct {
	memory.Store
	epoch  string
	marked map[string][]cas.Digest
	asked  atomic.Int64
}

func (m *marker) Epoch(context.Context) (string, error) { return m.epoch, nil }

func (m *marker) Mark(epoch string, ds []cas.Digest) {
	m.marked[epoch] = append(m.marked[epoch], ds...)
}

func (m *marker) Marked(epoch string) func(cas.Digest) bool {
	marked := m.marked[epoch]
	return func(d cas.Digest) bool { return slices.Contains(marked, d) }
}

func (m *marker) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	m.asked.Add(1)
	return m.Store.Get(ctx, d)
}

func (m *marker) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	m.asked.Add(int64(len(ds)))
	return m.Store.Has(ctx, ds)
}

// expect asks for the closure of root.
func (m *marker) expect(t *testing.T, what string, root cas.Digest, missing int, asked int64) {
	t.Helper()
	m.asked.Store(0)
	found := 0
	err := tree.FindMissing(t.Context(), m, []cas.Digest{root}, 4, func(trees, files []cas.Digest) error {
		found += len(trees) + len(files)
		return nil
	})
	if err != nil || found != missing || m.asked.Load() != asked {
		t.Errorf("%s: %d objects are missing, want %d; %d questions, want %d; %v", what, found, missing, m.asked.Load(), asked, err)
	}
}

func TestCompleteClosureIsWalkedOnce(t *testing.T) {
	m := &marker{epoch: "one", marked: map[string][]cas.Digest{}}
	file := treetest.File(t, &m.Store, "f", "content")
	a := treetest.Dir(t, &m.Store, "a", file, treetest.File(t, &m.Store, "g", "more"))
	b := treetest.Dir(t, &m.Store, "b", treetest.File(t, &m.Store, "h", "most"))
	root := treetest.Dir(t, &m.Store, "", a, b).Digest
	m.expect(t, "first time", root, 0, 6)
	m.expect(t, "again", root, 0, 0)

	changed := treetest.Dir(t, &m.Store, "", a, treetest.Dir(t, &m.Store, "b", file)).Digest
	m.expect(t, "another tree", changed, 0, 3)

	m.Remove(file.Digest)
	m.epoch = "two"
	m.expect(t, "after a loss", root, 1, 6)
	m.expect(t, "incomplete, again", root, 1, 6)
	m.Remove(b.Digest)
	m.expect(t, "after another loss", root, 2, 5)

	m.epoch = ""
	treetest.File(t, &m.Store, "f", "content")
	treetest.Dir(t, &m.Store, "b", treetest.File(t, &m.Store, "h", "most"))
	m.expect(t, "without a promise", root, 0, 6)
	m.expect(t, "without a promise, again", root, 0, 6)
}
