package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/cas/tree/treetest"
	"github.com/fstree/fstree/remote/transfer"
)

const largeSize = 96 << 20

// largeTree is a tree with a large file and a small one.
func largeTree(t *testing.T) (*memory.Store, cas.Digest) {
	t.Helper()
	s := &memory.Store{}
	d, _, err := s.Add(t.Context(), bytes.NewReader(castest.Bytes(largeSize, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return s, treetest.Dir(t, s, "",
		tree.Entry{Name: "large", Type: tree.File, Perm: 0o644, Digest: d},
		treetest.File(t, s, "small", "small")).Digest
}

// unread is what a cut connection may take with it: the pieces that are under
// way.
const unread = 64 << 20

func TestLargeFileGoesOnWhereTheConnectionBroke(t *testing.T) {
	store, root := largeTree(t)
	counted := behind(t, serve(t, store), 0)
	near, r := &memory.Store{}, newRecord()
	counted.CutAfter(unread + 16<<20)
	if err := transfer.Pull(t.Context(), openRemote(t, counted.Address()), near, root, transfer.Options{Observer: r}); err != nil {
		t.Fatal(err)
	}
	expectClosure(t, near, root)
	r.expect(t, store.Len())
	if c := counted.Take(); c.Down > largeSize+unread {
		t.Errorf("%d MiB came", c.Down>>20)
	}
}

func TestNextPullGoesOnWhereTheLastOneEnded(t *testing.T) {
	store, root := largeTree(t)
	counted := behind(t, serve(t, store), 0)
	near := &memory.Store{}
	ctx, end := context.WithCancel(t.Context())
	const kept = 12 << 20
	err := transfer.Pull(ctx, openRemote(t, counted.Address()), ending{near, kept, end}, root, transfer.Options{})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	counted.Take()
	if err := transfer.Pull(t.Context(), openRemote(t, counted.Address()), near, root, transfer.Options{}); err != nil {
		t.Fatal(err)
	}
	expectClosure(t, near, root)
	if c := counted.Take(); c.Down > largeSize-kept+1<<20 {
		t.Errorf("%d MiB came again", c.Down>>20)
	}
}

// ending is a store that calls end when a part of some length is read.
type ending struct {
	*memory.Store
	after int64
	end   func()
}

func (e ending) OpenPartial(ctx context.Context, d cas.Digest, size int64) (bao.PartialObject, error) {
	p, err := e.Store.OpenPartial(ctx, d, size)
	return endingObject{p, e}, err
}

type endingObject struct {
	bao.PartialObject
	ending
}

func (e endingObject) Add(ctx context.Context, s bao.Slice, r io.Reader) error {
	return e.PartialObject.Add(ctx, s, io.MultiReader(io.LimitReader(r, e.after), &atRead{r, e.end}))
}

// atRead calls do before each Read.
type atRead struct {
	io.Reader
	do func()
}

func (a *atRead) Read(p []byte) (int, error) {
	a.do()
	return a.Reader.Read(p)
}

func TestLargeFileOfAnUnableStoreComesWhole(t *testing.T) {
	store, root := largeTree(t)
	for name, far := range map[string]cas.Getter{
		"no slices":      struct{ cas.Getter }{store},
		"no sizes":       struct{ slicing }{slicing{store, nil}},
		"slices refused": sized{slicing{store, errors.ErrUnsupported}, store},
	} {
		near := &memory.Store{}
		if err := transfer.Pull(t.Context(), far, near, root, transfer.Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		expectClosure(t, near, root)
	}
	near := struct{ cas.Store }{&memory.Store{}}
	if err := transfer.Pull(t.Context(), store, near, root, transfer.Options{}); err != nil {
		t.Error(err)
	}
	expectClosure(t, near.Store.(*memory.Store), root)
}

// slicing is a store with slices, or with an error in their place.
type slicing struct {
	cas.Getter
	err error
}

func (s slicing) Slice(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Getter.(bao.Slicer).Slice(ctx, d, slice)
}

// sized is one that knows sizes.
type sized struct {
	slicing
	cas.Sizer
}

// doubling claims that everything is twice as long.
type doubling struct{ slicing }

func (s doubling) Sizes(ctx context.Context, ds []cas.Digest) ([]int64, error) {
	sizes, err := cas.SizesOf(ctx, s.Getter, ds)
	for i := range sizes {
		sizes[i] *= 2
	}
	return sizes, err
}

func (s doubling) Slice(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
	slice.Size /= 2
	slice.Len = min(slice.Len, slice.Size)
	return s.slicing.Slice(ctx, d, slice)
}

func TestWrongSizeEndsThePull(t *testing.T) {
	store, root := largeTree(t)
	start := time.Now()
	err := transfer.Pull(t.Context(), doubling{slicing{store, nil}}, &memory.Store{}, root, transfer.Options{})
	if !errors.As(err, new(*bao.Error)) || time.Since(start) > 20*time.Second {
		t.Errorf("%v", err)
	}
}

// counting counts the slices that are read at once.
type counting struct {
	*memory.Store
	calls *calls
}

func (c counting) Slice(ctx context.Context, d cas.Digest, slice bao.Slice) (io.ReadCloser, error) {
	c.calls.pause()
	return c.Store.Slice(ctx, d, slice)
}

// TestPiecesUnderWayAreFewHoweverManyFilesThereAre: each may lie in memory.
func TestPiecesUnderWayAreFewHoweverManyFilesThereAre(t *testing.T) {
	s := &memory.Store{}
	var entries []tree.Entry
	for i := range 5 {
		d, _, err := s.Add(t.Context(), bytes.NewReader(castest.Bytes(33<<20, uint64(i))))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, tree.Entry{Name: fmt.Sprint("large", i), Type: tree.File, Perm: 0o644, Digest: d})
	}
	root := treetest.Dir(t, s, "", entries...).Digest
	near, made := &memory.Store{}, &calls{}
	if err := transfer.Pull(t.Context(), counting{s, made}, near, root, transfer.Options{}); err != nil {
		t.Fatal(err)
	}
	expectClosure(t, near, root)
	if all, most := made.all.Load(), made.most.Load(); all != 15 || most != 4 {
		t.Errorf("%d pieces, %d at once, want 15 and 4", all, most)
	}
}
