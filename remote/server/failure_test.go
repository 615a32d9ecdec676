package server_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
)

// cursed fails for one object, in words that are no text.
type cursed struct {
	memory.Store
	d cas.Digest
}

var errWords = errors.New("stat of name\xff\xfe: input/output error")

func (c *cursed) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	if d == c.d {
		return nil, errWords
	}
	return c.Store.Get(ctx, d)
}

func (c *cursed) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	if d == c.d {
		return errWords
	}
	return c.Store.Put(ctx, d, r)
}

// TestWordsThatAreNoTextDoNotLoseTheOtherObjects: a message of gRPC holds text,
// and a file name need not be any.
func TestWordsThatAreNoTextDoNotLoseTheOtherObjects(t *testing.T) {
	store := &cursed{d: cas.Sum([]byte("cursed"))}
	good, _, _ := store.Add(t.Context(), strings.NewReader("good"))
	url, _ := start(t, store)
	s := open(t, url)
	expect := func(what string, d cas.Digest, err error) {
		t.Helper()
		if (err == nil) != (d == good) || err != nil && !strings.Contains(err.Error(), "stat of name") {
			t.Errorf("%s %s: %v", what, d, err)
		}
	}
	answers := 0
	err := cas.GetMany(t.Context(), s, []cas.Digest{store.d, good}, 4, func(d cas.Digest, _ cas.Object, err error) error {
		answers++
		expect("get", d, err)
		return nil
	})
	if err != nil || answers != 2 {
		t.Errorf("%d answers, %v", answers, err)
	}
	answers = 0
	err = cas.PutMany(t.Context(), s, func(yield func(cas.Digest, cas.Object) bool) {
		_ = yield(store.d, cas.NewObject([]byte("cursed"))) && yield(good, cas.NewObject([]byte("good")))
	}, 4, func(d cas.Digest, err error) error {
		answers++
		expect("put", d, err)
		return nil
	})
	if err != nil || answers != 2 {
		t.Errorf("%d answers, %v", answers, err)
	}
	err = tree.WalkSized(t.Context(), s, []cas.Digest{store.d}, nil, 4, func(tree tree.Sized) error {
		expect("walk", tree.Digest, tree.Err)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
