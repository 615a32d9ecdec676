package cached

import (
	"context"
	"errors"
	"fmt"

	"github.com/fstree/fstree/cas"
)

// closureGetter is a far store that sends the trees of closures in bulk.
type closureGetter interface {
	GetClosure(ctx context.Context, roots, have []cas.Digest, visit func(d cas.Digest, data []byte, sizes []int64, err error) error) error
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
// no closures is errors.ErrUnsupported.
func (s *Store) GetClosure(ctx context.Context, roots, have []cas.Digest, visit func(d cas.Digest, data []byte, sizes []int64, err error) error) error {
	far, ok := s.far.(closureGetter)
	if !ok {
		return fmt.Errorf("closures: %w", errors.ErrUnsupported)
	}
	k := keeper{store: s, trees: make(chan tree, closureAhead), done: make(chan struct{})}
	go k.run()
	defer k.end()
	return s.observed(func() error {
		return far.GetClosure(ctx, roots, have, func(d cas.Digest, data []byte, sizes []int64, err error) error {
			if err == nil {
				s.heard()
				s.stats.objects.Add(1)
				s.stats.bytes.Add(int64(len(data)))
				k.trees <- tree{d, data}
			}
			return visit(d, data, sizes, err)
		})
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
	done  chan struct{}
}

func (k *keeper) run() {
	defer close(k.done)
	cas.PutMany(k.store.outliving(), k.store.near, k.objects, manyParallel, func(_ cas.Digest, err error) error {
		if err != nil {
			k.store.stats.unkept.Add(1)
		}
		return nil
	})
	for range k.trees { // a broken store may not ask for all
	}
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
