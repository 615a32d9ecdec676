package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/cas/tree/treetest"
	"github.com/fstree/fstree/remote/transfer"
)

// sample is a tree with shared subtrees, shared files, a symlink, and the same
// tree at several depths.
func sample(t *testing.T) (*memory.Store, cas.Digest) {
	t.Helper()
	s := &memory.Store{}
	shared := treetest.Dir(t, s, "shared", treetest.File(t, s, "same", "same"))
	var dirs []tree.Entry
	for i := range 40 {
		files := []tree.Entry{shared, treetest.Link("link", "same")}
		for k := range 40 {
			files = append(files, treetest.File(t, s, fmt.Sprint("f", k), fmt.Sprint("content ", i*k)))
		}
		deep := treetest.Dir(t, s, fmt.Sprint("d", i), files...)
		if i%3 == 0 {
			deep = treetest.Dir(t, s, deep.Name, deep, shared)
		}
		dirs = append(dirs, deep)
	}
	return s, treetest.Dir(t, s, "", append(dirs, shared)...).Digest
}

// ordered fails when a tree is put before a file that it names, or, where trees
// are to be ordered among themselves, before a tree that it names.
type ordered struct {
	*memory.Store
	t     *testing.T
	trees bool
}

func (o ordered) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if made, err := tree.Decode(data); err == nil {
		for e := range made.All() {
			if e.Type == tree.File || e.Type == tree.Dir && o.trees {
				o.expect(ctx, d, e)
			}
		}
	}
	return o.Store.Put(ctx, d, bytes.NewReader(data))
}

func (o ordered) expect(ctx context.Context, d cas.Digest, e tree.Entry) {
	if present, err := o.Has(ctx, []cas.Digest{e.Digest}); err != nil || !present[0] {
		o.t.Errorf("tree %s was put before its entry %q", d, e.Name)
	}
}

// finding adds the power of a server to a store.
type finding struct{ ordered }

func (f finding) FindMissing(ctx context.Context, roots []cas.Digest, report tree.ReportMissing) error {
	return tree.FindMissing(ctx, f.Store, roots, 4, report)
}

// forger is a far store that sends other bytes than it should.
type forger struct{ *memory.Store }

func (f forger) GetUnverified(_ context.Context, ds []cas.Digest, visit cas.VisitUnverified) error {
	for _, d := range ds {
		if err := visit(d, strings.NewReader("forged"), nil); err != nil {
			return err
		}
	}
	return nil
}

func TestForgedBytesAreNotKept(t *testing.T) {
	store, root := sample(t)
	near := &memory.Store{}
	err := transfer.Pull(t.Context(), forger{store}, near, root, transfer.Options{Parallel: 8})
	var mismatch *cas.MismatchError
	if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), "received") {
		t.Errorf("%v", err)
	}
	if present, _ := near.Has(t.Context(), []cas.Digest{mismatch.Want, cas.Sum([]byte("forged"))}); present[0] || present[1] {
		t.Error("forged bytes were kept")
	}
}

// record counts what an Observer is told.
type record struct {
	mu             sync.Mutex
	missing, moved map[cas.Digest]int
}

func newRecord() *record {
	return &record{missing: map[cas.Digest]int{}, moved: map[cas.Digest]int{}}
}

func (r *record) Missing(d cas.Digest, _ bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing[d]++
}

func (r *record) Moved(d cas.Digest, _ bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved[d]++
}

func (r *record) expect(t *testing.T, objects int) {
	t.Helper()
	if len(r.missing) != objects || len(r.moved) != objects {
		t.Errorf("%d missing and %d moved, want %d", len(r.missing), len(r.moved), objects)
	}
	for d, n := range r.moved {
		if n != 1 || r.missing[d] != 1 {
			t.Errorf("%s was missing %d times and moved %d times", d, r.missing[d], n)
		}
	}
}

// each runs a test against a far store with and without the power to find.
func each(t *testing.T, test func(t *testing.T, far *memory.Store, asked cas.Store)) {
	t.Run("asking", func(t *testing.T) {
		far := &memory.Store{}
		test(t, far, ordered{far, t, true})
	})
	t.Run("finding", func(t *testing.T) {
		far := &memory.Store{}
		test(t, far, finding{ordered{far, t, false}})
	})
}

