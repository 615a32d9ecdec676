package bulk

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	pb "github.com/fstree/fstree/proto"
)

// Unpacker turns messages of segments into objects. It is not safe for
// concurrent use. Free it at the end.
type Unpacker struct {
	receive func(*In) error
	failure func(*pb.Status) error

	message  In
	segments []*pb.Segment // of message, not begun
	data     []byte        // of message, not read; nil if it is read from message
	current  *pb.Segment   // nil before the first
	rest     uint64        // bytes of current that are not read
	err      error         // of receive, or of what was received
}

// NewUnpacker returns an Unpacker of the messages that receive gets until
// io.EOF. failure makes the errors of objects that the peer could not send.
func NewUnpacker(receive func(*In) error, failure func(*pb.Status) error) *Unpacker {
	return &Unpacker{receive: receive, failure: failure, message: In{DataField: dataField}}
}

// Free gives back what u holds.
func (u *Unpacker) Free() { u.message.Free() }

// Incoming is one object that arrives.
type Incoming struct {
	Start  *pb.Segment // what the peer says about the object
	Whole  bool        // all its bytes are here
	Data   []byte      // them, if Whole; to be kept by whoever wants to
	Failed error       // the object failed before its first byte
}

// Next returns the next object, skipping what was not read of the one before.
// It returns io.EOF at the end of a stream that ends where an object ends.
func (u *Unpacker) Next() (Incoming, error) {
	for u.current != nil && !ended(u.current) {
		if err := u.advance(); err != nil {
			return Incoming{}, err
		}
	}
	u.skip()
	s, err := u.take()
	if err != nil {
		return Incoming{}, err
	}
	in := Incoming{Start: s}
	switch {
	case s.Failure != nil && s.Length == 0:
		in.Failed = u.failure(s.Failure)
	case s.Last:
		in.Whole = true
		in.Data = u.data[:s.Length:s.Length]
	}
	return in, nil
}

func ended(s *pb.Segment) bool { return s.Last || s.Failure != nil }

// Read reads the object that Next returned. It ends with io.EOF where the peer
// says that all was sent.
func (u *Unpacker) Read(p []byte) (int, error) {
	for u.rest == 0 {
		if u.current.Failure != nil {
			return 0, u.failure(u.current.Failure)
		}
		if u.current.Last {
			return 0, io.EOF
		}
		if err := u.advance(); err != nil {
			return 0, err
		}
	}
	n := int(min(u.rest, uint64(len(p))))
	if u.data == nil {
		u.message.Read(p[:n])
		u.rest -= uint64(n)
		return n, nil
	}
	copy(p, u.data[:n])
	u.drop(uint64(n))
	return n, nil
}

// advance goes on to the next segment of the current object.
func (u *Unpacker) advance() error {
	u.skip()
	object := u.current.GetObject()
	s, err := u.take()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	if err == nil && s.Object != object {
		u.err = fmt.Errorf("object %d starts in the middle of object %d", s.Object, object)
		return u.err
	}
	return err
}

// skip drops what was not read of the current segment.
func (u *Unpacker) skip() { u.drop(u.rest) }

func (u *Unpacker) drop(n uint64) {
	u.rest -= n
	if u.data != nil {
		u.data = u.data[n:]
	} // or else the next message frees all of this one
}

// take makes the next segment the current one.
func (u *Unpacker) take() (*pb.Segment, error) {
	for len(u.segments) == 0 && u.err == nil {
		u.err = u.load()
	}
	if u.err != nil {
		return nil, u.err
	}
	u.current = u.segments[0]
	u.segments = u.segments[1:]
	u.rest = u.current.Length
	return u.current, nil
}

// load receives the next message.
func (u *Unpacker) load() error {
	if err := u.receive(&u.message); err != nil {
		return err
	}
	var fields pb.ReadObjectsResponse
	if err := proto.Unmarshal(u.message.Fields, &fields); err != nil {
		return err
	}
	u.segments, u.data = fields.Segment, nil
	if fields.Plain > 0 {
		plain, err := u.message.expanded(fields.Plain)
		if err != nil {
			return err
		}
		u.data = plain
		return checkLengths(u.segments, len(plain))
	}
	if err := checkLengths(u.segments, u.message.Remaining()); err != nil {
		return err
	}
	if len(u.segments) == 1 && !u.isWhole(u.segments[0]) {
		return nil // a piece of a large object goes where it is read
	}
	u.data = make([]byte, u.message.Remaining())
	io.ReadFull(&u.message, u.data)
	return nil
}

// isWhole tells whether the first segment of a message is an object.
func (u *Unpacker) isWhole(s *pb.Segment) bool {
	return s.Last && (u.current == nil || ended(u.current))
}

func checkLengths(segments []*pb.Segment, length int) error {
	rest := uint64(length)
	for _, s := range segments {
		if s.Length > rest {
			return errors.New("a segment is longer than its message")
		}
		rest -= s.Length
	}
	if rest != 0 {
		return errors.New("a message has bytes that no segment has")
	}
	return nil
}
