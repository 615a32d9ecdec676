package cached

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fstree/fstree/cas"
)

// flight is the one fetch of an object. err is set when done is closed.
type flight struct {
	done chan struct{}
	err  error
}

func (s *Store) fetch(ctx context.Context, d cas.Digest) error {
	f, err := s.join(d)
	if err != nil {
		return err
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// join returns the flight of d, starting it if there is none.
func (s *Store) join(d cas.Digest) (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed(d)
	}
	if f, ok := s.flights[d]; ok {
		return f, nil
	}
	f := &flight{done: make(chan struct{})}
	s.flights[d] = f
	s.running.Go(func() {
		f.err = s.copy(d)
		s.mu.Lock()
		delete(s.flights, d)
		s.mu.Unlock()
		close(f.done)
	})
	return f, nil
}

func errClosed(d cas.Digest) error {
	return fmt.Errorf("object %s: the store is closed: %w", d, cas.ErrUnavailable)
}

// keepError is a failure of the near store, not of the far one.
type keepError struct{ err error }

func (e *keepError) Error() string { return e.err.Error() }
func (e *keepError) Unwrap() error { return e.err }

// copy brings d from far to near.
func (s *Store) copy(d cas.Digest) error {
	ctx, cancel := context.WithCancelCause(s.lifetime)
	defer cancel(nil)
	silence := s.Silence
	if silence <= 0 {
		silence = DefaultSilence
	}
	w := &watched{silence: silence}
	w.timer = time.AfterFunc(silence, func() {
		cancel(fmt.Errorf("object %s: nothing came for %v: %w", d, silence, cas.ErrUnavailable))
	})
	defer w.timer.Stop()
	err := s.transfer(ctx, d, w)
	switch {
	case err == nil:
		s.fetched.Add(1)
		s.bytes.Add(w.n)
		return nil
	case s.lifetime.Err() != nil:
		return errClosed(d)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

func (s *Store) transfer(ctx context.Context, d cas.Digest, w *watched) error {
	o, err := s.far.Get(ctx, d)
	w.timer.Stop()
	if err != nil {
		return err
	}
	defer o.Close()
	w.r = o
	err = s.near.Put(ctx, d, w)
	if err == nil {
		return nil
	}
	if w.err != nil {
		return w.err
	}
	if errors.As(err, new(*cas.MismatchError)) {
		return err // far did not notice that it sent something else
	}
	return &keepError{err}
}

// watched reads from far. The timer runs while it waits for bytes, and not
// while near takes its time to write them.
type watched struct {
	r       io.Reader
	timer   *time.Timer
	silence time.Duration
	n       int64
	err     error // of r, io.EOF left out
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.silence)
	n, err := w.r.Read(p)
	w.timer.Stop()
	w.n += int64(n)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}
