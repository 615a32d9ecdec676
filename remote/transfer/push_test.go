package transfer_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/cas/tree/treetest"
	"github.com/fstree/fstree/remote/transfer"
)

// oneByOne is a far store that takes objects in calls of their own, each of
// which lasts a while.
type oneByOne struct {
	*memory.Store
	calls
}

func (o *oneByOne) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	o.pause()
	return o.Store.Put(ctx, d, r)
}

// TestPushPutsAsManySideBySideAsItMay: where objects have calls of their own,
// however many there are.
func TestPushPutsAsManySideBySideAsItMay(t *testing.T) {
	for _, files := range []int{200, 600} {
		s := &memory.Store{}
		var entries []tree.Entry
		for i := range files {
			entries = append(entries, treetest.File(t, s, fmt.Sprint("file ", i), fmt.Sprint("content ", i)))
		}
		root := treetest.Dir(t, s, "", entries...).Digest
		far := &oneByOne{Store: &memory.Store{}}
		if err := transfer.Push(t.Context(), s, far, root, transfer.Options{Parallel: 64}); err != nil {
			t.Fatal(err)
		}
		expectClosure(t, far.Store, root)
		if most := far.most.Load(); most < 56 || most > 66 {
			t.Errorf("%d files: up to %d at once, want about 64", files, most)
		}
	}
}

// complete is a far store that holds everything, or nothing of the hint.
type complete struct {
	*memory.Store
	lacks map[cas.Digest]bool
}

func (c complete) FindMissing(_ context.Context, roots []cas.Digest, report tree.ReportMissing) error {
	for _, d := range roots {
		if c.lacks[d] {
			return report([]cas.Digest{d}, nil)
		}
	}
	return nil
}

// reluctant reads a tree of a hint only when nobody wants it any more.
type reluctant struct {
	*memory.Store
	hint cas.Digest
}

func (r reluctant) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	if d == r.hint {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return r.Store.Get(ctx, d)
}

// TestPushWaitsForAHintOnlyWhileItMayHelp: it does not where nothing is
// missing, nor where the far store does not hold the hint itself.
func TestPushWaitsForAHintOnlyWhileItMayHelp(t *testing.T) {
	s := &memory.Store{}
	root := treetest.Dir(t, s, "", treetest.File(t, s, "a", "a")).Digest
	hint := treetest.Dir(t, s, "", treetest.File(t, s, "b", "b")).Digest
	for name, lacks := range map[string]map[cas.Digest]bool{
		"nothing is missing":  {},
		"the hint is missing": {root: true, hint: true},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		far := complete{&memory.Store{}, lacks}
		err := transfer.Push(ctx, reluctant{s, hint}, far, root, transfer.Options{Parallel: 4, Have: []cas.Digest{hint}})
		if err != nil || ctx.Err() != nil {
			t.Errorf("%s: %v, %v", name, err, ctx.Err())
		}
		cancel()
		if len(lacks) > 0 {
			expectClosure(t, far.Store, root)
		}
	}
}