func TestPushMovesWhatIsMissingInOrder(t *testing.T) {
	each(t, func(t *testing.T, far *memory.Store, asked cas.Store) {
		near, root := sample(t)
		r := newRecord()
		if err := transfer.Push(t.Context(), near, asked, root, transfer.Options{Parallel: 8, Observer: r}); err != nil {
			t.Fatal(err)
		}
		r.expect(t, near.Len())
		if far.Len() != near.Len() {
			t.Errorf("far holds %d objects, want %d", far.Len(), near.Len())
		}
		again := newRecord()
		if err := transfer.Push(t.Context(), near, asked, root, transfer.Options{Observer: again}); err != nil {
			t.Fatal(err)
		}
		again.expect(t, 0)
	})
}

func TestPushMendsHolesBelowTreesThatArePresent(t *testing.T) {
	each(t, func(t *testing.T, far *memory.Store, asked cas.Store) {
		near, root := sample(t)
		if err := transfer.Push(t.Context(), near, asked, root, transfer.Options{Parallel: 8}); err != nil {
			t.Fatal(err)
		}
		hole := cas.Sum([]byte("same"))
		top, err := tree.Read(t.Context(), near, root)
		if err != nil {
			t.Fatal(err)
		}
		far.Remove(hole)
		far.Remove(top.At(3).Digest)
		r := newRecord()
		if err := transfer.Push(t.Context(), near, asked, root, transfer.Options{Parallel: 8, Observer: r}); err != nil {
			t.Fatal(err)
		}
		r.expect(t, 2)
	})
}

func TestPushOfAnIncompleteTreeNamesTheHole(t *testing.T) {
	each(t, func(t *testing.T, far *memory.Store, asked cas.Store) {
		near, root := sample(t)
		hole := cas.Sum([]byte("same"))
		near.Remove(hole)
		err := transfer.Push(t.Context(), near, asked, root, transfer.Options{Parallel: 8})
		var absent *cas.NotFoundError
		if !errors.As(err, &absent) || absent.Digest != hole {
			t.Errorf("got %v", err)
		}
		if present, _ := far.Has(t.Context(), []cas.Digest{root}); present[0] {
			t.Error("the root was pushed all the same")
		}
	})
}

func TestPullMovesWhatIsMissing(t *testing.T) {
	far, root := sample(t)
	near := &memory.Store{}
	r := newRecord()
	if err := transfer.Pull(t.Context(), far, near, root, transfer.Options{Parallel: 8, Observer: r}); err != nil {
		t.Fatal(err)
	}
	r.expect(t, far.Len())
	near.Remove(cas.Sum([]byte("same")))
	again := newRecord()
	if err := transfer.Pull(t.Context(), far, near, root, transfer.Options{Observer: again}); err != nil {
		t.Fatal(err)
	}
	again.expect(t, 1)
	if near.Len() != far.Len() {
		t.Errorf("near holds %d objects, want %d", near.Len(), far.Len())
	}
}

// bulk sends closures, and counts what is asked for one by one.
type bulk struct {
	*memory.Store
	gets, closures, sent atomic.Int64
}

func (b *bulk) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	b.gets.Add(1)
	return b.Store.Get(ctx, d)
}

func (b *bulk) GetClosure(ctx context.Context, roots, have []cas.Digest, visit tree.VisitTree) error {
	b.closures.Add(1)
	return tree.WalkSized(ctx, struct{ cas.Getter }{b.Store}, roots, have, 1, func(s tree.Sized) error {
		b.sent.Add(1)
		return visit(s.Digest, s.Data, s.Sizes, s.Err)
	})
}

