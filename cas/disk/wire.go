package disk

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/fstree/fstree/cas"
)

// Between a client and the owner of the index go frames, in both directions:
//
//	u32 length of what follows   u64 number   u8 code   body
//
// The owner begins with a greeting. Each frame of the client is a question,
// answered by one frame of the same number, in any order.
const (
	protocolVersion = 3
	frameHeader     = 4 + 8 + 1
	maxBody         = 256 << 10
)

// The codes of questions.
const (
	opPing          = iota + 1 // nothing → nothing
	opLookup                   // digests → entries
	opRecord                   // limits, items → nothing
	opPublish                  // JSON publication → nothing
	opForget                   // one item → nothing
	opList                     // no digest or one → items
	opEvict                    // JSON limits → JSON evicted
	opStats                    // nothing → JSON Stats
	opCountedLookup            // digests → entries
)

// The codes of answers.
const (
	answerHello  = iota + 100 // body: version of the protocol, one byte
	answerOK                  // body: the answer
	answerError               // body: JSON failure
	answerEnding              // the owner is ending: ask the next one
)

// errBabble means that the other side says what makes no sense.
var errBabble = fmt.Errorf("%w: processes of different versions share the cache", errMalformed)

// frame is a question or an answer.
type frame struct {
	number uint64
	code   byte
	body   []byte
}

func appendFrame(b []byte, f frame) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(8+1+len(f.body)))
	b = binary.LittleEndian.AppendUint64(b, f.number)
	b = append(b, f.code)
	return append(b, f.body...)
}

func readFrame(r io.Reader) (frame, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return frame{}, err
	}
	length := int64(binary.LittleEndian.Uint32(header[:])) - (8 + 1)
	if length < 0 || length > maxBody {
		return frame{}, errBabble
	}
	f := frame{binary.LittleEndian.Uint64(header[4:]), header[12], make([]byte, length)}
	_, err := io.ReadFull(r, f.body)
	return f, err
}

func appendDigests(b []byte, ds []cas.Digest) []byte {
	for _, d := range ds {
		b, _ = d.AppendBinary(b)
	}
	return b
}

// cutDigest takes a digest from the start of b.
func cutDigest(b []byte) (d cas.Digest, rest []byte, err error) {
	if len(b) == 0 {
		return d, nil, errMalformed
	}
	n := 1 + cas.Algorithm(b[0]).Size()
	if len(b) < n {
		return d, nil, errMalformed
	}
	d, err = cas.DigestFromBytes(b[:n])
	return d, b[n:], err
}

func parseDigests(b []byte) (ds []cas.Digest, err error) {
	for len(b) > 0 {
		var d cas.Digest
		if d, b, err = cutDigest(b); err != nil {
			return nil, err
		}
		ds = append(ds, d)
	}
	return ds, nil
}

// An entry on the wire has its length before it; none means that the object is
// not held.
func appendWireEntry(b []byte, d cas.Digest, e entry) []byte {
	if e.kind == 0 {
		return append(b, 0)
	}
	at := len(b)
	b = appendEntry(append(b, 0), d, e)
	b[at] = byte(len(b) - at - 1)
	return b
}

func cutEntry(b []byte, d cas.Digest) (e entry, rest []byte, err error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return e, nil, errMalformed
	}
	n := 1 + int(b[0])
	if n > 1 {
		e, err = decodeEntry(d, b[1:n])
	}
	return e, b[n:], err
}

func appendItems(b []byte, items []item) []byte {
	for _, it := range items {
		b, _ = it.digest.AppendBinary(b)
		b = appendWireEntry(b, it.digest, it.entry)
	}
	return b
}

func parseItems(b []byte) (items []item, err error) {
	for len(b) > 0 {
		var it item
		if it.digest, b, err = cutDigest(b); err != nil {
			return nil, err
		}
		if it.entry, b, err = cutEntry(b, it.digest); err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, nil
}

func appendLimits(b []byte, l limits) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Size))
	return binary.LittleEndian.AppendUint64(b, uint64(l.Retention))
}

func cutLimits(b []byte) (l limits, rest []byte, err error) {
	n, err := binary.Decode(b, binary.LittleEndian, &l)
	if err != nil {
		return l, nil, errMalformed
	}
	return l, b[n:], nil
}

// failure is an error on its way to another process.
type failure struct {
	Text  string
	Errno syscall.Errno // 0 if the system has no part in it
}

func encodeError(err error) []byte {
	f := failure{Text: err.Error()}
	errors.As(err, &f.Errno)
	b, _ := json.Marshal(f)
	return b
}

// remoteError is an error of the owner's, as a client sees it.
type remoteError struct{ failure }

func (e *remoteError) Error() string { return e.Text }

func (e *remoteError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

func decodeError(b []byte) error {
	e := &remoteError{}
	if err := json.Unmarshal(b, &e.failure); err != nil {
		return errBabble
	}
	return e
}
