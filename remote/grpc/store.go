// Package grpc is the client of fstree.CacheService: a far store behind
// jolt://HOST:PORT. It gets along with old servers, which keep neither all of
// the interface's promises nor all of gRPC's.
package grpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/bulk"
)

const (
	bufSize = 256 << 10

	// Old servers take messages of up to 4 MiB.
	maxMessage = 4 << 20
)

// Options of a Store.
type Options struct {
	Timeout  time.Duration // bound on the silence of the server
	Parallel int           // bound on the calls in flight for one question
	TLS      *tls.Config   // nil for a connection without TLS
	Token    string        // sent with every call if not empty; needs TLS
}

// Store is a server of fstree.CacheService. It is a cas.Store, and knows how
// to ask what is missing of a closure. With servers that have them it is a
// bao.Slicer as well.
type Store struct {
	url    string
	opt    Options
	conn   *grpc.ClientConn
	client pb.CacheServiceClient

	store     pb.StoreServiceClient
	extension extension
	link      bulk.Link // to the server
}

// Open returns the store at address, a HOST:PORT. It does not connect: the
// first call does. Errors name the server as url.
func Open(url, address string, opt Options) (*Store, error) { return open(url, address, opt) }

func open(url, address string, opt Options, more ...grpc.DialOption) (*Store, error) {
	s := &Store{url: url, opt: opt, extension: extension{asking: make(chan struct{}, 1)}}
	conn, err := grpc.NewClient("dns:///"+address, append(append(security(opt), more...),
		grpc.WithStatsHandler(s.link.Handler()),
		grpc.WithInitialWindowSize(bulk.Window),
		grpc.WithInitialConnWindowSize(bulk.ConnectionWindow),
		grpc.WithReadBufferSize(bufSize),
		grpc.WithWriteBufferSize(bufSize),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.ForceCodecV2(bulk.Codec)),
		grpc.WithDisableServiceConfig(),
		// A server that is back is found soon.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: opt.Timeout,
		}),
		// A path that is dead without a word is given up for a new one.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: opt.Timeout, Timeout: opt.Timeout}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	s.conn, s.client, s.store = conn, pb.NewCacheServiceClient(conn), pb.NewStoreServiceClient(conn)
	return s, nil
}

func security(opt Options) []grpc.DialOption {
	if opt.TLS == nil {
		return []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(opt.TLS))}
	if opt.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(token(opt.Token)))
	}
	return options
}

// token goes with every call.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

func (t token) RequireTransportSecurity() bool { return true }

// Close ends all calls and the connection.
func (s *Store) Close() error { return s.conn.Close() }
