package http_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	fstreehttp "github.com/fstree/fstree/remote/http"
	"github.com/fstree/fstree/remote/internal/wire"
)

// fileServer keeps what it is sent, right or wrong, as file servers do.
type fileServer struct {
	mu    sync.Mutex
	files map[string][]byte

	connections atomic.Int64
	inFlight    atomic.Int64
	peak        atomic.Int64
}

func (f *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := f.inFlight.Add(1)
	defer f.inFlight.Add(-1)
	for peak := f.peak.Load(); n > peak && !f.peak.CompareAndSwap(peak, n); peak = f.peak.Load() {
	}
	if r.Method == http.MethodPut {
		f.put(w, r)
		return
	}
	f.mu.Lock()
	data, ok := f.files[r.URL.Path]
	f.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (f *fileServer) put(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength < 0 || r.Header.Get("Expect") != "" {
		http.Error(w, "no length", http.StatusLengthRequired)
		return
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	f.files[r.URL.Path] = data
	f.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func startFileServer(t *testing.T) (*fileServer, string) {
	f := &fileServer{files: map[string][]byte{}}
	server := httptest.NewUnstartedServer(f)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return f, server.URL
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// hang takes a request and never answers it.
func hang(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func open(t *testing.T, base string) *fstreehttp.Store {
	return openWith(t, base, fstreehttp.Options{Timeout: 10 * time.Second, Parallel: 16})
}

func openWith(t *testing.T, base string, opt fstreehttp.Options) *fstreehttp.Store {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	s := fstreehttp.Open(u, opt)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStoreOnFileServer(t *testing.T) {
	for _, base := range []string{"", "/a%20b/prefix/"} {
		t.Run(base, func(t *testing.T) {
			castest.Run(t, func(t *testing.T) cas.Store {
				_, url := startFileServer(t)
				return open(t, url+base)
			})
		})
	}
}

func TestObjectsLieWhereOldClientsLookForThem(t *testing.T) {
	f, url := startFileServer(t)
	d := put(t, open(t, url+"/files/"), []byte("data"))
	text := d.String()
	if got := f.files["/files/"+text[0:2]+"/"+text[2:8]+"/"+text[6:]]; string(got) != "data" {
		t.Errorf("%q in %v", got, f.files)
	}
}

func put(t *testing.T, s cas.Putter, data []byte) cas.Digest {
	t.Helper()
	d := cas.Sum(data)
	if err := s.Put(t.Context(), d, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConnectionsAreFewAndQuestionsBounded(t *testing.T) {
	f, url := startFileServer(t)
	s := open(t, url)
	ds := make([]cas.Digest, 2000)
	for i := range ds {
		ds[i] = cas.Sum(fmt.Append(nil, i))
	}
	for range 2 {
		if _, err := s.Has(t.Context(), ds); err != nil {
			t.Fatal(err)
		}
	}
	if peak := f.peak.Load(); peak > 16 || peak < 2 {
		t.Errorf("%d requests at a time", peak)
	}
	if n := f.connections.Load(); n > 32 {
		t.Errorf("%d connections for 4000 requests", n)
	}
}

func TestBytesThatAreNotTheObject(t *testing.T) {
	right := "right bytes"
	d := cas.Sum([]byte(right))
	for name, handler := range map[string]http.HandlerFunc{
		"wrong":    func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "wrong bytes") },
		"short":    func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "right") },
		"empty":    func(http.ResponseWriter, *http.Request) {},
		"trailing": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, right+"!") },
		"truncated": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "11")
			io.WriteString(w, "right")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"cut while chunked": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "right")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := serve(t, handler)
			_, err := cas.ReadAll(t.Context(), open(t, base), d, 1000)
			var mismatch *cas.MismatchError
			if !errors.As(err, &mismatch) || mismatch.Want != d || !strings.Contains(err.Error(), base) || !strings.Contains(err.Error(), d.String()) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestCompressedAnswerIsNotUnpacked(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("Accept-Encoding is %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, "stored like this")
	})
	if _, err := cas.ReadAll(t.Context(), open(t, base), cas.Sum([]byte("stored like this")), 1000); err != nil {
		t.Error(err)
	}
}

func TestRedirectsAreFollowed(t *testing.T) {
	f, target := startFileServer(t)
	for _, code := range []int{301, 302, 307, 308} {
		base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, target+r.URL.Path, code)
		})
		s := open(t, base)
		for _, n := range []int{0, 5, 3 << 20} {
			data := castest.Bytes(n, uint64(code))
			d := cas.Sum(data)
			// A reader that can't be read twice must arrive twice all the same.
			if err := s.Put(t.Context(), d, io.MultiReader(bytes.NewReader(data))); err != nil {
				t.Fatalf("%d: Put: %v", code, err)
			}
			if got, err := cas.ReadAll(t.Context(), s, d, 4<<20); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d: Get: %d bytes, %v", code, len(got), err)
			}
			if present, err := s.Has(t.Context(), []cas.Digest{d}); err != nil || !present[0] {
				t.Errorf("%d: Has: %v, %v", code, present, err)
			}
		}
	}
	if len(f.files) != 4*3-3 { // the empty object is the same each time
		t.Errorf("%d objects arrived", len(f.files))
	}
}

