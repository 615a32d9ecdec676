package mount

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func patient(done <-chan struct{}) error { <-done; return nil }

// counted is a shelf of numbers that knows how many are alive.
func counted(limit int64) (*shelf[int, int], *atomic.Int64) {
	alive := &atomic.Int64{}
	return newShelf[int](limit, func(int) { alive.Add(-1) }), alive
}

func TestShelfDropsWhatIsNeitherKeptNorUsed(t *testing.T) {
	s, alive := counted(10)
	load := func() (int, int64, error) { alive.Add(1); return 0, 4, nil }
	first, _ := s.take(1, patient, load)
	for key := range 100 {
		it, err := s.take(key, patient, load)
		if err != nil {
			t.Fatal(err)
		}
		s.release(it)
	}
	if n := alive.Load(); n > 3 {
		t.Errorf("%d values are alive", n)
	}
	before := alive.Load()
	s.release(first)
	if alive.Load() != before-1 {
		t.Error("a value that was evicted in use did not end with its last use")
	}
	s.close()
	if n := alive.Load(); n != 0 {
		t.Errorf("%d values outlive the shelf", n)
	}
}

func TestShelfKeepsTheLatelyUsed(t *testing.T) {
	s, _ := counted(3)
	loads := 0
	take := func(key int) {
		it, _ := s.take(key, patient, func() (int, int64, error) { loads++; return key, 1, nil })
		s.release(it)
	}
	for _, key := range []int{1, 2, 3, 1, 4, 1, 3} {
		take(key)
	}
	if loads != 4 {
		t.Errorf("%d loads, want 4", loads)
	}
}

func TestShelfLoadsOnceForAll(t *testing.T) {
	s, alive := counted(10)
	var loads atomic.Int64
	start := make(chan struct{})
	var users sync.WaitGroup
	for range 64 {
		users.Go(func() {
			it, err := s.take(7, patient, func() (int, int64, error) {
				<-start
				loads.Add(1)
				alive.Add(1)
				return 42, 1, nil
			})
			if err != nil || it.value != 42 {
				t.Errorf("%v", err)
			}
			s.release(it)
		})
	}
	time.Sleep(10 * time.Millisecond)
	close(start)
	users.Wait()
	if n := loads.Load(); n != 1 {
		t.Errorf("%d loads", n)
	}
}

func TestShelfLoadOutlivesAnImpatientUser(t *testing.T) {
	s, alive := counted(0)
	start := make(chan struct{})
	_, err := s.take(1, func(<-chan struct{}) error { return errImpatient }, func() (int, int64, error) {
		<-start
		alive.Add(1)
		return 1, 1, nil
	})
	if !errors.Is(err, errImpatient) {
		t.Fatal(err)
	}
	close(start)
	s.close()
	if n := alive.Load(); n != 0 {
		t.Errorf("%d values that nobody waits for are alive", n)
	}
}

func TestShelfForgivesFailuresSoon(t *testing.T) {
	s, _ := counted(1)
	loads := 0
	fail := func() (int, int64, error) { loads++; return 0, 0, errBroken }
	for range 10 {
		if _, err := s.take(1, patient, fail); !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
	}
	if loads != 1 {
		t.Errorf("%d loads in a row failed", loads)
	}
	eventually(t, func() error {
		it, err := s.take(1, patient, func() (int, int64, error) { return 1, 1, nil })
		if err == nil {
			s.release(it)
		}
		return err
	})
}
