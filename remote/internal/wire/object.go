package wire

import (
	"fmt"
	"io"

	"github.com/fstree/fstree/cas"
)

// Named returns o with the URL of its remote in front of every error.
func Named(url string, o cas.Object) cas.Object { return &named{o, NamedReader(url, o)} }

type named struct {
	cas.Object
	r io.Reader
}

func (n *named) Read(p []byte) (int, error) { return n.r.Read(p) }

// NamedReader is Named for any reader.
func NamedReader(url string, r io.Reader) io.Reader { return namedReader{r, url} }

type namedReader struct {
	r   io.Reader
	url string
}

func (n namedReader) Read(p []byte) (int, error) {
	count, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", n.url, err)
	}
	return count, err
}

// Fill reads from r until buf is full or r ends. Unlike io.ReadFull it returns
// the error of r as it is, so that io.EOF means the end of r and nothing else.
func Fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

// HoldBack returns the bytes of r, the last of them only once r has ended with
// io.EOF. Where the length was announced, a peer thus never receives all of an
// object whose bytes turn out to be wrong at their end.
func HoldBack(r io.Reader) io.Reader { return &holdBack{r: r} }

type holdBack struct {
	r       io.Reader
	last    [1]byte
	holding bool
	err     error
}

func (h *holdBack) Read(p []byte) (int, error) {
	for {
		n, err := h.step(p)
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// step may return nothing at all, when the byte that it read is now the one
// held back.
func (h *holdBack) step(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if h.err != nil {
		return h.finish(p)
	}
	var single [1]byte
	into := p
	if h.holding {
		into = p[1:]
		if len(into) == 0 {
			into = single[:]
		}
	}
	n, err := h.r.Read(into)
	h.err = err
	if n == 0 {
		return 0, nil
	}
	newest := into[n-1]
	delivered := n - 1
	if h.holding {
		p[0] = h.last[0]
		delivered = n
	}
	h.last[0], h.holding = newest, true
	return delivered, nil
}

func (h *holdBack) finish(p []byte) (int, error) {
	if h.err == io.EOF && h.holding {
		p[0], h.holding = h.last[0], false
		return 1, nil
	}
	return 0, h.err
}
