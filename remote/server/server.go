// Package server offers a store to others: over gRPC, as fstree.CacheService
// to all clients and as fstree.store.v1.StoreService to ours, and as objects
// under paths over HTTP. Writes are verified before they are
// seen by anybody; what a client sends is bounded in size, number and silence.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // old clients compress their requests
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
)

const (
	bufSize = 256 << 10

	maxMessage     = 4 << 20
	maxStreams     = 1000 // of one connection
	maxHeaderBytes = 64 << 10

	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
)

// Options of a Server. The zero value is sensible.
type Options struct {
	// Parallel bounds the objects read at a time for one question about a
	// closure. 16 if zero.
	Parallel int
	// Timeout bounds how long a transfer over HTTP may stand still, and how
	// long a connection may be dead without a word. A minute if zero.
	Timeout time.Duration
	// Usage tells what the store holds, for /metrics. Nil leaves those lines
	// out.
	Usage func() Usage
	// Log receives what an operator should know. Nil is silence.
	Log *slog.Logger
}

// Usage is what a store holds and has dropped.
type Usage struct {
	Objects   int64 // held
	Bytes     int64 // held
	Evictions int64 // objects dropped since the start, to make room
}

// Server offers one store. Make it with New; serve GRPC and HTTP, either or
// both, on listeners; end it with Shutdown.
type Server struct {
	store   cas.Store
	opt     Options
	metrics metrics
	health  *health.Server
	grpc    *grpc.Server
	http    *http.Server
}

// New returns a Server of store, which it does not close.
func New(store cas.Store, opt Options) *Server {
	if opt.Parallel <= 0 {
		opt.Parallel = 16
	}
	if opt.Timeout <= 0 {
		opt.Timeout = time.Minute
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{store: store, opt: opt, health: health.NewServer()}
	s.metrics.usage = opt.Usage
	s.grpc = newGRPC(opt)
	pb.RegisterCacheServiceServer(s.grpc, &cacheService{server: s})
	pb.RegisterStoreServiceServer(s.grpc, &storeService{server: s})
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.http = &http.Server{
		Handler:           &handler{server: s},
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(opt.Log.Handler(), slog.LevelWarn),
	}
	return s
}

func newGRPC(opt Options) *grpc.Server {
	return grpc.NewServer(
		grpc.ForceServerCodecV2(bulk.Codec),
		grpc.StatsHandler(bulk.Links()),
		grpc.InitialWindowSize(bulk.UploadWindow),
		grpc.InitialConnWindowSize(bulk.ConnectionWindow),
		grpc.ReadBufferSize(bufSize),
		grpc.WriteBufferSize(bufSize),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(headerTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: opt.Timeout, Timeout: opt.Timeout / 2}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
}

// GRPC returns the gRPC server, with reflection and health.
func (s *Server) GRPC() *grpc.Server { return s.grpc }

// HTTP returns the HTTP server.
func (s *Server) HTTP() *http.Server { return s.http }

// Shutdown stops accepting, lets the calls under way finish, and cuts what is
// left of them when ctx is done; the error is then the cause of that.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	graceful := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(graceful)
	}()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(context.Cause(ctx), s.http.Close())
	}
	select {
	case <-graceful:
	case <-ctx.Done():
		s.grpc.Stop()
		<-graceful
		err = context.Cause(ctx)
	}
	return err
}
