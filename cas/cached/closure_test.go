package cached

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/fstree/fstree/cas"
)

// closures is a far store that sends its objects as trees of a closure.
type closures struct {
	faulty
	ds []cas.Digest
}

func (c *closures) GetClosure(ctx context.Context, _, _ []cas.Digest, visit func(d cas.Digest, data []byte, sizes []int64, err error) error) error {
	for _, d := range c.ds {
		data, err := cas.ReadAll(ctx, &c.Store, d, 1<<20)
		if err := visit(d, data, nil, err); err != nil {
			return err
		}
	}
	return nil
}

func TestTreesOfAClosureAreKept(t *testing.T) {
	near, far := &faulty{}, &closures{}
	far.ds = []cas.Digest{far.add(t, []byte("one")), cas.Sum([]byte("absent")), far.add(t, []byte("two"))}
	s := open(t, near, far)
	var visited []cas.Digest
	err := s.GetClosure(t.Context(), far.ds[:1], nil, func(d cas.Digest, data []byte, _ []int64, err error) error {
		if d.Names(data) != (err == nil) {
			t.Errorf("%s: %q, %v", d, data, err)
		}
		visited = append(visited, d)
		return nil
	})
	if err != nil || !slices.Equal(visited, far.ds) {
		t.Errorf("%d visited, %v", len(visited), err)
	}
	if lacking, err := s.Lacking(t.Context(), far.ds); err != nil || !slices.Equal(lacking, far.ds[1:2]) {
		t.Errorf("near lacks %v, %v", lacking, err)
	}
}

func TestVisitorMayEndAClosure(t *testing.T) {
	far := &closures{}
	for i := range byte(200) {
		far.ds = append(far.ds, far.add(t, []byte{i}))
	}
	s := open(t, &faulty{}, far)
	visits := 0
	err := s.GetClosure(t.Context(), far.ds, nil, func(cas.Digest, []byte, []int64, error) error {
		visits++
		return errBroken
	})
	if !errors.Is(err, errBroken) || visits != 1 {
		t.Errorf("%d visits, %v", visits, err)
	}
}

func TestFarWithoutClosuresIsUnsupported(t *testing.T) {
	s := open(t, &faulty{}, &faulty{})
	if err := s.GetClosure(t.Context(), nil, nil, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
