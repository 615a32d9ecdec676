package transfer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fstree/fstree/cas"
)

const (
	// DefaultPatience is what a zero Options.Patience means.
	DefaultPatience = time.Minute

	// firstPatience is for a store that was never reached: more likely than
	// absent for a while it is not there at all, and somebody mistyped its name.
	firstPatience = time.Second

	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// patience decides for a whole transfer, all calls together, whether to try
// again after a failure that may pass.
type patience struct {
	limit time.Duration

	mu        sync.Mutex
	successes int
	failing   time.Time // the first failure since the last success; zero if there is none
}

// success notes that the store is there, and ends what was failing.
func (p *patience) success() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.successes++
	p.failing = time.Time{}
}

// try calls do until it succeeds, fails with something else than
// cas.ErrUnavailable, or has done so for too long without any success. do must
// not do again what it has done.
func (p *patience) try(ctx context.Context, do func() error) error {
	pause := firstPause
	for {
		before := p.count()
		err := do()
		if err == nil {
			p.success()
			return nil
		}
		if ctx.Err() != nil || !errors.Is(err, cas.ErrUnavailable) {
			return err
		}
		if p.count() > before {
			pause = firstPause
		}
		if err := p.allow(err, pause); err != nil {
			return err
		}
		// Whoever was cut off at the same time should not come back so.
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause = min(2*pause, maxPause)
	}
}

func (p *patience) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.successes
}

// allow returns the error of the transfer if there is no time left to try again
// after another pause.
func (p *patience) allow(err error, pause time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing.IsZero() {
		p.failing = time.Now()
	}
	switch spent := time.Since(p.failing); {
	case p.successes == 0 && spent+pause > firstPatience:
		return err
	case spent+pause > p.limit:
		return fmt.Errorf("%w; gave up after %s", err, spent.Round(time.Millisecond))
	}
	return nil
}

// patientHaser asks again.
type patientHaser struct {
	cas.Haser
	*patience
}

func (h patientHaser) Has(ctx context.Context, ds []cas.Digest) (present []bool, err error) {
	err = h.try(ctx, func() error {
		present, err = h.Haser.Has(ctx, ds)
		return err
	})
	return present, err
}
