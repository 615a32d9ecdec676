package mount

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Progress tells how far reading ahead has come.
type Progress struct {
	Trees      int64 // directories read
	Files      int64 // files read, or found to be here
	Bytes      int64 // of these files
	TotalFiles int64 // files to read, as far as the directories are known
	TotalBytes int64 // of these files
}

const (
	// maxWishes is how many Prefetch calls are under way at once.
	maxWishes = 16
	// progressEvery is the time between two reports.
	progressEvery = 250 * time.Millisecond
)

// Prefetch reads the file or directory at path, relative to the root of the
// mount, and all that is below it, so that it is local then. It gives way to
// those who wait for something. report is called from one goroutine at a time:
// once path is found, every moment, and at the end. A path that is not there is
// fs.ErrNotExist; too many calls at once are ErrBusy.
func (s *Server) Prefetch(ctx context.Context, path string, report func(Progress)) error {
	select {
	case s.wishes <- struct{}{}:
		defer func() { <-s.wishes }()
	default:
		return fmt.Errorf("prefetch %s: %w: %d others are under way", path, ErrBusy, maxWishes)
	}
	if s.shared.lifetime.Err() != nil {
		return errEnded
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.shared.lifetime, func() { cancel(errEnded) })()
	fs, inside, release, err := s.content.locate(callerUntil(ctx.Done()), path)
	if err != nil {
		return err
	}
	defer release()
	p := fs.prefetcher(ctx)
	id, err := p.find(inside)
	if err != nil {
		return p.outcome(err)
	}
	report(Progress{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.read(id)
	}()
	ticks := time.NewTicker(progressEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			report(p.progress())
		case <-done:
			report(p.progress())
			return p.outcome(nil)
		}
	}
}

var errEnded = errors.New("the mount has ended")

// outcome is the error of a wish, which could not be begun because of err or
// has come to its end.
func (p *prefetcher) outcome(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch n := p.failures.Load(); {
	case p.ctx.Err() != nil:
		return context.Cause(p.ctx)
	case err != nil:
		return err
	case n > 1:
		return fmt.Errorf("%w; and %d more failures", p.first, n-1)
	case n == 1:
		return p.first
	case p.tooMany():
		return fmt.Errorf("prefetch: %w", errTooMany)
	}
	return nil
}

func (p *prefetcher) progress() Progress {
	return Progress{
		Trees: p.trees.Load(), Files: p.files.Load(), Bytes: p.bytes.Load(),
		TotalFiles: p.wanted.Load(), TotalBytes: p.wantedBytes.Load(),
	}
}
