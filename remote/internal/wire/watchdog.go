// Package wire holds what both ends of all protocols share.
package wire

import (
	"context"
	"fmt"
	"time"

	"github.com/fstree/fstree/cas"
)

// SilenceError is the end of waiting for a peer that says nothing. It is
// cas.ErrUnavailable.
type SilenceError struct {
	Limit time.Duration
}

func (e *SilenceError) Error() string { return fmt.Sprintf("no answer for %s", e.Limit) }

// Is makes errors.Is(e, cas.ErrUnavailable) true.
func (e *SilenceError) Is(target error) bool { return target == cas.ErrUnavailable }

// Watchdog bounds the silence of a peer: not how long a transfer takes, but how
// long it stands still.
type Watchdog struct {
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// Watch returns a context that ends, with a *SilenceError as its cause, when
// the Watchdog has been awake for limit without being woken again. It starts
// awake. Stop ends the context and frees the Watchdog.
func Watch(ctx context.Context, limit time.Duration) (context.Context, *Watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &Watchdog{limit: limit, cancel: cancel}
	w.timer = time.AfterFunc(limit, func() { cancel(&SilenceError{limit}) })
	return ctx, w
}

// Wake starts the wait for the peer anew.
func (w *Watchdog) Wake() { w.timer.Reset(w.limit) }

// Sleep pauses the wait, while somebody else than the peer is at work.
func (w *Watchdog) Sleep() { w.timer.Stop() }

// Stop ends the context.
func (w *Watchdog) Stop() {
	w.timer.Stop()
	w.cancel(nil)
}
