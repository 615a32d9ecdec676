package server

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/fstree/fstree/cas"
)

// metrics counts. The names are those of jolt-cache, so that dashboards go on
// working.
type metrics struct {
	hits   atomic.Int64
	misses atomic.Int64
	usage  func() Usage
}

// noteRead counts an attempt to read an object, which ended in err.
func (m *metrics) noteRead(err error) {
	switch {
	case err == nil:
		m.hits.Add(1)
	case errors.Is(err, cas.ErrNotFound):
		m.misses.Add(1)
	}
}

// serve writes the metrics in Prometheus' text format.
func (m *metrics) serve(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	line := func(name, kind, help string, value int64) {
		fmt.Fprintf(w, "# HELP %[1]s %[2]s\n# TYPE %[1]s %[3]s\n%[1]s %[4]d\n", name, help, kind, value)
	}
	if m.usage != nil {
		usage := m.usage()
		line("jolt_cache_artifacts", "gauge", "Objects held.", usage.Objects)
		line("jolt_cache_size_bytes", "gauge", "Bytes of the objects held.", usage.Bytes)
		line("jolt_cache_evictions_total", "counter", "Objects dropped to make room.", usage.Evictions)
	}
	line("jolt_cache_hits_total", "counter", "Objects read.", m.hits.Load())
	line("jolt_cache_misses_total", "counter", "Objects asked for and not found.", m.misses.Load())
}
