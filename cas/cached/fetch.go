package cached

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// inMemory is the size up to which an object is held in memory on its way from
// far to near, so that nobody waits for near to store it.
const inMemory = 128 << 10

// flight is the one fetch of an object. data and err are set when done is
// closed: then the object can be had, from data or, if that is nil, from near.
type flight struct {
	done chan struct{}
	data []byte
	err  error
}

func newFlight() *flight { return &flight{done: make(chan struct{})} }

// land makes the object available before near has stored it.
func (f *flight) land(data []byte) {
	f.data = data
	close(f.done)
}

func (f *flight) landed() bool { return f.data != nil }

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) fetch(ctx context.Context, d cas.Digest) (*flight, error) {
	f, err := s.join(d)
	if err != nil {
		return nil, err
	}
	return f, f.wait(ctx)
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
	f := newFlight()
	s.flights[d] = f
	s.running.Go(func() { s.finish(d, f, s.copy(d, f)) })
	return f, nil
}

// finish ends a flight. One that has landed can't fail any more.
func (s *Store) finish(d cas.Digest, f *flight, err error) {
	s.mu.Lock()
	delete(s.flights, d)
	s.mu.Unlock()
	if f.landed() {
		if err != nil {
			s.stats.unkept.Add(1)
		}
		return
	}
	f.err = err
	close(f.done)
}

func errClosed(d cas.Digest) error {
	return fmt.Errorf("object %s: the store is closed: %w", d, cas.ErrUnavailable)
}

// copy brings d from far to near.
func (s *Store) copy(d cas.Digest, f *flight) error {
	err := s.observed(func() error {
		return s.insist(s.lifetime, func() (bool, error) {
			return false, s.watch(s.lifetime, d, func(ctx context.Context, w *watched) error {
				o, err := s.far.Get(ctx, d)
				w.sleep()
				if err != nil {
					return err
				}
				defer o.Close()
				return s.receive(ctx, d, f, o, o.Size(), w)
			})
		})
	})
	switch {
	case err == nil && f.landed():
		return s.near.Put(s.outliving(), d, bytes.NewReader(f.data))
	case errors.As(err, new(*cas.MismatchError)):
		s.setWrong(d)
	}
	return err
}

// outliving is the context of what is stored of what is here already.
func (s *Store) outliving() context.Context { return context.WithoutCancel(s.lifetime) }

// receive lands a small object, and stores a large one. The bytes of o may be
// wrong, and there may be more than size says.
func (s *Store) receive(ctx context.Context, d cas.Digest, f *flight, o io.Reader, size int64, w *watched) error {
	head, r, err := begin(w.from(o), size)
	if err != nil {
		return err
	}
	if r == nil {
		if !d.Names(head) {
			return &cas.MismatchError{Want: d}
		}
		s.stats.objects.Add(1)
		f.land(head)
		return nil
	}
	err = s.near.Put(ctx, d, r)
	switch {
	case err == nil:
		s.stats.objects.Add(1)
		return nil
	case w.err != nil:
		return w.err
	case errors.As(err, new(*cas.MismatchError)):
		return err
	}
	return &bao.KeepError{Err: err}
}

// begin reads a small object to its end: then there is no r. Of a large one,
// r delivers everything.
func begin(o io.Reader, size int64) (head []byte, r io.Reader, err error) {
	if size > inMemory {
		return nil, o, nil
	}
	if size < 0 {
		size = inMemory
	}
	head = make([]byte, size+1)
	n, err := io.ReadFull(o, head)
	switch err {
	case io.EOF, io.ErrUnexpectedEOF:
		return head[:n], nil, nil
	case nil:
		return nil, io.MultiReader(bytes.NewReader(head), o), nil
	}
	return nil, nil, err
}
