package server_test

import (
	"net"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/remote"
	"github.com/fstree/fstree/remote/server"
)

// start serves store on loopback for the duration of the test and returns the
// URLs of both protocols.
func start(t testing.TB, store cas.Store) (grpcURL, httpURL string) {
	t.Helper()
	s := server.New(store, server.Options{Usage: func() server.Usage {
		return server.Usage{Objects: 7, Bytes: 8, Evictions: 9}
	}})
	return "jolt://" + listen(t, s.GRPC().Serve), "http://" + listen(t, s.HTTP().Serve)
}

func listen(t testing.TB, serve func(net.Listener) error) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(l)
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func open(t testing.TB, url string) remote.Store {
	t.Helper()
	s, err := remote.Open(url, remote.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStoreThroughGRPC(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store {
		url, _ := start(t, &memory.Store{})
		return open(t, url)
	})
}

func TestStoreThroughHTTP(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store {
		_, url := start(t, &memory.Store{})
		return open(t, url)
	})
}

func TestStoreThroughHTTPUnderFiles(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store {
		_, url := start(t, &memory.Store{})
		return open(t, url+"/files/")
	})
}
