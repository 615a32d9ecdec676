package main

import (
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// histogram counts durations by their length. It is safe for concurrent use.
type histogram struct {
	mu      sync.Mutex
	classes [len(histogramBounds) + 1]int64
	sum     time.Duration
}

// histogramBounds are the upper bounds of the classes; the last class has none.
var histogramBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond,
	500 * time.Millisecond, 2500 * time.Millisecond, 10 * time.Second, 30 * time.Second,
}

func (h *histogram) observe(d time.Duration) {
	class := 0
	for class < len(histogramBounds) && d > histogramBounds[class] {
		class++
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.classes[class]++
	h.sum += d
}

// write writes the histogram in Prometheus' text format.
func (h *histogram) write(w io.Writer, name, help string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprintf(w, "# HELP %[1]s %[2]s\n# TYPE %[1]s histogram\n", name, help)
	count := int64(0)
	for i, n := range h.classes {
		count += n
		bound := "+Inf"
		if i < len(histogramBounds) {
			bound = strconv.FormatFloat(histogramBounds[i].Seconds(), 'g', -1, 64)
		}
		fmt.Fprintf(w, "%s_bucket{le=%q} %d\n", name, bound, count)
	}
	fmt.Fprintf(w, "%[1]s_sum %[2]g\n%[1]s_count %[3]d\n", name, h.sum.Seconds(), count)
}
