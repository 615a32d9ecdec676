package crew_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fstree/fstree/internal/crew"
)

func TestAllJobsAreDoneByFew(t *testing.T) {
	var done, now, most atomic.Int64
	c, ctx := crew.New(t.Context(), 3)
	for range 100 {
		if err := c.Do(func() error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(100 * time.Microsecond)
			now.Add(-1)
			done.Add(1)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Wait(); err != nil || done.Load() != 100 || most.Load() > 3 {
		t.Errorf("%d jobs, %d at once, %v", done.Load(), most.Load(), err)
	}
	if ctx.Err() == nil {
		t.Error("the context outlives the jobs")
	}
}

func TestFirstErrorEndsTheWork(t *testing.T) {
	broke := errors.New("broke")
	c, ctx := crew.New(t.Context(), 2)
	var err error
	for range 100 { // more than there are goroutines to fail
		if err = c.Do(func() error { return broke }); err != nil {
			break
		}
	}
	if err != broke || context.Cause(ctx) != broke || c.Wait() != broke {
		t.Errorf("%v, %v", err, context.Cause(ctx))
	}
}

func TestWaitForAFreeHandObeysTheContext(t *testing.T) {
	outer, cancel := context.WithCancel(t.Context())
	c, ctx := crew.New(outer, 1)
	if err := c.Do(func() error { <-ctx.Done(); return nil }); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := c.Do(func() error { t.Error("done after all"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%v", err)
	}
}
