package mount

import (
	"container/list"
	"sync"
	"time"
)

// shelf keeps the results of loads, the lately used ones up to a bound, and
// runs one load per key however many ask for it. A load belongs to the shelf:
// it goes on when those who wait for it leave.
type shelf[K comparable, V any] struct {
	limit int64   // of the weight of what is kept
	drop  func(V) // ends a value that is neither kept nor used; may be nil
	loads sync.WaitGroup

	mu     sync.Mutex
	items  map[K]*item[K, V]
	used   list.List // of kept *item, the last used in front
	weight int64
}

// grudge is how long a failed load stands for the next ones. Where reading
// ahead has failed the kernel at once asks again for the page that is needed,
// and should not wait for the same failure twice.
const grudge = 100 * time.Millisecond

// item is one result, or the load that will bring it. value, weight and err
// are set when done is closed.
type item[K comparable, V any] struct {
	key    K
	done   chan struct{}
	value  V
	weight int64
	err    error

	// below: under the shelf's mutex
	users   int
	element *list.Element // nil unless kept
}

func newShelf[K comparable, V any](limit int64, drop func(V)) *shelf[K, V] {
	return &shelf[K, V]{limit: limit, drop: drop, items: map[K]*item[K, V]{}}
}

// take returns the item of key, whose value is there once wait has returned
// nil for it. The caller gives it back with release unless there is an error.
func (s *shelf[K, V]) take(key K, wait func(<-chan struct{}) error, load func() (V, int64, error)) (*item[K, V], error) {
	it := s.find(key, load)
	select {
	case <-it.done:
	default:
		if err := wait(it.done); err != nil {
			s.release(it)
			return nil, err
		}
	}
	if it.err != nil {
		s.release(it)
		return nil, it.err
	}
	return it, nil
}

func (s *shelf[K, V]) find(key K, load func() (V, int64, error)) *item[K, V] {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, ok := s.items[key]
	if !ok {
		it = &item[K, V]{key: key, done: make(chan struct{})}
		s.items[key] = it
		s.loads.Go(func() { s.run(it, load) })
	}
	it.users++
	if it.element != nil {
		s.used.MoveToFront(it.element)
	}
	return it
}

func (s *shelf[K, V]) run(it *item[K, V], load func() (V, int64, error)) {
	value, weight, err := load()
	s.mu.Lock()
	defer s.mu.Unlock()
	it.value, it.weight, it.err = value, weight, err
	close(it.done)
	if err != nil {
		time.AfterFunc(grudge, func() { s.forgive(it) })
		return
	}
	it.element = s.used.PushFront(it)
	s.weight += weight
	for s.weight > s.limit {
		s.evict(s.used.Back().Value.(*item[K, V]))
	}
}

// peek returns the value of key if it is kept.
func (s *shelf[K, V]) peek(key K) (value V, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it, found := s.items[key]; found && it.element != nil {
		return it.value, true
	}
	return value, false
}

// discard stops keeping it: the next take loads again.
func (s *shelf[K, V]) discard(it *item[K, V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it.element != nil {
		s.evict(it)
	}
}

func (s *shelf[K, V]) release(it *item[K, V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.users--
	s.dropUnused(it)
}

// close waits for the loads, which somebody else must have told to end, and
// stops keeping anything. Nothing may be taken any more.
func (s *shelf[K, V]) close() {
	s.loads.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.used.Len() > 0 {
		s.evict(s.used.Back().Value.(*item[K, V]))
	}
}

func (s *shelf[K, V]) evict(it *item[K, V]) {
	s.used.Remove(it.element)
	it.element = nil
	s.weight -= it.weight
	s.forget(it)
	s.dropUnused(it)
}

func (s *shelf[K, V]) forgive(it *item[K, V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(it)
}

// pardon has the next take load again if the last load of key failed.
func (s *shelf[K, V]) pardon(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it, ok := s.items[key]; ok && it.err != nil {
		s.forget(it)
	}
}

func (s *shelf[K, V]) forget(it *item[K, V]) {
	if s.items[it.key] == it {
		delete(s.items, it.key)
	}
}

func (s *shelf[K, V]) dropUnused(it *item[K, V]) {
	select {
	case <-it.done:
	default:
		return
	}
	if it.users == 0 && it.element == nil && it.err == nil && s.drop != nil {
		s.drop(it.value)
	}
}
