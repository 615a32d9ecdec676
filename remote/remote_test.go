package remote_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/remote"
)

func TestGoodURLsOpenWithoutConnecting(t *testing.T) {
	for _, url := range []string{
		"jolt://localhost:9090", "jolt://localhost", "jolt://localhost/", "tcp://[::1]:9090", "tcp://192.0.2.1",
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
