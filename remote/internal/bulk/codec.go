package bulk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that ours rests on
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Codec is gRPC's own codec, and moves the bytes of Out and In messages without
// copying them into and out of a protobuf message. What is sent is the same.
var Codec encoding.CodecV2 = codec{encoding.GetCodecV2("proto")}

type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if out, ok := v.(*Out); ok {
		return out.marshal(), nil
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if in, ok := v.(*In); ok {
		return in.unmarshal(data)
	}
	return c.CodecV2.Unmarshal(data, v)
}

// Out is a message to send, the last field of which is called data and holds
// bytes. It can be sent once: Data is then gRPC's.
type Out struct {
	Fields    []byte           // the encoded fields before data
	DataField protowire.Number // of data
	Data      *Buffer          // nil for a message without data
}

func (o *Out) marshal() mem.BufferSlice {
	if o.Data == nil || len(o.Data.bytes) == 0 {
		o.Data.Free()
		return mem.BufferSlice{mem.SliceBuffer(o.Fields)}
	}
	head := protowire.AppendTag(o.Fields, o.DataField, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(o.Data.bytes)))
	return mem.BufferSlice{mem.SliceBuffer(head), mem.NewBuffer(&o.Data.bytes, o.Data)}
}

// In is a message received, one field of which is called data and holds bytes.
// Its zero value is ready to be received into, once DataField is set; a message
// that was received before is freed then.
type In struct {
	DataField protowire.Number // of data
	Fields    []byte           // the other fields, encoded
	body      *mem.Reader      // what of data is not read
}

// Remaining returns how many bytes of data are not read.
func (in *In) Remaining() int {
	if in.body == nil {
		return 0
	}
	return in.body.Remaining()
}

// Read reads data.
func (in *In) Read(p []byte) (int, error) {
	if in.body == nil {
		return 0, io.EOF
	}
	return in.body.Read(p)
}

// Expand replaces data by the length bytes that it holds compressed.
func (in *In) Expand(length uint64) error {
	plain, err := in.expanded(length)
	if err == nil {
		in.body = mem.BufferSlice{mem.SliceBuffer(plain)}.Reader()
	}
	return err
}

// expanded reads data to its end, frees it, and returns the length bytes that it
// holds compressed.
func (in *In) expanded(length uint64) ([]byte, error) {
	packed := make([]byte, in.Remaining())
	io.ReadFull(in, packed)
	in.Free()
	return Expand(packed, length)
}

// Free gives the rest of data back to gRPC.
func (in *In) Free() {
	if in.body != nil {
		in.body.Close()
		in.body = nil
	}
}

var errMessage = errors.New("malformed message")

func (in *In) unmarshal(message mem.BufferSlice) error {
	in.Free()
	in.Fields = in.Fields[:0]
	r := message.Reader()
	for r.Remaining() > 0 {
		if err := in.field(r); err != nil {
			in.Free()
			r.Close()
			return fmt.Errorf("%w: %w", errMessage, err)
		}
		if in.body == r {
			return nil
		}
	}
	return r.Close()
}

// field reads one field from r. If it is data and the last one, r becomes its
// reader.
func (in *In) field(r *mem.Reader) error {
	tag, err := binary.ReadUvarint(r)
	if err != nil {
		return err
	}
	number, kind := protowire.DecodeTag(tag)
	if number != in.DataField || kind != protowire.BytesType {
		in.Fields = protowire.AppendVarint(in.Fields, tag)
		return in.keep(r, kind)
	}
	length, err := binary.ReadUvarint(r)
	if err != nil {
		return err
	}
	if length > uint64(r.Remaining()) {
		return io.ErrUnexpectedEOF
	}
	if length == uint64(r.Remaining()) {
		in.Free()
		in.body = r
		return nil
	}
	// Legal, but nobody writes it: more fields behind the data.
	data := make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	in.Free()
	in.body = mem.BufferSlice{mem.SliceBuffer(data)}.Reader()
	return nil
}

// keep copies the value of a field that is not data.
func (in *In) keep(r *mem.Reader, kind protowire.Type) error {
	var length uint64
	switch kind {
	case protowire.VarintType:
		value, err := binary.ReadUvarint(r)
		in.Fields = protowire.AppendVarint(in.Fields, value)
		return err
	case protowire.Fixed32Type:
		length = 4
	case protowire.Fixed64Type:
		length = 8
	case protowire.BytesType:
		var err error
		if length, err = binary.ReadUvarint(r); err != nil {
			return err
		}
		in.Fields = protowire.AppendVarint(in.Fields, length)
	default:
		return fmt.Errorf("field of unknown kind %d", kind)
	}
	if length > uint64(r.Remaining()) {
		return io.ErrUnexpectedEOF
	}
	start := len(in.Fields)
	in.Fields = append(in.Fields, make([]byte, length)...)
	_, err := io.ReadFull(r, in.Fields[start:])
	return err
}
