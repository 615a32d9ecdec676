package transfer_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/cas/tree/treetest"
	"github.com/fstree/fstree/remote/transfer"
)

// asked is a cache that counts the objects it is asked for.
type asked struct {
	*disk.Store
	objects atomic.Int64
}

func (a *asked) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	a.objects.Add(1)
	return a.Store.Get(ctx, d)
}

func (a *asked) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	a.objects.Add(int64(len(ds)))
	return a.Store.Has(ctx, ds)
}

// openCache returns a cache in dir in which some object was stored before, so
// that it has an epoch.
func openCache(t *testing.T, dir string) *asked {
	t.Helper()
	s, err := disk.Open(dir, disk.Options{Retention: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Has(t.Context(), []cas.Digest{cas.Sum(nil)}); err != nil {
		t.Fatal(err)
	}
	return &asked{Store: s}
}

func (a *asked) expect(t *testing.T, what string, least, most int64) {
	t.Helper()
	if n := a.objects.Swap(0); n < least || n > most {
		t.Errorf("%s: asked for %d objects, want %d to %d", what, n, least, most)
	}
}

// TestCompleteTreeIsNotWalkedAgain pulls and pushes a tree over and over.
func TestCompleteTreeIsNotWalkedAgain(t *testing.T) {
	store, root := sample(t)
	all := int64(store.Len())
	nearDir, farDir := t.TempDir(), t.TempDir()
	near, far := openCache(t, nearDir), openCache(t, farDir)
	pull := func(from cas.Getter) {
		t.Helper()
		if err := transfer.Pull(t.Context(), from, near, root, transfer.Options{Parallel: 8}); err != nil {
			t.Fatal(err)
		}
	}
	pull(store)
	near.expect(t, "pull", 1, 2*all)
	pull(store)
	near.expect(t, "pull again", 0, 0)

	address := serve(t, far)
	push := func(root cas.Digest) {
		t.Helper()
		if err := transfer.Push(t.Context(), store, openRemote(t, address), root, transfer.Options{Parallel: 8}); err != nil {
			t.Fatal(err)
		}
	}
	push(root)
	push(root)
	far.objects.Store(0)
	push(root)
	far.expect(t, "push again", 0, 0)
	changed := treetest.Dir(t, store, "", treetest.File(t, store, "new", "new"), tree.Entry{Name: "old", Type: tree.Dir, Perm: 0o755, Digest: root}).Digest
	push(changed)
	far.expect(t, "push a change", 1, 100) // the trees, and no file but the new one

	// What survives the process is the mark, what does not survive a loss.
	near.Close()
	near = openCache(t, nearDir)
	pull(store)
	near.expect(t, "pull by another process", 0, 0)
	small := treetest.File(t, store, "f1", "content 1").Digest
	if err := near.SetAside(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	pull(store)
	near.expect(t, "pull after a loss", all, 3*all)
	if !has(t, near, small) {
		t.Error("what was lost is not there again")
	}
	if err := far.SetAside(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	push(root)
	if !has(t, far, small) {
		t.Error("what the server had lost is not there again")
	}
}

func has(t *testing.T, s cas.Haser, d cas.Digest) bool {
	t.Helper()
	present, err := s.Has(t.Context(), []cas.Digest{d})
	if err != nil {
		t.Fatal(err)
	}
	return present[0]
}
