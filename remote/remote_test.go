package remote_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	googlegrpc "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote"
)

func TestGoodURLsOpenWithoutConnecting(t *testing.T) {
	for _, url := range []string{
		"jolt://localhost:9090", "jolt://localhost", "jolts://localhost", "jolt://localhost/", "tcp://[::1]:9090", "tcp://192.0.2.1",
		"http://localhost", "http://localhost:8080/files/", "https://user:secret@example.com/a/b",
	} {
		s, err := remote.Open(url, remote.Options{})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestBadURLsAreRefusedByName(t *testing.T) {
	for url, reason := range map[string]string{
		"":                               "expected one of jolt://",
		"localhost:9090":                 "expected one of jolt://",
		"ftp://localhost":                "expected one of jolt://",
		"/some/path":                     "expected one of jolt://",
		"jolt://":                        "names no host",
		"http:///path":                   "names no host",
		"jolt://host:9090/path":          "expected jolt://HOST:PORT and nothing else",
		"tcp://user:secret@host":         "expected tcp://HOST:PORT and nothing else",
		"jolt://host:port":               "port",
		"http://host/?query":             "query",
		"http://user:secret@host:bad/":   "port",
		"http://user:secret@host/%zz":    "%zz",
		"nonsense://user:secret@host/me": "expected one of jolt://",
	} {
		_, err := remote.Open(url, remote.Options{})
		if err == nil || !strings.Contains(err.Error(), reason) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the password is in %v", url, err)
		}
	}
}

func TestRefusedConnectionNamesTheRemote(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, scheme := range []string{"jolt", "tcp", "http", "https"} {
		url := scheme + "://" + l.Addr().String()
		s, err := remote.Open(url, remote.Options{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = s.Has(t.Context(), []cas.Digest{cas.Sum(nil)})
		if !errors.Is(err, cas.ErrUnavailable) || !strings.Contains(err.Error(), url) || time.Since(start) > 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		s.Close()
	}
}

func TestTokenIsNotSentWithoutTLS(t *testing.T) {
	for _, url := range []string{"jolt://host", "tcp://host", "http://host"} {
		_, err := remote.Open(url, remote.Options{Token: "hush"})
		if err == nil || !strings.Contains(err.Error(), "not sent without TLS") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestTLS talks to servers whose certificate only the test trusts.
func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer hush" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusOK)
	}))
	defer web.Close()
	trusting := web.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	certificates := web.TLS.Certificates

	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	s := googlegrpc.NewServer()
	pb.RegisterCacheServiceServer(s, authorized{})
	go s.Serve(l)
	defer s.Stop()

	for _, url := range []string{web.URL, "jolts://" + l.Addr().String()} {
		for _, test := range []struct {
			opt    remote.Options
			reason string
		}{
			{remote.Options{TLS: trusting, Token: "hush"}, ""},
			{remote.Options{TLS: trusting}, "who asks"},
			{remote.Options{Token: "hush"}, "certificate"},
		} {
			far, err := remote.Open(url, test.opt)
			if err != nil {
				t.Fatal(err)
			}
			present, err := far.Has(t.Context(), []cas.Digest{cas.Sum(nil)})
			if test.reason == "" && (err != nil || !present[0]) || test.reason != "" && (err == nil || !strings.Contains(err.Error(), test.reason)) {
				t.Errorf("%s: %v, want %q", url, err, test.reason)
			}
			far.Close()
		}
	}
}

// authorized holds everything, for whoever has the token.
type authorized struct {
	pb.UnimplementedCacheServiceServer
}

func (authorized) HasObject(ctx context.Context, r *pb.HasObjectRequest) (*pb.HasObjectResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer hush" {
		return nil, status.Error(codes.Unauthenticated, "no token")
	}
	return &pb.HasObjectResponse{Present: slices.Repeat([]bool{true}, len(r.Digest))}, nil
}

func TestGRPCToSomethingElse(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	url := "jolt://" + web.Listener.Addr().String()
	s, err := remote.Open(url, remote.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Get(t.Context(), cas.Sum(nil)); !errors.Is(err, cas.ErrUnavailable) || !strings.Contains(err.Error(), url) {
		t.Errorf("%v", err)
	}
}
