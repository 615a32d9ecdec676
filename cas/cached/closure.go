package cached

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/fstree/fstree/cas"
)

// visitTree is told of one tree of a closure, or of the error with which it
// could not be had.
type visitTree = func(d cas.Digest, data []byte, sizes []int64, err error) error

// closureGetter is a far store that sends the trees of closures in bulk.
type closureGetter interface {
	GetClosure(ctx context.Context, roots, have []cas.Digest, visit visitTree) error
}

// closureAhead is how many trees may have come that near has not yet stored.
const closureAhead = 256

// Lacking returns those of ds that near does not hold, in their order.
func (s *Store) Lacking(ctx context.Context, ds []cas.Digest) ([]cas.Digest, error) {
	present, err := s.near.Has(ctx, ds)
	if err != nil {
		return nil, err
	}
	var lacking []cas.Digest
	for i, d := range ds {
		if !present[i] {
			lacking = append(lacking, d)
		}
	}
	return lacking, nil
}

// GetClosure visits what far sends of closures, and keeps it near. It asks far
// for what near holds as well: ask for what is Lacking. A far store that sends
// no closures is errors.ErrUnsupported. Unlike a fetch it ends when its caller
// leaves.
func (s *Store) GetClosure(ctx context.Context, roots, have []cas.Digest, visit visitTree) error {
	far, ok := s.far.(closureGetter)
	if !ok {
		return fmt.Errorf("closures: %w", errors.ErrUnsupported)
	}
	if len(roots) == 0 {
		return nil
	}
	if !s.begin() {
		return errClosed(roots[0])
	}
	defer s.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.lifetime, func() { cancel(errClosed(roots[0])) })()
	k := keeper{store: s, trees: make(chan tree, closureAhead), done: make(chan struct{})}
	go k.run()
	defer k.end()
	return s.observed(func() error {
		var broken error // in the middle: no tree is to be visited twice
		err := s.insist(ctx, func() (bool, error) {
			visited, err := k.fetch(ctx, far, roots, have, visit)
			if visited {
				broken, err = err, nil
			}
			return false, err
		})
		return cmp.Or(err, broken)
	})
}

type tree struct {
	digest cas.Digest
	data   []byte
}

// keeper stores trees near, beside those who visit them.
type keeper struct {
	store *Store
	trees chan tree
	sent  int64 // to trees
	done  chan struct{}
}

// fetch asks far once, and tells whether it has visited anything.
func (k *keeper) fetch(ctx context.Context, far closureGetter, roots, have []cas.Digest, visit visitTree) (visited bool, err error) {
	err = k.store.watch(ctx, roots[0], func(ctx context.Context, w *watched) error {
		return far.GetClosure(ctx, roots, have, func(d cas.Digest, data []byte, sizes []int64, err error) error {
			w.sleep()
			defer w.wake()
			visited = true
			if err == nil {
				k.keep(tree{d, data})
			}
			return visit(d, data, sizes, err)
		})
	})
	return visited, err
}

func (k *keeper) keep(t tree) {
	k.store.heard()
	k.store.stats.objects.Add(1)
	k.store.stats.bytes.Add(int64(len(t.data)))
	k.sent++
	k.trees <- t
}

func (k *keeper) run() {
	defer close(k.done)
	kept := int64(0)
	cas.PutMany(k.store.outliving(), k.store.near, k.objects, manyParallel, func(_ cas.Digest, err error) error {
		if err == nil {
			kept++
		}
		return nil
	})
	for range k.trees { // a broken store may not ask for all
	}
	k.store.stats.unkept.Add(k.sent - kept)
}

func (k *keeper) objects(yield func(cas.Digest, cas.Object) bool) {
	for t := range k.trees {
		if !yield(t.digest, cas.NewObject(t.data)) {
			return
		}
	}
}

func (k *keeper) end() {
	close(k.trees)
	<-k.done
}
