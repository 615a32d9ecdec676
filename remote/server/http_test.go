package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/remote/internal/wire"
	"github.com/fstree/fstree/remote/server"
)

// ask sends one request and returns the response with its body read.
func ask(t *testing.T, method, url string, body []byte, header ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, got
}

func TestObjectIsUnderEveryPath(t *testing.T) {
	data := castest.Bytes(100_000, 1)
	d := cas.Sum(data)
	paths := []string{"/objects/" + d.String(), "/" + wire.ObjectPath(d), "/files/" + wire.ObjectPath(d)}
	for _, up := range paths {
		_, url := start(t, &memory.Store{})
		if response, _ := ask(t, "HEAD", url+up, nil); response.StatusCode != 404 {
			t.Errorf("HEAD %s before: %s", up, response.Status)
		}
		if response, body := ask(t, "PUT", url+up, data); response.StatusCode != 201 {
			t.Fatalf("PUT %s: %s %s", up, response.Status, body)
		}
		for _, down := range paths {
			response, got := ask(t, "GET", url+down, nil)
			if response.StatusCode != 200 || !bytes.Equal(got, data) {
				t.Errorf("GET %s: %s, %d bytes", down, response.Status, len(got))
			}
			response, _ = ask(t, "HEAD", url+down, nil)
			if response.StatusCode != 200 || response.ContentLength != int64(len(data)) {
				t.Errorf("HEAD %s: %s, %d bytes", down, response.Status, response.ContentLength)
			}
		}
	}
}

func TestOtherPathsAreNotFound(t *testing.T) {
	_, url := start(t, &memory.Store{})
	for _, path := range []string{
		"/", "/files", "/files/", "/files/any/thing", "/objects/", "/objects/xyz", "/objects/md5:00",
		"/files/../etc/passwd", "//", "/bl/ake3:0/", "/metrics/",
	} {
		for _, method := range []string{"GET", "HEAD", "PUT", "POST"} {
			if response, _ := ask(t, method, url+path, []byte("x")); response.StatusCode != 404 {
				t.Errorf("%s %s: %s", method, path, response.Status)
			}
		}
	}
}

func TestWrongBytesOverHTTPLeaveNothing(t *testing.T) {
	store := &memory.Store{}
	_, url := start(t, store)
	d := cas.Sum([]byte("right"))
	response, body := ask(t, "PUT", url+"/objects/"+d.String(), []byte("wrong"))
	if response.StatusCode != 422 || !strings.Contains(string(body), d.String()) {
		t.Errorf("%s: %s", response.Status, body)
	}
	if store.Len() != 0 {
		t.Errorf("%d objects are left", store.Len())
	}
}

func TestObjectsAreCachedForever(t *testing.T) {
	store := &memory.Store{}
	_, url := start(t, store)
	d, _, _ := store.Add(t.Context(), strings.NewReader("immutable"))
	url += "/objects/" + d.String()
	response, _ := ask(t, "GET", url, nil)
	tag := response.Header.Get("ETag")
	if tag != `"`+d.String()+`"` || !strings.Contains(response.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("headers are %v", response.Header)
	}
	if response, _ := ask(t, "GET", url, nil, "If-None-Match", tag); response.StatusCode != 304 {
		t.Errorf("asked again: %s", response.Status)
	}
	response, body := ask(t, "GET", url, nil, "Range", "bytes=2-4")
	if response.StatusCode != 206 || string(body) != "mut" {
		t.Errorf("range: %s %q", response.Status, body)
	}
}

