package tree_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
)

func keep(t *testing.T, s *memory.Store, entries ...tree.Entry) cas.Digest {
	t.Helper()
	encoded, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	d, _, _ := s.Add(t.Context(), cas.NewObject(encoded.Encode()))
	return d
}

func file(t *testing.T, s *memory.Store, name string, size int) tree.Entry {
	t.Helper()
	d, _, _ := s.Add(t.Context(), strings.NewReader(strings.Repeat("x", size)))
	return tree.Entry{Name: name, Type: tree.File, Perm: 0o644, Digest: d}
}

func dir(name string, d cas.Digest) tree.Entry {
	return tree.Entry{Name: name, Type: tree.Dir, Perm: 0o755, Digest: d}
}

// bulk is a store with GetClosure that sends what it is told to send.
type bulk struct {
	memory.Store
	send func(visit tree.VisitTree) error
}

func (b *bulk) GetClosure(_ context.Context, _, _ []cas.Digest, visit tree.VisitTree) error {
	return b.send(visit)
}

func TestSizesComeWithTheTrees(t *testing.T) {
	s := &memory.Store{}
	leaf := keep(t, s, file(t, s, "five", 5), file(t, s, "none", 0), tree.Entry{Name: "link", Type: tree.Symlink, Perm: 0o777, Target: "five"})
	gone := cas.Sum([]byte("gone"))
	known := keep(t, s, file(t, s, "seen before", 9))
	root := keep(t, s, dir("a", leaf), dir("b", leaf), dir("c", gone), dir("d", known), file(t, s, "e", 7))
	want := map[cas.Digest]string{root: "[-1 -1 -1 -1 7]", leaf: "[5 -1 0]", gone: "not found"}
	err := tree.WalkSized(t.Context(), s, []cas.Digest{root}, []cas.Digest{known}, 4, func(n tree.Sized) error {
		got := fmt.Sprint(n.Sizes)
		if n.Err != nil {
			got = n.Err.Error()
		} else if !n.Digest.Names(n.Data) {
			t.Errorf("%s: other bytes", n.Digest)
		}
		if w := want[n.Digest]; w == "" || !strings.Contains(got, w) {
			t.Errorf("%s: %s, want %s", n.Digest, got, w)
		}
		delete(want, n.Digest)
		return nil
	})
	if err != nil || len(want) != 0 {
		t.Errorf("%v, %d trees did not come", err, len(want))
	}
}

func TestOnlyWhatWasAskedForIsTaken(t *testing.T) {
	s := &bulk{}
	child := keep(t, &s.Store, file(t, &s.Store, "f", 1))
	root := keep(t, &s.Store, dir("a", child))
	other := keep(t, &s.Store)
	send := func(order ...cas.Digest) func(tree.VisitTree) error {
		return func(visit tree.VisitTree) error {
			for _, d := range order {
				data, err := cas.ReadAll(t.Context(), &s.Store, d, 1000)
				if err != nil {
					return err
				}
				if err := visit(d, data, nil, nil); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, test := range map[string]struct {
		order []cas.Digest
		good  int
	}{
		"the closure":        {[]cas.Digest{root, child}, 2},
		"another tree":       {[]cas.Digest{root, other}, -1},
		"a tree twice":       {[]cas.Digest{root, child, child}, -1},
		"a child before all": {[]cas.Digest{child, root}, -1},
	} {
		s.send = send(test.order...)
		visits := 0
		err := tree.WalkSized(t.Context(), s, []cas.Digest{root}, nil, 4, func(tree.Sized) error {
			visits++
			return nil
		})
		if test.good >= 0 && (err != nil || visits != test.good) || test.good < 0 && err == nil {
			t.Errorf("%s: %d visits, %v", name, visits, err)
		}
	}
}

func TestStoreThatCanNotAfterAll(t *testing.T) {
	s := &bulk{send: func(tree.VisitTree) error { return fmt.Errorf("old: %w", errors.ErrUnsupported) }}
	child := keep(t, &s.Store)
	root := keep(t, &s.Store, dir("a", child))
	var got []cas.Digest
	err := tree.WalkSized(t.Context(), s, []cas.Digest{root}, nil, 4, func(n tree.Sized) error {
		got = append(got, n.Digest)
		return n.Err
	})
	if err != nil || !slices.Equal(got, []cas.Digest{root, child}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNonsenseIsNotATree(t *testing.T) {
	s := &bulk{}
	d := cas.Sum([]byte("nonsense"))
	s.send = func(visit tree.VisitTree) error { return visit(d, []byte("nonsense"), nil, nil) }
	err := tree.WalkSized(t.Context(), s, []cas.Digest{d}, nil, 4, func(n tree.Sized) error {
		var format *tree.FormatError
		if !errors.As(n.Err, &format) || n.Tree != nil {
			t.Errorf("%+v", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