func TestRedirectsInACircleEnd(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	})
	s := open(t, base)
	for name, call := range calls(s) {
		if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), "10 redirects") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// calls returns every kind of call, by name.
func calls(s *fstreehttp.Store) map[string]func(context.Context) error {
	data := bytes.Repeat([]byte("a lot of data"), 1<<20)
	d := cas.Sum(data)
	return map[string]func(context.Context) error{
		"Get": func(ctx context.Context) error {
			_, err := cas.ReadAll(ctx, s, d, 1<<30)
			return err
		},
		"Put": func(ctx context.Context) error { return s.Put(ctx, d, bytes.NewReader(data)) },
		"Has": func(ctx context.Context) error {
			_, err := s.Has(ctx, []cas.Digest{d})
			return err
		},
		"Sizes": func(ctx context.Context) error {
			_, err := s.Sizes(ctx, []cas.Digest{d})
			return err
		},
	}
}

func TestStatusesHaveMeanings(t *testing.T) {
	for code, want := range map[int]error{404: cas.ErrNotFound, 410: cas.ErrNotFound, 429: cas.ErrUnavailable, 502: cas.ErrUnavailable, 503: cas.ErrUnavailable, 504: cas.ErrUnavailable} {
		base := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		_, err := open(t, base).Get(t.Context(), cas.Sum(nil))
		if !errors.Is(err, want) || !strings.Contains(err.Error(), base) {
			t.Errorf("%d: %v", code, err)
		}
	}
	for _, code := range []int{403, 405, 501} {
		base := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		err := open(t, base).Put(t.Context(), cas.Sum(nil), strings.NewReader(""))
		if !errors.Is(err, cas.ErrReadOnly) || !strings.Contains(err.Error(), fmt.Sprint(code)) {
			t.Errorf("%d: %v", code, err)
		}
	}
	for _, code := range []int{400, 401, 403, 418, 500} {
		base := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		_, err := open(t, base).Has(t.Context(), []cas.Digest{cas.Sum(nil)})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(code)) || !strings.Contains(err.Error(), base) {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestPasswordGoesToTheServerAndNowhereElse(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusTeapot)
	})
	s := open(t, strings.Replace(base, "://", "://me:secret@", 1))
	for name, call := range calls(s) {
		if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), "418") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSilentServer(t *testing.T) {
	base := serve(t, hang)
	expectSilence(t, base)
}

func TestServerThatFallsSilentInABody(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "a first piece")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	s := openWith(t, base, fstreehttp.Options{Timeout: 200 * time.Millisecond, Parallel: 4})
	_, err := cas.ReadAll(t.Context(), s, cas.Sum(nil), 1000)
	if !errors.Is(err, cas.ErrUnavailable) || !strings.Contains(err.Error(), "no answer for 200ms") {
		t.Errorf("%v", err)
	}
}

func TestServerThatAcceptsAndSaysNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	expectSilence(t, "http://"+l.Addr().String())
}

