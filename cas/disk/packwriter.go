package disk

import (
	"context"
	"fmt"
)

// packWriter appends batches to packs, one after the other. It keeps the pack
// to itself until all that is in it is entered in the index: somebody who
// compacts would take for unused what is not.
type packWriter struct {
	turn    chan struct{} // held by who appends
	reserve int64         // bytes of the disk that are left free
	pack    *pack
	ended   bool
}

func newPackWriter(reserve int64) *packWriter {
	return &packWriter{turn: make(chan struct{}, 1), reserve: reserve}
}

func (w *packWriter) close() {
	if w.pack != nil {
		w.pack.file.Close()
		w.pack = nil
	}
}

// end returns when nobody appends any more, and nobody will.
func (w *packWriter) end() {
	w.turn <- struct{}{}
	w.ended = true
	w.close()
	<-w.turn
}

// store stores what of b is not there yet.
func (w *packWriter) store(ctx context.Context, s *Store, b *batch) error {
	if err := b.dropHeld(ctx, s); err != nil || len(b.items) == 0 {
		return err
	}
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if w.ended {
		return errClosed
	}
	if err := w.write(s, b); err != nil {
		w.close()
		return fmt.Errorf("cache %s: cannot write: %w", s.dir, err)
	}
	return s.ask(ctx, func(ctx context.Context, x index) error { return x.record(ctx, b.items, s.limits()) })
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
