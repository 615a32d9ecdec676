package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/remote/transfer"
)

var errAway = fmt.Errorf("%w: away", cas.ErrUnavailable)

// shaky is a far store that fails every few times, or from some time on.
type shaky struct {
	*memory.Store

	mu     sync.Mutex
	every  int // failures: every so many calls; 0 for none
	last   int // the number of calls that succeed at all; 0 for all
	calls  int
	opened map[cas.Digest]int
}

func (s *shaky) fail() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.every > 0 && s.calls%s.every == 0 || s.last > 0 && s.calls > s.last {
		return errAway
	}
	return nil
}

func (s *shaky) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	if err := s.fail(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.opened[d]++
	s.mu.Unlock()
	return s.Store.Get(ctx, d)
}

func (s *shaky) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	if err := s.fail(); err != nil {
		return nil, err
	}
	return s.Store.Has(ctx, ds)
}

func (s *shaky) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.Store.Put(ctx, d, r)
}

// shakyServer fails in the middle of closures as well.
type shakyServer struct{ *shaky }

func (s shakyServer) FindMissing(ctx context.Context, roots []cas.Digest, report tree.ReportMissing) error {
	return tree.FindMissing(ctx, s.Store, roots, 1, func(trees, files []cas.Digest) error {
		if err := s.fail(); err != nil {
			return err
		}
		return report(trees, files)
	})
}

func (s shakyServer) GetClosure(ctx context.Context, roots, have []cas.Digest, visit tree.VisitTree) error {
	return tree.WalkSized(ctx, struct{ cas.Getter }{s.Store}, roots, have, 1, func(t tree.Sized) error {
		if err := s.fail(); err != nil {
			return err
		}
		return visit(t.Digest, t.Data, t.Sizes, t.Err)
	})
}

func newShaky(s *memory.Store) *shaky {
	return &shaky{Store: s, opened: map[cas.Digest]int{}}
}

func eachShaky(t *testing.T, store func() *memory.Store, test func(t *testing.T, s *shaky, far cas.Store)) {
	t.Run("asking", func(t *testing.T) {
		s := newShaky(store())
		test(t, s, s)
	})
	t.Run("server", func(t *testing.T) {
		s := newShaky(store())
		test(t, s, shakyServer{s})
	})
}

func empty() *memory.Store { return &memory.Store{} }

func TestPullGetsThroughFailuresAndAsksForNothingTwice(t *testing.T) {
	store, root := sample(t)
	eachShaky(t, func() *memory.Store { return store }, func(t *testing.T, s *shaky, far cas.Store) {
		near, r := empty(), newRecord()
		s.every = 150
		if err := transfer.Pull(t.Context(), far, near, root, transfer.Options{Parallel: 1, Observer: r}); err != nil {
			t.Fatal(err)
		}
		r.expect(t, store.Len())
		for d, n := range s.opened {
			if n > 1 {
				t.Errorf("%s was asked for %d times", d, n)
			}
		}
	})
}

func TestPushGetsThroughFailures(t *testing.T) {
	store, root := sample(t)
	eachShaky(t, empty, func(t *testing.T, s *shaky, far cas.Store) {
		r := newRecord()
		s.every = 150
		if err := transfer.Push(t.Context(), store, far, root, transfer.Options{Parallel: 8, Observer: r}); err != nil {
			t.Fatal(err)
		}
		r.expect(t, store.Len())
		expectClosure(t, s.Store, root)
	})
}

// transfers calls test with a push and a pull of a tree whose far store is s.
func transfers(t *testing.T, opt transfer.Options, last int, test func(t *testing.T, run func(context.Context) error)) {
	store, root := sample(t)
	t.Run("push", func(t *testing.T) {
		eachShaky(t, empty, func(t *testing.T, s *shaky, far cas.Store) {
			s.every, s.last = max(1-last, 0), last
			test(t, func(ctx context.Context) error { return transfer.Push(ctx, store, far, root, opt) })
		})
	})
	t.Run("pull", func(t *testing.T) {
		eachShaky(t, func() *memory.Store { return store }, func(t *testing.T, s *shaky, far cas.Store) {
			s.every, s.last = max(1-last, 0), last
			test(t, func(ctx context.Context) error { return transfer.Pull(ctx, far, empty(), root, opt) })
		})
	})
}

func TestStoreThatGoesAwayForGoodEndsTheTransfer(t *testing.T) {
	const limit = 700 * time.Millisecond
	transfers(t, transfer.Options{Patience: limit}, 20, func(t *testing.T, run func(context.Context) error) {
		t.Parallel()
		start := time.Now()
		err := run(t.Context())
		if !errors.Is(err, cas.ErrUnavailable) || !strings.Contains(err.Error(), "gave up after") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took < limit/4 || took > limit+2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestStoreThatWasNeverThereIsToldSoon(t *testing.T) {
	transfers(t, transfer.Options{Patience: time.Hour}, 0, func(t *testing.T, run func(context.Context) error) {
		t.Parallel()
		start := time.Now()
		if err := run(t.Context()); err == nil || err.Error() != errAway.Error() {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestCancelEndsAPauseAtOnce(t *testing.T) {
	transfers(t, transfer.Options{Patience: time.Hour}, 20, func(t *testing.T, run func(context.Context) error) {
		t.Parallel()
		gaveUp := errors.New("gave up")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gaveUp) })
		start := time.Now()
		if err := run(ctx); !errors.Is(err, gaveUp) || time.Since(start) > 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}