func TestPresenceOfMany(t *testing.T) {
	store := &memory.Store{}
	_, url := start(t, store)
	here, _, _ := store.Add(t.Context(), strings.NewReader("here"))
	gone := cas.Sum([]byte("gone"))
	question := fmt.Appendf(nil, `{"blobs": [%q, %q]}`, gone, here)
	for query, want := range map[string]map[string][]string{
		"?missing&present": {"missing": {gone.String()}, "present": {here.String()}},
		"?missing":         {"missing": {gone.String()}},
		"?present":         {"present": {here.String()}},
	} {
		response, body := ask(t, "POST", url+"/objects"+query, question)
		var got map[string][]string
		if err := json.Unmarshal(body, &got); err != nil || response.StatusCode != 200 {
			t.Fatalf("%s: %s, %v", query, response.Status, err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v", query, got)
		}
	}
	if response, _ := ask(t, "POST", url+"/objects?missing", []byte(`{"blobs": ["xyz"]}`)); response.StatusCode != 400 {
		t.Errorf("malformed digest: %s", response.Status)
	}
	huge := []byte(`{"blobs": ["` + strings.Repeat("a", 5<<20))
	if response, _ := ask(t, "POST", url+"/objects?missing", huge); response.StatusCode != 413 {
		t.Errorf("huge question: %s", response.Status)
	}
}

func TestMetricsCountReads(t *testing.T) {
	store := &memory.Store{}
	_, url := start(t, store)
	d, _, _ := store.Add(t.Context(), strings.NewReader("read"))
	ask(t, "GET", url+"/objects/"+d.String(), nil)
	ask(t, "GET", url+"/objects/"+d.String(), nil)
	ask(t, "GET", url+"/objects/"+cas.Sum(nil).String(), nil)
	_, body := ask(t, "GET", url+"/metrics", nil)
	for _, line := range []string{
		"jolt_cache_hits_total 2", "jolt_cache_misses_total 1", "jolt_cache_artifacts 7",
		"jolt_cache_size_bytes 8", "jolt_cache_evictions_total 9",
		"# TYPE jolt_cache_hits_total counter", "# TYPE jolt_cache_size_bytes gauge",
	} {
		if !strings.Contains(string(body), line+"\n") {
			t.Errorf("no line %q in\n%s", line, body)
		}
	}
}

// standStill sends a request, reads nothing, and returns how long the server
// puts up with that.
func standStill(t *testing.T, store cas.Store, request string) time.Duration {
	t.Helper()
	s := server.New(store, server.Options{Timeout: 200 * time.Millisecond})
	address := listen(t, s.HTTP().Serve)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	begin := time.Now()
	io.WriteString(conn, request)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	time.Sleep(100 * time.Millisecond)
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("still there after %s: %v", time.Since(begin), err)
	}
	return time.Since(begin)
}

func TestUploadThatStandsStillIsCut(t *testing.T) {
	store := &memory.Store{}
	d := cas.Sum([]byte("never arrives"))
	took := standStill(t, store, "PUT /objects/"+d.String()+" HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\nnever")
	if took > 5*time.Second || store.Len() != 0 {
		t.Errorf("%s, %d objects", took, store.Len())
	}
}

func TestDownloadThatNobodyTakesIsCut(t *testing.T) {
	store := &memory.Store{}
	d, _, _ := store.Add(t.Context(), bytes.NewReader(make([]byte, 64<<20)))
	if took := standStill(t, store, "GET /objects/"+d.String()+" HTTP/1.1\r\nHost: x\r\n\r\n"); took > 5*time.Second {
		t.Errorf("%s", took)
	}
}

func TestUploadThatKeepsComingIsPatientlyReceived(t *testing.T) {
	store := &memory.Store{}
	s := server.New(store, server.Options{Timeout: 500 * time.Millisecond})
	url := "http://" + listen(t, s.HTTP().Serve)
	data := []byte("drop by drop")
	r, w := io.Pipe()
	go func() {
		for i := range data {
			w.Write(data[i : i+1])
			time.Sleep(100 * time.Millisecond)
		}
		w.Close()
	}()
	request, _ := http.NewRequestWithContext(t.Context(), "PUT", url+"/objects/"+cas.Sum(data).String(), r)
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != 201 || store.Len() != 1 {
		t.Fatalf("%v, %v", response, err)
	}
	response.Body.Close()
}
