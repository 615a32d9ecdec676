package wire

import (
	"io"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
)

const (
	// FrameSize is how many bytes of objects one message carries.
	FrameSize = 256 << 10

	// maxSegments bounds the objects of one message.
	maxSegments = 1000
)

// Packer turns objects into messages of segments. It is not safe for
// concurrent use. After an error of send it is of no use.
type Packer struct {
	send     func(segments []*pb.Segment, data []byte) error
	segments []*pb.Segment
	data     []byte
}

// NewPacker returns a Packer that gives its messages to send, which must be
// done with them when it returns.
func NewPacker(send func(segments []*pb.Segment, data []byte) error) *Packer {
	return &Packer{send: send, data: make([]byte, 0, FrameSize)}
}

// Object adds all of o, which start announces. If o can't be read, failure
// makes the segment's last word of the error; that is no error of Object.
func (p *Packer) Object(start *pb.Segment, o cas.Object, failure func(error) *pb.Status) error {
	// What fits into one message shall not be spread over two.
	if size := o.Size(); size > int64(FrameSize-len(p.data)) && size <= FrameSize {
		if err := p.Flush(); err != nil {
			return err
		}
	}
	segment := start
	p.segments = append(p.segments, segment)
	for {
		n, err := Fill(o, p.data[len(p.data):FrameSize])
		p.data = p.data[:len(p.data)+n]
		segment.Length += uint64(n)
		if err == io.EOF {
			segment.Last = true
			return p.flushFull()
		}
		if err != nil {
			segment.Failure = failure(err)
			return p.flushFull()
		}
		if err := p.Flush(); err != nil {
			return err
		}
		segment = &pb.Segment{Object: start.Object}
		p.segments = append(p.segments, segment)
	}
}

// Failure adds an object that can't be sent.
func (p *Packer) Failure(object uint64, failure *pb.Status) error {
	p.segments = append(p.segments, &pb.Segment{Object: object, Failure: failure})
	return p.flushFull()
}

func (p *Packer) flushFull() error {
	if len(p.segments) < maxSegments && len(p.data) < FrameSize {
		return nil
	}
	return p.Flush()
}

// Flush sends what is still here.
func (p *Packer) Flush() error {
	if len(p.segments) == 0 {
		return nil
	}
	err := p.send(p.segments, p.data)
	p.segments, p.data = p.segments[:0], p.data[:0]
	return err
}
