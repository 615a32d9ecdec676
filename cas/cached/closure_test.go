package cached

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
)

// closures is a far store that sends its objects as trees of a closure.
type closures struct {
	faulty
	ds    []cas.Digest
	fault func(ctx context.Context) error // asked before each tree
}

func (c *closures) GetClosure(ctx context.Context, _, _ []cas.Digest, visit func(d cas.Digest, data []byte, sizes []int64, err error) error) error {
	for _, d := range c.ds {
		if c.fault != nil {
			if err := c.fault(ctx); err != nil {
				return err
			}
		}
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
	if err := s.GetClosure(t.Context(), []cas.Digest{cas.Sum(nil)}, nil, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

// ignore visits a tree and has seen nothing.
func ignore(cas.Digest, []byte, []int64, error) error { return nil }

// twoTrees is a store over a far one that sends two trees.
func twoTrees(t *testing.T) (near *faulty, far *closures, s *Store) {
	near, far = &faulty{}, &closures{}
	far.ds = []cas.Digest{far.add(t, []byte("one")), far.add(t, []byte("two"))}
	return near, far, open(t, near, far)
}

func TestClosedStoreFetchesNoClosure(t *testing.T) {
	near, far, s := twoTrees(t)
	s.Close()
	if err := s.GetClosure(t.Context(), far.ds[:1], nil, ignore); !errors.Is(err, cas.ErrUnavailable) || near.Len() > 0 {
		t.Errorf("%v, want ErrUnavailable; near holds %d", err, near.Len())
	}
}

func TestCloseEndsAClosureAndWaitsForIt(t *testing.T) {
	near, far, s := twoTrees(t)
	waiting, ended := make(chan struct{}), make(chan error, 1)
	far.fault = func(ctx context.Context) error {
		close(waiting)
		<-ctx.Done()
		time.Sleep(20 * time.Millisecond)
		return ctx.Err()
	}
	go func() { ended <- s.GetClosure(t.Context(), far.ds[:1], nil, ignore) }()
	<-waiting
	s.Close()
	if len(s.flights)+near.Len() > 0 || s.Stats().InFlight != 0 {
		t.Errorf("Close left %d under way", s.Stats().InFlight)
	}
	if err := <-ended; !errors.Is(err, cas.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}

func TestSilentClosureFailsInTime(t *testing.T) {
	_, far, s := twoTrees(t)
	s.Silence = 50 * time.Millisecond
	far.fault = func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := s.GetClosure(t.Context(), far.ds[:1], nil, ignore); !errors.Is(err, cas.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	s.Silence = time.Minute
	time.AfterFunc(20*time.Millisecond, func() { cancel(errBroken) })
	if err := s.GetClosure(ctx, far.ds[:1], nil, ignore); !errors.Is(err, errBroken) {
		t.Errorf("%v, want the cause for which the caller left", err)
	}
}

func TestClosureIsAskedForAgainBeforeItsFirstTreeOnly(t *testing.T) {
	_, far, s := twoTrees(t)
	expect(t, s, far.ds[0], []byte("one")) // far is there
	asked, failing := 0, 1
	far.fault = func(context.Context) error {
		if asked++; asked == failing {
			return cas.ErrUnavailable
		}
		return nil
	}
	visits := 0
	count := func(cas.Digest, []byte, []int64, error) error { visits++; return nil }
	if err := s.GetClosure(t.Context(), far.ds[:1], nil, count); err != nil || visits != 2 {
		t.Errorf("%v, %d visits", err, visits)
	}
	asked, visits, failing = 0, 0, 2
	if err := s.GetClosure(t.Context(), far.ds[:1], nil, count); !errors.Is(err, cas.ErrUnavailable) || visits != 1 {
		t.Errorf("%v, %d visits; want ErrUnavailable and 1", err, visits)
	}
}

// brokenMany is a near store that stores no batches.
type brokenMany struct{ *faulty }

func (brokenMany) PutMany(context.Context, cas.Objects, cas.ReportObject) error { return errBroken }

func TestTreesThatNearCannotKeepAreCounted(t *testing.T) {
	near, far, _ := twoTrees(t)
	s := open(t, brokenMany{near}, far)
	if err := s.GetClosure(t.Context(), far.ds[:1], nil, ignore); err != nil || s.Stats().Unkept != 2 {
		t.Errorf("%v, %d are counted as not kept", err, s.Stats().Unkept)
	}
}
