package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/remote/server"
)

type serveCommand struct {
	Path       string   `short:"p" env:"FSTREE_PATH" default:"${home}/.local/share/fstree" placeholder:"DIR" help:"Directory of the objects, or 'memory' (~/.local/share/fstree)."`
	ListenGRPC []string `name:"listen-grpc" env:"FSTREE_LISTEN_GRPC" placeholder:"HOST:PORT" help:"Where to serve gRPC; default is localhost:9090, with --insecure port 9090 of all interfaces."`
	ListenHTTP []string `name:"listen-http" env:"FSTREE_LISTEN_HTTP" placeholder:"HOST:PORT" help:"Where to serve HTTP; default is localhost:8080, with --insecure port 8080 of all interfaces."`
	Insecure   bool     `help:"Serve without TLS to other machines as well."`
}

// shutdownTime is how long a server lets the calls under way finish.
const shutdownTime = 5 * time.Second

// Run serves until a signal ends it.
func (c *serveCommand) Run(ctx context.Context, a *app) error {
	log := slog.New(slog.NewTextHandler(a.stderr, nil))
	grpcListeners, err := c.listen(c.ListenGRPC, "9090")
	if err != nil {
		return err
	}
	defer closeAll(grpcListeners)
	httpListeners, err := c.listen(c.ListenHTTP, "8080")
	if err != nil {
		return err
	}
	defer closeAll(httpListeners)
	store, err := c.open(a, log)
	if err != nil {
		return err
	}
	defer store.Close()
	fmt.Fprintf(a.stderr, "serving %s on %s\n", c.Path, addresses(grpcListeners, httpListeners))
	return c.serve(ctx, server.New(store, server.Options{Log: log, Usage: store.usage}), grpcListeners, httpListeners)
}

func (c *serveCommand) serve(ctx context.Context, s *server.Server, grpcListeners, httpListeners []net.Listener) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for _, l := range grpcListeners {
		group.Go(func() error { return s.GRPC().Serve(l) })
	}
	for _, l := range httpListeners {
		group.Go(func() error { return s.HTTP().Serve(l) })
	}
	group.Go(func() error {
		<-groupCtx.Done()
		bounded, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		s.Shutdown(bounded)
		return nil
	})
	if err := group.Wait(); ctx.Err() == nil {
		return err
	}
	return nil // told to end, and it did
}

// offered is a store behind a server.
type offered interface {
	cas.Store
	io.Closer
	usage() server.Usage
}

// open returns the store behind the server.
func (c *serveCommand) open(a *app, log *slog.Logger) (offered, error) {
	if c.Path == "memory" {
		return &offeredMemory{}, nil
	}
	store, err := disk.Open(c.Path, a.diskOptions(log))
	return offeredDisk{store}, err
}

type offeredMemory struct{ memory.Store }

func (*offeredMemory) Close() error { return nil }

func (m *offeredMemory) usage() server.Usage { return server.Usage{Objects: int64(m.Len())} }

type offeredDisk struct{ *disk.Store }

// usageTime bounds the question behind a scrape of the metrics.
const usageTime = 5 * time.Second

func (d offeredDisk) usage() server.Usage {
	ctx, cancel := context.WithTimeout(context.Background(), usageTime)
	defer cancel()
	stats, err := d.Stats(ctx)
	if err != nil {
		return server.Usage{}
	}
	return server.Usage{Objects: stats.Objects, Bytes: stats.Bytes}
}

func (c *serveCommand) listen(addresses []string, port string) ([]net.Listener, error) {
	if len(addresses) == 0 {
		host := "localhost"
		if c.Insecure {
			host = ""
		}
		addresses = []string{net.JoinHostPort(host, port)}
	}
	var listeners []net.Listener
	for _, address := range addresses {
		l, err := c.listenOn(strings.TrimPrefix(address, "tcp://"))
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

var errInsecure = errors.New("other machines could reach it, and there is no TLS")

func (c *serveCommand) listenOn(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, hint(err, "choose other addresses with --listen-grpc and --listen-http")
	}
	if ip := l.Addr().(*net.TCPAddr).IP; !c.Insecure && !ip.IsLoopback() {
		l.Close()
		return nil, hint(fmt.Errorf("listen on %s: %w", address, errInsecure), "add --insecure if the network is trusted")
	}
	return l, nil
}

func addresses(grpcListeners, httpListeners []net.Listener) string {
	var all []string
	for _, l := range grpcListeners {
		all = append(all, "grpc://"+l.Addr().String())
	}
	for _, l := range httpListeners {
		all = append(all, "http://"+l.Addr().String())
	}
	return strings.Join(all, " and ")
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}
