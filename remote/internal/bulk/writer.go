package bulk

import (
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fstree/fstree/remote/internal/wire"
)

// Writer turns a stream of bytes into messages of one field. It is not safe for
// concurrent use. After an error it is of no use. Free it at the end.
type Writer struct {
	send  func(*Out) error
	field protowire.Number
	data  *Buffer
}

// NewWriter returns a Writer that gives its messages to send. The field of
// their bytes has the number field.
func NewWriter(send func(*Out) error, field protowire.Number) *Writer {
	return &Writer{send: send, field: field, data: NewBuffer()}
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
	message := &Out{DataField: w.field, Data: w.data}
	w.data = NewBuffer()
	return w.send(message)
}
