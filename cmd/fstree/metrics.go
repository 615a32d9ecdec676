package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/fstree/fstree/fs/mount"
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
	stats, status := c.server.Stats(), c.Status()
	metric := func(name, kind, help string, value int64) {
		fmt.Fprintf(w, "# HELP %[1]s %[2]s\n# TYPE %[1]s %[3]s\n%[1]s %[4]d\n", "fstree_mount_"+name, help, kind, value)
	}
	metric("requests_total", "counter", "Questions of the kernel.", stats.Requests)
	metric("reads_total", "counter", "Questions for file content.", stats.Reads)
	metric("read_bytes_total", "counter", "Content handed to the kernel.", stats.ReadBytes)
	metric("passthrough_opens_total", "counter", "Openings of files that the kernel read itself.", stats.Passed)
	metric("errors_total", "counter", "Questions answered with an error.", stats.Errors)
	metric("fetched_objects_total", "counter", "Trees and files fetched from the remote.", status.ObjectsFetched)
	metric("fetched_bytes_total", "counter", "Bytes fetched from the remote.", status.BytesFetched)
	metric("cache_hits_total", "counter", "Trees and files that were in the cache.", status.CacheHits)
	metric("entries", "gauge", "Names in the directories that were looked into.", int64(stats.Entries))
	metric("waiting", "gauge", "Questions that wait for a tree or a file.", stats.Waiting)
	metric("loads_running", "gauge", "Trees and files on their way.", stats.Loads.Running)
	metric("load_errors_total", "counter", "Trees and files that could not be had.", stats.Loads.Failed)
	writeLoads(w, stats.Loads)
}

func writeLoads(w io.Writer, l mount.Loads) {
	const name = "fstree_mount_load_seconds"
	fmt.Fprintf(w, "# HELP %[1]s Time to have a tree or a file, from the cache or the remote.\n# TYPE %[1]s histogram\n", name)
	sum := int64(0)
	for i, n := range l.Classes {
		sum += n
		bound := "+Inf"
		if i < len(mount.LoadBounds) {
			bound = strconv.FormatFloat(mount.LoadBounds[i].Seconds(), 'g', -1, 64)
		}
		fmt.Fprintf(w, "%s_bucket{le=%q} %d\n", name, bound, sum)
	}
	fmt.Fprintf(w, "%[1]s_sum %[2]g\n%[1]s_count %[3]d\n", name, l.Total.Seconds(), sum)
}