func expectSilence(t *testing.T, base string) {
	t.Helper()
	s := openWith(t, base, fstreehttp.Options{Timeout: 200 * time.Millisecond, Parallel: 4})
	for name, call := range calls(s) {
		start := time.Now()
		err := call(t.Context())
		if !errors.Is(err, cas.ErrUnavailable) || !strings.Contains(err.Error(), "no answer for 200ms") || !strings.Contains(err.Error(), base) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}

func TestCancelledCallEndsAtOnceWithItsCause(t *testing.T) {
	base := serve(t, hang)
	s := open(t, base)
	gaveUp := errors.New("gave up")
	for name, call := range calls(s) {
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(50*time.Millisecond, func() { cancel(gaveUp) })
		start := time.Now()
		if err := call(ctx); !errors.Is(err, gaveUp) || time.Since(start) > 2*time.Second {
			t.Errorf("%s: %v after %s", name, err, time.Since(start))
		}
		timer.Stop()
	}
}

func TestSlowSourceIsNotASilentServer(t *testing.T) {
	f, base := startFileServer(t)
	s := openWith(t, base, fstreehttp.Options{Timeout: 200 * time.Millisecond, Parallel: 4})
	data := castest.Bytes(300, 1)
	r := &slowSeeker{Reader: bytes.NewReader(data), pause: 100 * time.Millisecond}
	if err := s.Put(t.Context(), cas.Sum(data), r); err != nil || len(f.files) != 1 {
		t.Errorf("%v, %d files", err, len(f.files))
	}
}

type slowSeeker struct {
	*bytes.Reader
	pause time.Duration
}

func (s *slowSeeker) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.Reader.Read(p[:min(len(p), 100)])
}

func (s *slowSeeker) WriteTo(io.Writer) (int64, error) { panic("reads only") }

func TestUploadStartsWhereTheReaderStands(t *testing.T) {
	f, base := startFileServer(t)
	r := strings.NewReader("skipped, sent")
	r.Seek(9, io.SeekStart)
	d := cas.Sum([]byte("sent"))
	if err := open(t, base).Put(t.Context(), d, r); err != nil {
		t.Fatal(err)
	}
	if got := f.files["/"+wire.ObjectPath(d)]; string(got) != "sent" {
		t.Errorf("%q arrived", got)
	}
}

func TestIdleConnectionThatDiedIsReplaced(t *testing.T) {
	f := &fileServer{files: map[string][]byte{}}
	server := httptest.NewUnstartedServer(f)
	server.Config.IdleTimeout = 20 * time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	s := open(t, server.URL)
	for i := range 20 {
		data := castest.Bytes(2<<20, uint64(i))
		if err := s.Put(t.Context(), cas.Sum(data), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestSpoolLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	_, base := startFileServer(t)
	s := open(t, base)
	data := castest.Bytes(5<<20, 1)
	if err := s.Put(t.Context(), cas.Sum(data), io.MultiReader(bytes.NewReader(data))); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
		t.Errorf("%v are left", files)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "missing"))
	err := s.Put(t.Context(), cas.Sum(data), io.MultiReader(bytes.NewReader(data)))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a place for the spool: %v", err)
	}
}

func TestSecretsDoNotFollowARedirectElsewhere(t *testing.T) {
	var mu sync.Mutex
	leaked := map[string]bool{}
	elsewhere := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") != "" {
			leaked[r.Method+" from "+r.Header.Get("Referer")] = true
		}
		w.WriteHeader(http.StatusTeapot)
	}
	other := serve(t, elsewhere)
	redirect := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token" {
			t.Errorf("Authorization is %q", r.Header.Get("Authorization"))
		}
		http.Redirect(w, r, other+r.URL.Path, http.StatusTemporaryRedirect)
	}
	// Another port is another server, and so is the same one without TLS.
	plain := serve(t, redirect)
	encrypted := httptest.NewTLSServer(http.HandlerFunc(redirect))
	t.Cleanup(encrypted.Close)
	roots := encrypted.Client().Transport.(*http.Transport).TLSClientConfig
	for _, base := range []string{plain, encrypted.URL} {
		s := openWith(t, base, fstreehttp.Options{Timeout: 5 * time.Second, Parallel: 4, Token: "token", TLS: roots})
		for name, call := range calls(s) {
			if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), "418") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if len(leaked) != 0 {
		t.Errorf("leaked by %v", leaked)
	}
}

func TestStoreOverHTTP2(t *testing.T) {
	var protocols sync.Map
	castest.Run(t, func(t *testing.T) cas.Store {
		f := &fileServer{files: map[string][]byte{}}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			protocols.Store(r.Proto, true)
			f.ServeHTTP(w, r)
		}))
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		roots := server.Client().Transport.(*http.Transport).TLSClientConfig
		return openWith(t, server.URL, fstreehttp.Options{Timeout: 10 * time.Second, Parallel: 16, TLS: roots})
	})
	if _, ok := protocols.Load("HTTP/2.0"); !ok {
		t.Error("HTTP/2 was not used")
	}
}
