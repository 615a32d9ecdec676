package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/remote/internal/wire"
)

// Put stores the bytes of r as d. Bytes that are not d are found here, before
// the last of them is sent: a file server would keep them. The length must be
// known before the first byte and the bytes may be needed twice (redirects, a
// connection that was closed while idle), so a large r that is no io.Seeker
// goes through a temporary file.
func (s *Store) Put(ctx context.Context, d cas.Digest, r io.Reader) error {
	src, err := newSource(r)
	if err != nil {
		return err
	}
	defer src.Close()
	u := &upload{store: s, digest: d, source: src}
	err = u.run(ctx)
	if broken := u.end(); broken != nil {
		return broken
	}
	if err != nil {
		return s.named(err)
	}
	return nil
}

// maxAttempts bounds how often an upload is sent because connections turn out
// to be dead.
const maxAttempts = 5

// upload is one Put.
type upload struct {
	store  *Store
	digest cas.Digest
	source *source

	mu     sync.Mutex
	body   *uploadBody // the one that reads the source
	broken error       // of reading the source
}

func (u *upload) run(ctx context.Context) error {
	ctx, dog := wire.Watch(ctx, u.store.opt.Timeout)
	defer dog.Stop()
	request := u.store.request(ctx, http.MethodPut, u.digest)
	// It is idempotent: net/http may send it again over a fresh connection.
	request.Header["Idempotency-Key"] = []string{}
	for range maxRedirects {
		response, err := u.send(request, dog)
		if err != nil {
			return err
		}
		discard(response.Body)
		if !isRedirect(response.StatusCode) {
			return u.verdict(response)
		}
		location, err := response.Location()
		if err != nil {
			return fmt.Errorf("the server answers %s to PUT without a location", response.Status)
		}
		request = request.Clone(ctx)
		request.URL, request.Host = location, location.Host
		keepSecret(request, u.store.base)
	}
	return fmt.Errorf("more than %d redirects", maxRedirects)
}

// send sends r with the source as its body. What fails on a connection that was
// used before is sent again: the server may have closed it for being idle, and
// net/http notices that too late to help once it has begun to send a body.
func (u *upload) send(r *http.Request, dog *wire.Watchdog) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		if err := u.fill(r, dog); err != nil {
			return nil, err
		}
		var reused atomic.Bool
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused.Store(info.Reused) }}
		response, err := u.store.do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
		if err == nil || !reused.Load() || attempt == maxAttempts || r.Context().Err() != nil || u.end() != nil {
			return response, err
		}
	}
}

func (u *upload) verdict(response *http.Response) error {
	switch response.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return nil
	}
	return statusError(http.MethodPut, u.digest, response)
}

func isRedirect(code int) bool {
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// fill gives r a body from the start of the source.
func (u *upload) fill(r *http.Request, dog *wire.Watchdog) error {
	r.ContentLength = u.source.size
	r.GetBody = func() (io.ReadCloser, error) { return u.open(dog) }
	body, err := r.GetBody()
	if err != nil {
		return err
	}
	r.Body = body
	if u.source.size > 0 {
		return nil
	}
	// No byte can be held back of nothing, so nothing is verified first.
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	r.Body, r.GetBody = http.NoBody, func() (io.ReadCloser, error) { return http.NoBody, nil }
	return err
}

// open returns the source from its start, verified, the last byte held back.
// While the source is read, the server is not waited for.
func (u *upload) open(dog *wire.Watchdog) (io.ReadCloser, error) {
	if err := u.end(); err != nil {
		return nil, err
	}
	r, err := u.source.open()
	if err != nil {
		u.setBroken(err)
		return nil, err
	}
	verified := cas.Verify(u.digest, r, u.source.size)
	body := &uploadBody{Reader: wire.HoldBack(verified), upload: u, dog: dog, closer: verified}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.body = body
	return body, nil
}

// end makes sure that nobody reads the source any more, which net/http may
// still do after it has returned a response. It returns how reading failed.
func (u *upload) end() error {
	u.mu.Lock()
	body := u.body
	u.mu.Unlock()
	if body != nil {
		body.Close()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.broken
}

func (u *upload) setBroken(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.broken = err
}

// uploadBody is what net/http reads, and closes while it may still be reading.
type uploadBody struct {
	io.Reader
	upload *upload
	dog    *wire.Watchdog

	mu     sync.Mutex
	closer io.Closer
	closed bool
}

func (b *uploadBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errors.New("the upload has ended")
	}
	b.dog.Sleep()
	n, err := b.Reader.Read(p)
	b.dog.Wake()
	if err != nil && err != io.EOF {
		b.upload.setBroken(err)
	}
	return n, err
}

func (b *uploadBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	return b.closer.Close()
}
