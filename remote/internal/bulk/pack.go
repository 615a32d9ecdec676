// Package bulk moves objects over gRPC in few large messages, with one copy
// between a store and the transport.
package bulk

import (
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/wire"
)

const (
	// Window is the window of flow control of a stream to a client, in bytes. It
	// must hold what is on its way, and a quarter more, as receivers open a
	// window only when that much of it is used up. With 100 ms from end to end
	// and back one stream moves 180 MB/s (16 MiB: 109 MB/s).
	Window = 24 << 20

	// UploadWindow is that of a stream to a server. A large object goes up in
	// one stream, while it comes down in several. A server whose store takes
	// nothing may hold as much of each upload.
	UploadWindow = 2 * Window

	// ConnectionWindow is that of a connection: several streams flow at once.
	// It opens as bytes arrive, and not as they are read, so that memory is
	// bounded by the windows of streams alone.
	ConnectionWindow = 4 * Window

	// FrameSize is how many bytes of objects one message carries.
	FrameSize = 256 << 10

	// maxSegments bounds the objects of one message.
	maxSegments = 1000

	// dataField is the number of data in ReadObjectsResponse and
	// WriteObjectsRequest.
	dataField = 2
)

// Packer turns objects into messages of segments. It is not safe for
// concurrent use. After an error it is of no use. Free it at the end.
type Packer struct {
	sender
	segments []*pb.Segment
	data     *Buffer
}

// NewPacker returns a Packer that gives its messages to send, which takes them
// to link. A peer that does not know zstd must not be sent to with squeeze.
func NewPacker(send func(*Out) error, link *Link, squeeze bool) *Packer {
	return &Packer{sender: newSender(send, link, squeeze), data: NewBuffer()}
}

// Free gives back what p holds. What was not flushed is lost.
func (p *Packer) Free() { p.data.Free() }

// Object adds all of o, which start announces. If o can't be read, failure
// makes the segment's last word of the error; that is no error of Object.
func (p *Packer) Object(start *pb.Segment, o cas.Object, failure func(error) *pb.Status) error {
	// What fits into one message shall not be spread over two.
	if size := o.Size(); size > int64(FrameSize-p.data.Len()) && size <= FrameSize {
		if err := p.Flush(); err != nil {
			return err
		}
	}
	segment := start
	p.segments = append(p.segments, segment)
	for {
		n, err := wire.Fill(o, p.data.Space())
		p.data.Extend(n)
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
	if len(p.segments) < maxSegments && p.data.Len() < FrameSize {
		return nil
	}
	return p.Flush()
}

// Flush sends what is still here.
func (p *Packer) Flush() error {
	if len(p.segments) == 0 {
		return nil
	}
	data, plain := p.squeezed(p.data)
	p.data = NewBuffer()
	// Both directions number their fields alike.
	fields, err := proto.Marshal(&pb.ReadObjectsResponse{Segment: p.segments, Plain: plain})
	if err != nil {
		data.Free()
		return err
	}
	p.segments = p.segments[:0]
	return p.sendOut(&Out{Fields: fields, DataField: dataField, Data: data})
}
