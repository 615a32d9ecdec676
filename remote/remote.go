// Package remote opens far stores by their URL.
package remote

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/remote/grpc"
	"github.com/fstree/fstree/remote/http"
)

// Store is a far store. A Store may have rarer powers, cas.Sizer, bao.Slicer
// and transfer.ClosureFinder among them; ask by type assertion.
type Store interface {
	cas.Store
	io.Closer
}

// Options of a Store. The zero value is sensible.
type Options struct {
	// Timeout bounds the silence of the remote: how long a call waits without
	// anything happening, not how long a transfer takes. 30 seconds if zero.
	Timeout time.Duration
	// Parallel bounds the requests in flight for one question about many
	// objects. 64 if zero.
	Parallel int
	// TLS configures jolts:// and https://: the authorities to trust, the
	// certificate to show. Nil trusts what the system trusts.
	TLS *tls.Config
	// Token is sent as a bearer token with every call, if not empty. Open
	// refuses to send it anywhere without TLS.
	Token string
}

const (
	defaultTimeout  = 30 * time.Second
	defaultParallel = 64
	defaultPort     = "9090"

	schemes = "jolt://HOST:PORT, jolts://HOST:PORT, tcp://HOST:PORT, http://HOST/PATH and https://HOST/PATH"
)

// Open returns the store that rawURL names. It does not connect; the first call
// does. All errors of the Store name the URL, without a password. What a
// Timeout or a lost connection ends is cas.ErrUnavailable.
func Open(rawURL string, opt Options) (Store, error) {
	u, err := parse(rawURL)
	if err == nil && opt.Token != "" && !secure(u) {
		err = errors.New("a token is not sent without TLS: use jolts:// or https://")
	}
	if err != nil {
		return nil, fmt.Errorf("remote %q: %w", redact(rawURL), err)
	}
	if opt.Timeout <= 0 {
		opt.Timeout = defaultTimeout
	}
	if opt.Parallel <= 0 {
		opt.Parallel = defaultParallel
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return http.Open(u, http.Options(opt)), nil
	}
	if secure(u) && opt.TLS == nil {
		opt.TLS = &tls.Config{}
	} else if !secure(u) {
		opt.TLS = nil
	}
	return grpc.Open(u.String(), address(u), grpc.Options(opt))
}

func secure(u *url.URL) bool { return u.Scheme == "https" || u.Scheme == "jolts" }

func parse(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // it would repeat the URL, password included
		err = wrapped.Err
	}
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "http", "https":
	case "jolt", "jolts", "tcp":
		if u.User != nil || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("expected %s://HOST:PORT and nothing else", u.Scheme)
		}
		u.Path = ""
	default:
		return nil, errors.New("no such kind of remote, expected one of " + schemes)
	}
	if u.Hostname() == "" {
		return nil, errors.New("it names no host, expected one of " + schemes)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("a query or fragment has no meaning here")
	}
	return u, nil
}

// address returns the HOST:PORT of u.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// redact leaves out user and password of what may be no URL at all.
func redact(rawURL string) string {
	at := strings.LastIndex(rawURL, "@")
	if at < 0 {
		return rawURL
	}
	scheme, _, _ := strings.Cut(rawURL[:at], "//")
	return scheme + "//…" + rawURL[at:]
}
