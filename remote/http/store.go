// Package http is a far store behind http:// or https://: any server that
// keeps files under paths. With GET alone it can be read; HEAD and PUT make it
// a store to push to.
package http

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/remote/internal/wire"
)

// Options of a Store.
type Options struct {
	Timeout  time.Duration // bound on the silence of the server
	Parallel int           // bound on the requests in flight for one question
	TLS      *tls.Config   // for https; nil trusts what the system trusts
	Token    string        // sent to the server of the base URL if not empty
}

const (
	maxRedirects   = 10
	maxHeaderBytes = 64 << 10

	// idleConns is enough for the readers and writers of one process. They
	// are kept open: a connection for every request is what makes small
	// objects slow.
	idleConns = 128

	bufSize = 64 << 10 // of each connection, twice
)

// Store is an HTTP server with objects below a base URL. It is a cas.Store and
// a cas.Sizer.
type Store struct {
	base   *url.URL // without a trailing slash, user and password
	user   *url.Userinfo
	url    string // for errors, without a password
	opt    Options
	client *http.Client
}

// Open returns the store below base; a trailing slash makes no difference. User
// and password in base are sent to that server only. Open does not connect.
func Open(base *url.URL, opt Options) *Store {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: opt.Timeout}).DialContext,
		TLSClientConfig:        opt.TLS,
		TLSHandshakeTimeout:    opt.Timeout,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    max(idleConns, opt.Parallel),
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        bufSize,
		ReadBufferSize:         bufSize,
		DisableCompression:     true, // what is hashed is what is sent
	}
	trimmed := *base
	trimmed.Path = strings.TrimRight(base.Path, "/")
	trimmed.RawPath, trimmed.RawQuery, trimmed.Fragment, trimmed.User = "", "", "", nil
	return &Store{
		base:   &trimmed,
		user:   base.User,
		url:    base.Redacted(),
		opt:    opt,
		client: &http.Client{Transport: transport, CheckRedirect: checkRedirect},
	}
}

// checkRedirect leaves the redirects of uploads to put: net/http would turn
// some of them into a GET.
func checkRedirect(r *http.Request, via []*http.Request) error {
	keepSecret(r, via[0].URL)
	if via[0].Method == http.MethodPut {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return nil
}

// keepSecret takes out of a redirected request what tells the server at origin
// who we are, if it would go to another server or without TLS.
func keepSecret(r *http.Request, origin *url.URL) {
	if r.URL.Host != origin.Host || r.URL.Scheme != origin.Scheme {
		r.Header.Del("Authorization")
	}
}

// Close ends idle connections.
func (s *Store) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

func (s *Store) request(ctx context.Context, method string, d cas.Digest) *http.Request {
	u := *s.base
	u.Path += "/" + wire.ObjectPath(d)
	r := (&http.Request{Method: method, URL: &u, Host: u.Host, Header: http.Header{}}).WithContext(ctx)
	r.Header.Set("Accept-Encoding", "identity")
	if s.opt.Token != "" {
		r.Header.Set("Authorization", "Bearer "+s.opt.Token)
	} else if s.user != nil {
		password, _ := s.user.Password()
		r.SetBasicAuth(s.user.Username(), password)
	}
	return r
}

// do sends r. The error says why there is no response; it does not name the
// server.
func (s *Store) do(r *http.Request) (*http.Response, error) {
	response, err := s.client.Do(r)
	if err != nil {
		return nil, transportError(r.Context(), err)
	}
	return response, nil
}

// transportError is the one place where a failure without a status becomes an
// error of package cas. A context that has ended is the cause of it.
func transportError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("%w: %w", cas.ErrUnavailable, err)
}

// statusError is the one place where an unexpected status becomes an error of
// package cas.
func statusError(method string, d cas.Digest, response *http.Response) error {
	switch code := response.StatusCode; {
	case code == http.StatusNotFound && method != http.MethodPut, code == http.StatusGone:
		return &cas.NotFoundError{Digest: d}
	case code == http.StatusUnprocessableEntity && method == http.MethodPut:
		return &cas.MismatchError{Want: d}
	case refusesUploads(code) && method == http.MethodPut:
		return fmt.Errorf("%w: the server answers %s to PUT", cas.ErrReadOnly, response.Status)
	case code == http.StatusUnauthorized:
		return fmt.Errorf("%s of object %s: %s: the server wants to know who asks: a token, or https://USER:PASSWORD@HOST/", method, d, response.Status)
	case isTransient(code):
		return fmt.Errorf("%w: the server answers %s to %s of object %s", cas.ErrUnavailable, response.Status, method, d)
	}
	return fmt.Errorf("the server answers %s to %s of object %s", response.Status, method, d)
}

func refusesUploads(code int) bool {
	return code == http.StatusForbidden || code == http.StatusMethodNotAllowed || code == http.StatusNotImplemented
}

func isTransient(code int) bool {
	return code == http.StatusTooManyRequests || code == http.StatusBadGateway ||
		code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout
}

// discard reads what is left of a short answer, so that its connection can be
// used again.
func discard(body io.ReadCloser) {
	io.CopyN(io.Discard, body, 64<<10)
	body.Close()
}

func (s *Store) named(err error) error { return fmt.Errorf("%s: %w", s.url, err) }
