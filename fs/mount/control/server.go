package control

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	headTime = 5 * time.Second // for a client to say what it wants
	maxHead  = 32 << 10        // bytes of that: a path, each of its bytes escaped
	endTime  = time.Second     // for answers under way to end, which they are told to
)

// Server is the socket of a mount.
type Server struct {
	mount    Mount
	http     http.Server
	path     string
	info     os.FileInfo
	lifetime context.Context
	end      context.CancelFunc
	running  sync.WaitGroup
}

// Listen offers m on the socket name in dir until Close. It makes dir if
// needed; that nobody else may look into dir is the caller's business.
func Listen(dir, name string, m Mount) (*Server, error) {
	l, err := listen(dir, name)
	if err != nil {
		return nil, err
	}
	lifetime, end := context.WithCancel(context.Background())
	s := &Server{mount: m, path: filepath.Join(dir, name), lifetime: lifetime, end: end}
	s.info, _ = os.Lstat(s.path)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("POST /v1/prefetch", s.prefetch)
	s.http = http.Server{
		Handler: mux, ReadHeaderTimeout: headTime, MaxHeaderBytes: maxHead,
		BaseContext: func(net.Listener) context.Context { return lifetime },
	}
	s.running.Go(func() { _ = s.http.Serve(l) }) // it ends with Close
	return s, nil
}

// Close ends what is under way and takes the socket away.
func (s *Server) Close() {
	removeSame(s.path, s.info)
	s.end()
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	_ = s.http.Shutdown(ctx)
	s.http.Close()
	s.running.Wait()
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.mount.Status())
}

func (s *Server) prefetch(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Query().Get("path")
	if r.URL.Query().Get("wait") == "1" {
		a := answer{w: w}
		a.end(s.mount.Prefetch(r.Context(), path, a.progress))
		return
	}
	found := make(chan struct{})
	var once sync.Once
	failed := make(chan error, 1)
	s.running.Go(func() {
		failed <- s.mount.Prefetch(s.lifetime, path, func(Progress) { once.Do(func() { close(found) }) })
	})
	a := answer{w: w}
	select {
	case <-found:
		a.end(nil)
	case err := <-failed:
		a.end(err)
	}
}

// answer is the answer to a prefetch. Before its first line it can still become
// an error.
type answer struct {
	w     http.ResponseWriter
	begun bool
	last  Progress
}

func (a *answer) progress(p Progress) {
	a.last = p
	a.line(Update{Progress: p})
}

func (a *answer) end(err error) {
	switch {
	case err == nil:
		a.line(Update{Progress: a.last, Done: true})
	case a.begun:
		a.line(Update{Progress: a.last, Done: true, Error: err.Error()})
	case errors.Is(err, fs.ErrNotExist):
		http.Error(a.w, err.Error(), http.StatusNotFound)
	default:
		http.Error(a.w, err.Error(), http.StatusServiceUnavailable)
	}
}

func (a *answer) line(u Update) {
	a.begun = true
	_ = json.NewEncoder(a.w).Encode(u) // who has left has ended the context
	_ = http.NewResponseController(a.w).Flush()
}
