package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// metricsListener serves the metrics of a mount. Nil serves nothing.
type metricsListener struct{ net.Listener }

// listen takes the address of --metrics.
func (c *mountCommand) listen() (*metricsListener, error) {
	if c.Metrics == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", c.Metrics)
	if err != nil {
		return nil, fmt.Errorf("--metrics: %w", err)
	}
	return &metricsListener{l}, nil
}

// Close frees the address.
func (l *metricsListener) Close() error {
	if l == nil {
		return nil
	}
	return l.Listener.Close()
}

// metricsTime bounds a scrape.
const metricsTime = 10 * time.Second

// serve answers until end is called.
func (l *metricsListener) serve(shown *controlled) (end func()) {
	if l == nil {
		return func() {}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		shown.writeMetrics(w)
	})
	s := &http.Server{Handler: mux, ReadTimeout: metricsTime, WriteTimeout: metricsTime}
	go s.Serve(l.Listener) // it ends with Close
	return func() { s.Close() }
}

// writeMetrics writes what the mount did in Prometheus' text format.
func (c *controlled) writeMetrics(w io.Writer) {
	shown, source := c.server.Stats(), c.source.Stats()
	metric := func(name, kind, help string, value int64) {
		fmt.Fprintf(w, "# HELP %[1]s %[2]s\n# TYPE %[1]s %[3]s\n%[1]s %[4]d\n", "fstree_mount_"+name, help, kind, value)
	}
	prefetching := int64(0)
	if shown.Prefetching {
		prefetching = 1
	}
	metric("requests_total", "counter", "Questions of the kernel.", shown.Requests)
	metric("reads_total", "counter", "Questions for file content.", shown.Reads)
	metric("files_read_total", "counter", "Files opened, by readers or ahead of them.", shown.Objects)
	metric("read_bytes_total", "counter", "Content handed to the kernel.", shown.ReadBytes)
	metric("passthrough_opens_total", "counter", "Openings of files that the kernel read itself.", shown.Passed)
	metric("errors_total", "counter", "Questions answered with an error.", shown.Errors)
	metric("entries", "gauge", "Names in the directories that were looked into.", int64(shown.Entries))
	metric("waiting", "gauge", "Questions that wait for a tree or a file.", shown.Waiting)
	metric("prefetching", "gauge", "Whether reading ahead goes on: 1 or 0.", prefetching)
	metric("cache_hits_total", "counter", "Objects and ranges that were in the cache.", source.Hits)
	metric("cache_misses_total", "counter", "Objects and ranges that had to be waited for.", source.Misses)
	metric("fetched_objects_total", "counter", "Objects fetched whole.", source.Objects)
	metric("fetched_ranges_total", "counter", "Ranges of objects fetched.", source.Parts)
	metric("fetched_bytes_total", "counter", "Bytes fetched.", source.Bytes)
	metric("fetch_errors_total", "counter", "Fetches that failed.", source.Failures)
	metric("fetches_running", "gauge", "Fetches under way.", source.InFlight)
	c.fetches.write(w, "fstree_mount_fetch_seconds", "Time that fetches from the remote took.")
}
