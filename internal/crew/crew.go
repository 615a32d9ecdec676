// Package crew does many small jobs side by side, in few goroutines. A new one
// for each would grow its stack anew for each: to hash a small file costs less.
package crew

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Crew is some goroutines that wait for jobs. All calls of Do, and the one of
// Wait behind them, must come from one goroutine.
type Crew struct {
	ctx   context.Context
	group *errgroup.Group
	jobs  chan func() error
	more  int // goroutines that may be started
}

// New returns a Crew of up to size goroutines, at least one, and a context that
// ends with the first error of a job.
func New(ctx context.Context, size int) (*Crew, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	return &Crew{ctx: ctx, group: group, jobs: make(chan func() error), more: max(size, 1)}, ctx
}

// Do has job done by whoever is free, for which it waits. If the context ends
// before, the job is not done, and Do returns the cause.
func (c *Crew) Do(job func() error) error {
	select {
	case c.jobs <- job:
		return nil
	default:
	}
	if c.more > 0 {
		c.more--
		c.group.Go(func() error { return c.work(job) })
		return nil
	}
	select {
	case c.jobs <- job:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

func (c *Crew) work(job func() error) error {
	for more := true; more; job, more = <-c.jobs {
		if err := job(); err != nil {
			return err
		}
	}
	return nil
}

// Wait waits until all jobs are done, and returns the first error of one. The
// context ends.
func (c *Crew) Wait() error {
	close(c.jobs)
	return c.group.Wait()
}
