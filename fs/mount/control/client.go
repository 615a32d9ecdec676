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
	"sync"
	"syscall"
	"time"
)

// ErrNotServed is what errors.Is finds when no process serves a socket.
var ErrNotServed = errors.New("no process serves it from this cache")

const (
	statusTime  = 5 * time.Second // for a mount to tell its status
	silenceTime = 5 * time.Second // without a line of progress
	maxStatus   = 64 << 10        // bytes of a status, and of a line of progress
)

var errSilent = errors.New("its process does not answer")

// List returns the mounts that listen in dir and what they tell. Leftovers of
// dead ones are taken away. A mount that does not answer in time is an error
// beside those that do.
func List(ctx context.Context, dir string) (found []Status, err error) {
	sockets, err := names(dir)
	statuses, errs := make([]Status, len(sockets)), make([]error, len(sockets))
	var asking sync.WaitGroup // all at once: each may take its time
	for i, name := range sockets {
		asking.Go(func() { statuses[i], errs[i] = StatusOf(ctx, dir, name) })
	}
	asking.Wait()
	for i, statusErr := range errs {
		switch {
		case statusErr == nil:
			found = append(found, statuses[i])
		case !errors.Is(statusErr, ErrNotServed):
			err = errors.Join(err, statusErr)
		}
	}
	return found, err
}

// StatusOf returns what the mount on the socket name in dir tells.
func StatusOf(ctx context.Context, dir, name string) (s Status, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, statusTime, errSilent)
	defer cancel()
	err = call(ctx, dir, name, http.MethodGet, "/v1/status", func(body io.Reader) error {
		return json.NewDecoder(io.LimitReader(body, maxStatus)).Decode(&s)
	})
	s.Device = name
	return s, err
}

// Prefetch has the mount on the socket name in dir read path ahead. With wait
// it returns when that is done, and reports every moment how far it has come.
// A path that is not there is fs.ErrNotExist. A process that tells nothing any
// more is an error after a while.
func Prefetch(ctx context.Context, dir, name, path string, wait bool, report func(Progress)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(silenceTime, func() { cancel(errSilent) })
	defer watchdog.Stop()
	query := url.Values{"path": {path}}
	if wait {
		query.Set("wait", "1")
	}
	return call(ctx, dir, name, http.MethodPost, "/v1/prefetch?"+query.Encode(), func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, maxStatus)
		for lines.Scan() {
			watchdog.Reset(silenceTime)
			var u Update
			if err := json.Unmarshal(lines.Bytes(), &u); err != nil {
				return err
			}
			report(u.Progress)
			if u.Done {
				return u.err()
			}
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
	if err == nil {
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			err = fmt.Errorf("it speaks another protocol: %s", response.Status)
		} else if err = read(response.Body); err == nil || ctx.Err() == nil {
			return err
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("mount %s: %w", name, err)
}

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
