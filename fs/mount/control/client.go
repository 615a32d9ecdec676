package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrNotServed is what errors.Is finds when no process serves a socket.
var ErrNotServed = errors.New("no process serves it from this cache")

const (
	statusTime = 2 * time.Second // for a mount to tell its status
	maxStatus  = 64 << 10        // bytes of that, and of a line of progress
)

// List returns the mounts that listen in dir and what they tell. Leftovers of
// dead ones are taken away. A mount that does not answer in time is an error
// beside those that do.
func List(ctx context.Context, dir string) (found []Status, err error) {
	sockets, err := names(dir)
	for _, name := range sockets {
		status, statusErr := StatusOf(ctx, dir, name)
		switch {
		case statusErr == nil:
			found = append(found, status)
		case !errors.Is(statusErr, ErrNotServed):
			err = errors.Join(err, statusErr)
		}
	}
	return found, err
}

// StatusOf returns what the mount on the socket name in dir tells.
func StatusOf(ctx context.Context, dir, name string) (s Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	err = call(ctx, dir, name, http.MethodGet, "/v1/status", func(body io.Reader) error {
		return json.NewDecoder(io.LimitReader(body, maxStatus)).Decode(&s)
	})
	return s, err
}

// Prefetch has the mount on the socket name in dir read path ahead. With wait
// it returns when that is done, and reports every moment how far it has come.
// A path that is not there is fs.ErrNotExist.
func Prefetch(ctx context.Context, dir, name, path string, wait bool, report func(Progress)) error {
	query := url.Values{"path": {path}}
	if wait {
		query.Set("wait", "1")
	}
	return call(ctx, dir, name, http.MethodPost, "/v1/prefetch?"+query.Encode(), func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, maxStatus)
		for lines.Scan() {
			var u Update
			if err := json.Unmarshal(lines.Bytes(), &u); err != nil {
				return err
			}
			switch {
			case u.Error != "":
				return errors.New(u.Error)
			case u.Done:
				return nil
			}
			report(u.Progress)
		}
		return errors.Join(lines.Err(), io.ErrUnexpectedEOF)
	})
}

// call asks the mount on a socket, and lends its answer to read.
func call(ctx context.Context, dir, name, method, target string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://mount"+target, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, dir, name) },
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("mount %s: %w", name, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxStatus))
		return refusal(response.StatusCode, strings.TrimSpace(string(text)))
	}
	if err := read(response.Body); err != nil && ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// refusal is an answer that tells why there is none.
func refusal(code int, text string) error {
	if code == http.StatusNotFound {
		return &refused{text, fs.ErrNotExist}
	}
	return &refused{text, nil}
}

type refused struct {
	text string
	kind error
}

func (r *refused) Error() string { return r.text }
func (r *refused) Unwrap() error { return r.kind }

// dial connects to a socket. One that refuses is a leftover.
func dial(ctx context.Context, dir, name string) (conn net.Conn, err error) {
	path := filepath.Join(dir, name)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotServed
	}
	if err != nil {
		return nil, err
	}
	err = withPath(dir, name, func(path string) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	if errors.Is(err, syscall.ECONNREFUSED) {
		removeSame(path, info)
		return nil, ErrNotServed
	}
	return conn, err
}
