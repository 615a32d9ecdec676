package cached

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// unkeptBytes bounds the ranges in memory that near could not keep.
	unkeptBytes = 16 << 20

	// unkeptAhead bounds what is read ahead of a reader then.
	unkeptAhead = 1 << 20

	// unkeptTime is how long a near store that could not keep something is not
	// asked to.
	unkeptTime = 10 * time.Second
)

// unkept holds the ranges that near could not keep, the latest of them: enough
// to serve those who read on.
type unkept struct {
	until atomic.Int64 // when near is tried again, in Unix nanoseconds

	mu     sync.Mutex
	ranges []*rangeFlight // the oldest in front
	bytes  int
}

// failed notes that near could not keep something.
func (u *unkept) failed() { u.until.Store(time.Now().Add(unkeptTime).UnixNano()) }

// isOn tells whether near is not to be bothered.
func (u *unkept) isOn() bool { return time.Now().UnixNano() < u.until.Load() }

// add holds f and lets go of the oldest ranges.
func (u *unkept) add(f *rangeFlight) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ranges = append(u.ranges, f)
	u.bytes += len(f.data)
	for u.bytes > unkeptBytes && len(u.ranges) > 1 {
		oldest := u.ranges[0]
		u.ranges[0] = nil
		u.ranges = u.ranges[1:]
		u.bytes -= len(oldest.data)
		oldest.object.forget(oldest)
	}
}
