package bulk

import (
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fstree/fstree/remote/internal/wire"
)

// The numbers of the fields in ReadSliceResponse.
const (
	sliceField = 1 // data
	plainField = 2
)

// Writer turns a stream of bytes into messages of ReadSlice. It is not safe for
// concurrent use. After an error it is of no use. Free it at the end.
type Writer struct {
	sender
	data *Buffer
}

// NewWriter returns a Writer, as NewPacker does.
func NewWriter(send func(*Out) error, link *Link, squeeze bool) *Writer {
	return &Writer{newSender(send, link, squeeze), NewBuffer()}
}

// Free gives back what w holds. What was not flushed is lost.
func (w *Writer) Free() { w.data.Free() }

// Write sends p, as soon as there is enough for a message.
func (w *Writer) Write(p []byte) (written int, err error) {
	for {
		n := copy(w.data.Space(), p[written:])
		w.data.Extend(n)
		written += n
		if written == len(p) {
			return written, nil
		}
		if err := w.Flush(); err != nil {
			return written, err
		}
	}
}

// ReadFrom sends all bytes of r, without copying them.
func (w *Writer) ReadFrom(r io.Reader) (read int64, err error) {
	for {
		n, err := wire.Fill(r, w.data.Space())
		w.data.Extend(n)
		read += int64(n)
		if err == io.EOF {
			return read, nil
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			return read, err
		}
	}
}

// Flush sends what is still here.
func (w *Writer) Flush() error {
	if w.data.Len() == 0 {
		return nil
	}
	data, plain := w.squeezed(w.data)
	w.data = NewBuffer()
	message := &Out{DataField: sliceField, Data: data}
	if plain > 0 {
		message.Fields = protowire.AppendTag(nil, plainField, protowire.VarintType)
		message.Fields = protowire.AppendVarint(message.Fields, plain)
	}
	return w.sendOut(message)
}
