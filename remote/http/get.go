package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/remote/internal/wire"
)

// Get opens d. The object ends with ctx, at the latest.
func (s *Store) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	response, err := s.do(s.request(ctx, http.MethodGet, d))
	if err == nil && response.StatusCode != http.StatusOK {
		err = statusError(http.MethodGet, d, response)
		discard(response.Body)
	}
	if err != nil {
		dog.Stop()
		return nil, s.named(err)
	}
	dog.Sleep()
	b := &body{ctx: ctx, digest: d, dog: dog, r: response.Body}
	return wire.Named(s.url, cas.Verify(d, b, response.ContentLength)), nil
}

// body is the body of a response. It hashes nothing.
type body struct {
	ctx    context.Context
	digest cas.Digest
	dog    *wire.Watchdog
	r      io.ReadCloser
}

func (b *body) Read(p []byte) (int, error) {
	b.dog.Wake()
	n, err := b.r.Read(p)
	b.dog.Sleep()
	if err != nil && err != io.EOF {
		err = b.fail(err)
	}
	return n, err
}

// fail is the error of a body that ended early. Those bytes are not the object,
// and asking again may help.
func (b *body) fail(err error) error {
	err = transportError(b.ctx, err)
	if b.ctx.Err() == nil && errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", &cas.MismatchError{Want: b.digest}, err)
	}
	return err
}

func (b *body) Close() error {
	b.dog.Stop()
	return b.r.Close()
}
