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

// aliveEvery is the time between two lines if there is nothing to tell.
const aliveEvery = time.Second

func (s *Server) prefetch(w http.ResponseWriter, r *http.Request) {
	path, wait, ctx := r.URL.Query().Get("path"), r.URL.Query().Get("wait") == "1", s.lifetime
	if wait {
		ctx = r.Context()
	}
	reports, ended := make(chan Progress, 1), make(chan error, 1)
	s.running.Go(func() {
		ended <- s.mount.Prefetch(ctx, path, func(p Progress) {
			select {
			case <-reports: // nobody took the one before
			default:
			}
			reports <- p
		})
	})
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for u := (Update{}); !u.Done; {
		select {
		case u.Progress = <-reports:
			u.Done = !wait
		case err := <-ended:
			u = last(u, reports, err)
		case <-alive.C:
		case <-r.Context().Done():
			return
		}
		_ = json.NewEncoder(w).Encode(u) // who has left has ended the context
		_ = http.NewResponseController(w).Flush()
	}
}

// last is the last line, after u.
func last(u Update, reports <-chan Progress, err error) Update {
	select {
	case u.Progress = <-reports:
	default:
	}
	u.Done = true
	if err != nil {
		u.Error, u.Missing = err.Error(), errors.Is(err, fs.ErrNotExist)
	}
	return u
}
