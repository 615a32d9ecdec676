package mount

import (
	"sync/atomic"
	"time"
)

// LoadBounds are the upper bounds of the classes of Stats.Loads.
var LoadBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond,
	500 * time.Millisecond, 2500 * time.Millisecond, 10 * time.Second, 30 * time.Second,
}

// Loads tells how long it took to have trees and files from the source,
// wherever that had them from.
type Loads struct {
	Classes [len(LoadBounds) + 1]int64 // loads up to each of LoadBounds, then all longer ones
	Total   time.Duration              // of all loads
	Failed  int64                      // among them
	Running int64                      // not among them yet
}

// loads counts what Loads tells.
type loads struct {
	classes                [len(LoadBounds) + 1]atomic.Int64
	total, failed, running atomic.Int64
}

// begin notes that a load begins; the result notes that it has ended.
func (l *loads) begin() (end func(error)) {
	l.running.Add(1)
	start := time.Now()
	return func(err error) {
		took := time.Since(start)
		class := 0
		for class < len(LoadBounds) && took > LoadBounds[class] {
			class++
		}
		l.classes[class].Add(1)
		l.total.Add(int64(took))
		if err != nil {
			l.failed.Add(1)
		}
		l.running.Add(-1)
	}
}

func (l *loads) stats() (s Loads) {
	for i := range l.classes {
		s.Classes[i] = l.classes[i].Load()
	}
	s.Total, s.Failed, s.Running = time.Duration(l.total.Load()), l.failed.Load(), l.running.Load()
	return s
}