func TestPullReadsTreesInBulk(t *testing.T) {
	store, root := sample(t)
	far, near, r := &bulk{Store: store}, &memory.Store{}, newRecord()
	if err := transfer.Pull(t.Context(), far, near, root, transfer.Options{Parallel: 8, Observer: r}); err != nil {
		t.Fatal(err)
	}
	r.expect(t, store.Len())
	files := map[cas.Digest]struct{}{}
	if err := tree.Walk(t.Context(), store, []cas.Digest{root}, 1, func(_ cas.Digest, made *tree.Tree, err error) error {
		for e := range made.All() {
			if e.Type == tree.File {
				files[e.Digest] = struct{}{}
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if n := far.gets.Load(); n != int64(len(files)) {
		t.Errorf("%d objects were asked for one by one, want the %d files", n, len(files))
	}
	store.Remove(cas.Sum([]byte("same")))
	err := transfer.Pull(t.Context(), far, &memory.Store{}, root, transfer.Options{Parallel: 8})
	if !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("incomplete far store: %v", err)
	}
}

func TestPullLeavesOutTreesThatNearHas(t *testing.T) {
	store := &memory.Store{}
	before, after := deepTree(t, store, 100, 10, "before"), deepTree(t, store, 100, 10, "after")
	far, near := &bulk{Store: store}, &memory.Store{}
	if err := transfer.Pull(t.Context(), store, near, before, transfer.Options{}); err != nil {
		t.Fatal(err)
	}
	hole := cas.Sum([]byte("dir 9 0a"))
	near.Remove(hole)
	if err := transfer.Pull(t.Context(), far, near, after, transfer.Options{Have: []cas.Digest{before, hole}}); err != nil {
		t.Fatal(err)
	}
	if n := far.sent.Load(); n != 10 {
		t.Errorf("far sent %d trees, want the 10 that differ", n)
	}
	if n := far.gets.Load(); n != 2 {
		t.Errorf("far sent %d files, want the one that differs and the one that was lost", n)
	}
	expectClosure(t, near, after)
}

func expectClosure(t *testing.T, store tree.Holder, root cas.Digest) {
	t.Helper()
	if err := tree.FindMissing(t.Context(), store, []cas.Digest{root}, 8, func(trees, files []cas.Digest) error {
		return fmt.Errorf("%d trees and %d files", len(trees), len(files))
	}); err != nil {
		t.Errorf("incomplete: %v", err)
	}
}

// TestPullFillsGapsTogether: many gaps, at all depths, are one question.
func TestPullFillsGapsTogether(t *testing.T) {
	store := &memory.Store{}
	root := deepTree(t, store, 200, 20, "deepest")
	far, near := &bulk{Store: store}, &memory.Store{}
	if err := transfer.Pull(t.Context(), store, near, root, transfer.Options{}); err != nil {
		t.Fatal(err)
	}
	for d := root; !d.IsZero(); {
		made, err := tree.Read(t.Context(), store, d)
		if err != nil {
			t.Fatal(err)
		}
		d = cas.Digest{}
		for e := range made.All() {
			switch e.Name {
			case "row":
				d = e.Digest
			case "deepest":
			default:
				near.Remove(e.Digest)
			}
		}
	}
	if err := transfer.Pull(t.Context(), far, near, root, transfer.Options{}); err != nil {
		t.Fatal(err)
	}
	if n := far.closures.Load(); n != 1 {
		t.Errorf("%d questions about trees, want 1", n)
	}
	expectClosure(t, near, root)
}

func TestPullNamesWhatIsNowhere(t *testing.T) {
	for _, what := range []string{"file", "tree"} {
		far, root := sample(t)
		hole := cas.Sum([]byte("same"))
		if what == "tree" {
			top, err := tree.Read(t.Context(), far, root)
			if err != nil {
				t.Fatal(err)
			}
			hole = top.At(5).Digest
		}
		far.Remove(hole)
		err := transfer.Pull(t.Context(), far, &memory.Store{}, root, transfer.Options{Parallel: 8})
		var absent *cas.NotFoundError
		if !errors.As(err, &absent) || absent.Digest != hole {
			t.Errorf("%s: got %v, want not found %s", what, err, hole)
		}
	}
}

// lying serves other bytes for one object.
type lying struct {
	*memory.Store
	about cas.Digest
}

func (l lying) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	if d == l.about {
		return cas.Verify(d, io.NopCloser(strings.NewReader("lie")), -1), nil
	}
	return l.Store.Get(ctx, d)
}

func TestPullNamesACorruptObject(t *testing.T) {
	far, root := sample(t)
	for _, about := range []cas.Digest{cas.Sum([]byte("same")), root} {
		near := &memory.Store{}
		err := transfer.Pull(t.Context(), lying{far, about}, near, root, transfer.Options{Parallel: 8})
		var mismatch *cas.MismatchError
		if !errors.As(err, &mismatch) || mismatch.Want != about {
			t.Errorf("got %v, want a mismatch of %s", err, about)
		}
		if present, _ := near.Has(t.Context(), []cas.Digest{about}); present[0] {
			t.Error("the lie was kept")
		}
	}
}

func TestCancelledTransfersStop(t *testing.T) {
	store, root := sample(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := transfer.Pull(ctx, store, &memory.Store{}, root, transfer.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Pull: %v", err)
	}
	if err := transfer.Push(ctx, store, &memory.Store{}, root, transfer.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Push: %v", err)
	}
}
