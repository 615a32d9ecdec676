package cached

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fstree/fstree/cas"
)

// watched is the far end of a fetch. Its timer runs while far is waited for,
// and not while near takes its time to write.
type watched struct {
	store *Store
	timer *time.Timer
	r     io.Reader
	err   error // of r, io.EOF left out
}

// watch calls fetch with a context that ends when nothing has come from far for
// too long. It tells why a fetch ended that was made to.
func (s *Store) watch(ctx context.Context, d cas.Digest, fetch func(ctx context.Context, w *watched) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := s.silence()
	w := &watched{store: s}
	w.timer = time.AfterFunc(silence, func() {
		cancel(fmt.Errorf("object %s: nothing came for %v: %w", d, silence, cas.ErrUnavailable))
	})
	defer w.timer.Stop()
	err := fetch(ctx, w)
	switch {
	case err == nil:
		return nil
	case s.lifetime.Err() != nil:
		return errClosed(d)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

func (s *Store) silence() time.Duration {
	if s.Silence <= 0 {
		return DefaultSilence
	}
	return s.Silence
}

// sleep ends a wait for far, wake begins one.
func (w *watched) sleep() { w.timer.Stop() }
func (w *watched) wake()  { w.timer.Reset(w.store.silence()) }

func (w *watched) from(r io.Reader) io.Reader {
	w.r, w.err = r, nil
	return w
}

func (w *watched) Read(p []byte) (int, error) {
	w.wake()
	n, err := w.r.Read(p)
	w.sleep()
	if n > 0 {
		w.store.heard()
		w.store.stats.bytes.Add(int64(n))
	}
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// A far store that was there a moment ago is given a moment to come back: a
// server that is restarted, a connection that broke. One that stays away fails
// at once, so that nobody waits for it again and again.
const (
	comeback   = 5 * time.Second
	firstPause = 50 * time.Millisecond
	mostPause  = time.Second
)

func (s *Store) heard() { s.lastHeard.Store(time.Now().UnixNano()) }

// insist repeats a fetch that failed since far could not be asked, for a moment
// after it failed for the first time, or for the first time since it has told
// that something of it came and need not come again.
func (s *Store) insist(ctx context.Context, fetch func() (gotOn bool, err error)) error {
	patience := min(comeback, s.silence()/6)
	var failed time.Time
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		gotOn, err := fetch()
		if gotOn || failed.IsZero() {
			failed, pause = time.Now(), firstPause
		}
		absence := time.Since(time.Unix(0, s.lastHeard.Load()))
		if !errors.Is(err, cas.ErrUnavailable) || max(absence, time.Since(failed)) > patience || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}
