package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// patience bounds every wait for an owner that says nothing, and for Badger.
const patience = 10 * time.Second

// errOwnerGone means that the owner of the index ended before it answered. The
// question may be put again, to the next one.
var errOwnerGone = errors.New("the owner of the index ended")

// errNoOwner means that somebody holds the lock who does not answer yet, or no
// longer.
var errNoOwner = errors.New("no owner answers")

// ask puts a question to the index. If its owner goes away it asks the next
// one, or becomes it.
func (s *Store) ask(ctx context.Context, question func(context.Context, index) error) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	for {
		x, err := s.way(ctx)
		if err != nil {
			return err
		}
		err = question(ctx, x)
		if !errors.Is(err, errOwnerGone) {
			return err
		}
		s.lose(x)
	}
}

// attempt is a search for a way to the index, shared by all who wait for one.
type attempt struct {
	done  chan struct{}
	index index
	err   error
}

// ways leads a Store to the index.
type ways struct {
	mu      sync.Mutex
	current index    // nil if there is none at present
	attempt *attempt // nil if nobody searches
	running sync.WaitGroup
}

// way returns the index: one's own, or that of its owner.
func (s *Store) way(ctx context.Context) (index, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	x, a := s.search()
	if x != nil {
		return x, nil
	}
	select {
	case <-a.done:
		return a.index, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// search returns the index, or the attempt that will find it.
func (s *Store) search() (index, *attempt) {
	w := &s.ways
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != nil || w.attempt != nil {
		return w.current, w.attempt
	}
	a := &attempt{done: make(chan struct{})}
	w.attempt = a
	w.running.Go(func() {
		a.index, a.err = s.elect()
		w.mu.Lock()
		w.current, w.attempt = a.index, nil
		w.mu.Unlock()
		close(a.done)
	})
	return nil, a
}

// lose gives up an index whose owner is gone.
func (s *Store) lose(x index) {
	w := &s.ways
	w.mu.Lock()
	mine := w.current == x
	if mine {
		w.current = nil
	}
	w.mu.Unlock()
	if mine {
		x.close()
	}
}

// loseSoon is lose for who is in the midst of using x.
func (s *Store) loseSoon(x index) {
	w := &s.ways
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.lifetime.Err() == nil {
		w.running.Go(func() { s.lose(x) })
	}
}

// leave ends all use of the index.
func (s *Store) leave() error {
	w := &s.ways
	w.running.Wait()
	w.mu.Lock()
	x := w.current
	w.current = nil
	w.mu.Unlock()
	if x == nil {
		return nil
	}
	return x.close()
}

// interrupt makes questions that are under way end soon.
func (s *Store) interrupt() {
	w := &s.ways
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != nil {
		w.current.interrupt()
	}
}

// elect becomes the owner of the index or finds who is.
func (s *Store) elect() (index, error) {
	end := time.Now().Add(s.patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		x, err := s.tryElect()
		if !errors.Is(err, errNoOwner) {
			return x, err
		}
		if time.Now().After(end) {
			return nil, s.silent()
		}
		select {
		case <-time.After(pause):
		case <-s.lifetime.Done():
			return nil, errClosed
		}
	}
}

func (s *Store) tryElect() (index, error) {
	if s.lifetime.Err() != nil {
		return nil, errClosed
	}
	f, err := os.OpenFile(s.lockPath(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cache %s: cannot open its lock: %w", s.dir, bare(err))
	}
	if lock(f) {
		o, err := own(s, f)
		if err != nil {
			f.Close()
			return nil, err
		}
		return o, nil
	}
	f.Close()
	c, err := dial(s)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (s *Store) lockPath() string { return s.path(runDir, "lock") }

// silent is the error when the owner holds the lock and says nothing.
func (s *Store) silent() error {
	who := "a process"
	if pid, err := os.ReadFile(s.lockPath()); err == nil && len(pid) > 0 {
		who = "process " + strings.TrimSpace(string(pid))
	}
	return fmt.Errorf("cache %s: %w: %s owns the index and has not answered for %s; is it stopped?",
		s.dir, ErrUnavailable, who, s.patience)
}

// owner is the index in the process that holds the lock, and the server that
// offers it to the others.
type owner struct {
	*engine
	lock   io.Closer
	server *server
}

// own opens the index and offers it. It keeps the lock until close.
func own(s *Store, lock *os.File) (*owner, error) {
	if err := lock.Truncate(0); err == nil {
		fmt.Fprintln(lock, os.Getpid())
	}
	x, err := openIndex(s)
	if err != nil {
		return nil, err
	}
	server, err := listen(s, x)
	if err != nil {
		x.close()
		return nil, fmt.Errorf("cache %s: cannot listen: %w", s.dir, err)
	}
	o := &owner{x, lock, server}
	x.giveUp = func() { s.loseSoon(o) }
	return o, nil
}

func (o *owner) interrupt() { o.engine.end() }

// close answers what was asked, closes the index, and lets the next one in.
func (o *owner) close() error {
	o.interrupt()
	o.server.close()
	err := o.engine.close()
	if errors.Is(err, errStuck) {
		return err // the lock goes with the process
	}
	o.lock.Close()
	return err
}
