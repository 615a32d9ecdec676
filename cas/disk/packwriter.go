package disk

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// packWriters are as many packWriters as may append at once. The one that was
// used last is taken first, so that who stores one batch after the other fills
// one pack.
type packWriters struct {
	turns chan struct{} // held by who appends
	once  sync.Once     // they end

	mu    sync.Mutex
	idle  []*packWriter // those whose turn it is not, as far as they were needed yet
	timer *time.Timer   // runs while packs are open
	ended bool
}

// maxWriters bounds the packs that a process has open in order to append. Those
// that are not full yet go on with the next process.
const maxWriters = 4

func newPackWriters() *packWriters {
	return &packWriters{turns: make(chan struct{}, min(maxWriters, runtime.GOMAXPROCS(0)))}
}

// store stores what of b is not there yet.
func (ws *packWriters) store(ctx context.Context, s *Store, b *batch) error {
	if err := b.dropHeld(ctx, s); err != nil || len(b.items) == 0 {
		return err
	}
	w, err := ws.take(ctx)
	if err != nil {
		return err
	}
	defer ws.give(w)
	if err := w.write(s, b); err != nil {
		w.close()
		return fmt.Errorf("cache %s: cannot write: %w", s.dir, err)
	}
	return s.ask(ctx, func(ctx context.Context, x index) error { return x.record(ctx, b.items, s.limits()) })
}

func (ws *packWriters) take(ctx context.Context) (*packWriter, error) {
	select {
	case ws.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.ended {
		<-ws.turns
		return nil, errClosed
	}
	last := len(ws.idle) - 1
	if last < 0 {
		return newPackWriter(reserve), nil
	}
	w := ws.idle[last]
	ws.idle = ws.idle[:last]
	return w, nil
}

func (ws *packWriters) give(w *packWriter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.idle = append(ws.idle, w)
	w.used = true
	if ws.timer == nil {
		ws.timer = time.AfterFunc(packIdle, ws.sweep)
	}
	<-ws.turns
}

// sweep lets go of packs that were not appended to since the last time, so that
// others may, or compact them.
func (ws *packWriters) sweep() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.idle {
		if !w.used {
			w.close()
		}
		w.used = false
	}
	if ws.ended || !slices.ContainsFunc(ws.idle, func(w *packWriter) bool { return w.pack != nil }) {
		ws.timer = nil
		return
	}
	ws.timer.Reset(packIdle)
}

// end returns when nobody appends any more, and nobody will.
func (ws *packWriters) end() { ws.once.Do(ws.endOnce) }

func (ws *packWriters) endOnce() {
	for range cap(ws.turns) {
		ws.turns <- struct{}{}
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.ended = true
	for _, w := range ws.idle {
		w.close()
	}
	if ws.timer != nil {
		ws.timer.Stop()
	}
	for range cap(ws.turns) {
		<-ws.turns
	}
}

// packWriter appends batches to packs, one after the other. It keeps the pack
// to itself until all that is in it is entered in the index: somebody who
// compacts would take for unused what is not.
type packWriter struct {
	reserve int64 // bytes of the disk that are left free
	pack    *pack
	used    bool // since the last sweep
}

func newPackWriter(reserve int64) *packWriter { return &packWriter{reserve: reserve} }

func (w *packWriter) close() {
	if w.pack != nil {
		w.pack.file.Close()
		w.pack = nil
	}
}

// write appends b to the pack.
func (w *packWriter) write(s *Store, b *batch) error {
	if err := s.room(w.reserve); err != nil {
		return err
	}
	if w.pack == nil || w.pack.end >= packLimit || !w.pack.intact() {
		w.close()
		p, err := s.takePack()
		if err != nil {
			return err
		}
		w.pack = p
	}
	return b.writeTo(w.pack)
}
