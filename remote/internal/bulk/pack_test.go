package bulk

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	pb "github.com/fstree/fstree/proto"
)

// message is what a peer receives.
type message struct {
	segments []*pb.Segment
	data     []byte
	plain    uint64
}

// collect keeps the messages of a Packer, as the codec sends them.
func collect(messages *[]message) *Packer { return collectOver(nil, messages) }

// collectOver is collect for what goes over a link.
func collectOver(link *Link, messages *[]message) *Packer {
	return NewPacker(func(out *Out) error {
		sent, err := Codec.Marshal(out)
		if err != nil {
			return err
		}
		defer sent.Free()
		var m pb.WriteObjectsRequest
		if err := proto.Unmarshal(sent.Materialize(), &m); err != nil {
			return err
		}
		*messages = append(*messages, message{m.Segment, m.Data, m.Plain})
		return nil
	}, link, true)
}

func unpacker(messages []message) *Unpacker {
	return NewUnpacker(func(in *In) error {
		if len(messages) == 0 {
			return io.EOF
		}
		m := messages[0]
		messages = messages[1:]
		sent, err := proto.Marshal(&pb.ReadObjectsResponse{Segment: m.segments, Data: m.data, Plain: m.plain})
		if err != nil {
			return err
		}
		return Codec.Unmarshal(inFrames(sent), in)
	}, func(s *pb.Status) error { return errors.New(s.GetMessage()) })
}

// inFrames cuts a message up as HTTP/2 does.
func inFrames(message []byte) mem.BufferSlice {
	var frames mem.BufferSlice
	for frame := range slices.Chunk(message, 1000) {
		frames = append(frames, mem.SliceBuffer(frame))
	}
	return frames
}

func fails(err error) *pb.Status { return &pb.Status{Code: 2, Message: err.Error()} }

// unsized hides how long an object is.
type unsized struct{ cas.Object }

func (unsized) Size() int64 { return -1 }

func TestWhatIsPackedIsUnpacked(t *testing.T) {
	var messages []message
	p := collect(&messages)
	sizes := []int{0, 1, 5, 100_000, 200_000, FrameSize - 1, FrameSize, FrameSize + 1, 0, 3*FrameSize + 7, 12, 0}
	for i, size := range sizes {
		var o cas.Object = cas.NewObject(castest.Bytes(size, uint64(i)))
		if i%2 == 1 {
			o = unsized{o}
		}
		if err := p.Object(&pb.Segment{Object: uint64(i)}, o, fails); err != nil {
			t.Fatal(err)
		}
	}
	p.Failure(uint64(len(sizes)), &pb.Status{Message: "absent"})
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, m := range messages {
		if len(m.data) > FrameSize {
			t.Errorf("message %d has %d bytes", i, len(m.data))
		}
	}
	u := unpacker(messages)
	for i, size := range sizes {
		in, err := u.Next()
		if err != nil || in.Failed != nil || in.Start.Object != uint64(i) {
			t.Fatalf("object %d: %+v, %v", i, in, err)
		}
		if i%3 == 2 {
			continue // skipped
		}
		got, err := io.ReadAll(u)
		if want := castest.Bytes(size, uint64(i)); err != nil || !bytes.Equal(got, want) || in.Whole && !bytes.Equal(in.Data, want) {
			t.Errorf("object %d: %d bytes, %v", i, len(got), err)
		}
	}
	if in, err := u.Next(); err != nil || in.Failed == nil || in.Failed.Error() != "absent" {
		t.Errorf("absent object: %+v, %v", in, err)
	}
	if _, err := u.Next(); err != io.EOF {
		t.Errorf("end: %v", err)
	}
}

func TestSmallObjectsComeWhole(t *testing.T) {
	var messages []message
	p := collect(&messages)
	for i := range 50 {
		p.Object(&pb.Segment{Object: uint64(i)}, cas.NewObject(make([]byte, 100_000)), fails)
	}
	p.Flush()
	u := unpacker(messages)
	for i := range 50 {
		if in, err := u.Next(); err != nil || !in.Whole {
			t.Errorf("object %d: %v", i, err)
		}
	}
}

func TestObjectThatBreaksDoesNotBreakTheOthers(t *testing.T) {
	for _, size := range []int{0, 10, FrameSize, FrameSize + 1, 3 * FrameSize} {
		var messages []message
		p := collect(&messages)
		broken := cas.Verify(cas.Sum(nil), io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, size)), iotest.ErrReader(errors.New("broke")))), -1)
		p.Object(&pb.Segment{Object: 0}, broken, fails)
		p.Object(&pb.Segment{Object: 1}, cas.NewObject([]byte("good")), fails)
		p.Flush()
		for _, read := range []bool{true, false} {
			u := unpacker(messages)
			in, err := u.Next()
			if err != nil || in.Whole {
				t.Fatalf("%d bytes: %+v, %v", size, in, err)
			}
			if read && in.Failed == nil {
				if got, err := io.ReadAll(u); err == nil || err.Error() != "broke" {
					t.Errorf("%d bytes: %d, %v", size, len(got), err)
				}
			}
			if in, err := u.Next(); err != nil || string(in.Data) != "good" {
				t.Errorf("behind %d bytes: %+v, %v", size, in, err)
			}
		}
	}
}

func TestMessagesThatAreNoObjects(t *testing.T) {
	for name, messages := range map[string][]message{
		"too long":    {{[]*pb.Segment{{Length: 5, Last: true}}, []byte("1234"), 0}},
		"overflow":    {{[]*pb.Segment{{Length: 1}, {Length: 1<<64 - 1, Last: true}}, []byte("1234"), 0}},
		"left over":   {{[]*pb.Segment{{Length: 3, Last: true}}, []byte("1234"), 0}},
		"no segment":  {{nil, []byte("1234"), 0}},
		"no end":      {{[]*pb.Segment{{Length: 4}}, []byte("1234"), 0}},
		"in another":  {{[]*pb.Segment{{Length: 4}}, []byte("1234"), 0}, {[]*pb.Segment{{Object: 1, Length: 4, Last: true}}, []byte("1234"), 0}},
		"not zstd":    {{[]*pb.Segment{{Length: 4, Last: true}}, []byte("1234"), 4}},
		"in another2": {{[]*pb.Segment{{Length: 2}, {Object: 1, Length: 2, Last: true}}, []byte("1234"), 0}},
	} {
		for _, read := range []bool{true, false} {
			u := unpacker(messages)
			_, err := u.Next()
			if err == nil && read {
				_, err = io.ReadAll(u)
			}
			if err == nil {
				_, err = u.Next()
			}
			if err == nil || err == io.EOF {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestDigestsOfEveryKindInARow(t *testing.T) {
	ds := []cas.Digest{
		cas.Sum(nil), cas.MustParseDigest("sha1:a94a8fe5ccb19ba61c4c0873d391e987982fbbd3"),
		cas.MustParseDigest("sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
	}
	b := AppendDigests(nil, ds)
	got, err := ParseDigests(b)
	if err != nil || len(got) != 3 || got[0] != ds[0] || got[1] != ds[1] || got[2] != ds[2] {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range [][]byte{{0}, {9}, b[:len(b)-1], append(b, 1)} {
		if _, err := ParseDigests(bad); err == nil {
			t.Errorf("%x is taken for digests", bad)
		}
	}
	for _, size := range []int64{-1, 0, 1, 1 << 62} {
		if got := SizeFromWire(SizeToWire(size)); got != size {
			t.Errorf("size %d became %d", size, got)
		}
	}
	if got := SizeFromWire(1<<64 - 1); got != -1 {
		t.Errorf("an impossible size is %d", got)
	}
}

func TestMessagesOfOthersAreUnderstood(t *testing.T) {
	data := castest.Bytes(5000, 1)
	good, _ := proto.Marshal(&pb.WriteObjectRequest{Digest: "some digest", Data: data})
	behind := protowire.AppendTag(bytes.Clone(good), 9, protowire.Fixed32Type)
	behind = protowire.AppendFixed32(behind, 7)
	behind = protowire.AppendTag(behind, 10, protowire.Fixed64Type)
	behind = protowire.AppendFixed64(behind, 8)
	behind = protowire.AppendTag(behind, 11, protowire.VarintType)
	behind = protowire.AppendVarint(behind, 1<<40)
	for name, message := range map[string][]byte{"as usual": good, "fields behind": behind} {
		in := In{DataField: 2}
		if err := Codec.Unmarshal(inFrames(message), &in); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var fields pb.WriteObjectRequest
		if err := proto.Unmarshal(in.Fields, &fields); err != nil || fields.Digest != "some digest" {
			t.Errorf("%s: %q, %v", name, fields.Digest, err)
		}
		if got, err := io.ReadAll(&in); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestMessageWithoutData(t *testing.T) {
	in := In{DataField: 2}
	for _, message := range [][]byte{nil, {0x12, 0}} {
		if err := Codec.Unmarshal(inFrames(message), &in); err != nil || in.Remaining() != 0 {
			t.Errorf("%x: %d bytes, %v", message, in.Remaining(), err)
		}
		if n, err := in.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%x: %d, %v", message, n, err)
		}
	}
}

// FuzzIn: what protobuf accepts, In accepts as well and means the same.
func FuzzIn(f *testing.F) {
	good, _ := proto.Marshal(&pb.WriteObjectRequest{Digest: "d", Data: []byte("data")})
	f.Add(good)
	f.Add([]byte{0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		var want, fields pb.WriteObjectRequest
		wantErr := proto.Unmarshal(message, &want)
		in := In{DataField: 2}
		err := Codec.Unmarshal(inFrames(message), &in)
		if err == nil {
			err = proto.Unmarshal(in.Fields, &fields)
		}
		if wantErr != nil {
			return // some of it may be refused later, or be harmless
		}
		data, _ := io.ReadAll(&in)
		if err == nil && (fields.Digest != want.Digest || !bytes.Equal(data, want.Data)) {
			t.Errorf("%q and %x, want %q and %x", fields.Digest, data, want.Digest, want.Data)
		}
		if err != nil && !hasGroup(message) {
			t.Errorf("%v", err)
		}
	})
}

// hasGroup tells whether message uses a kind of field that proto3 does not have.
func hasGroup(message []byte) bool {
	for len(message) > 0 {
		_, kind, n := protowire.ConsumeField(message)
		if n < 0 || kind == protowire.StartGroupType {
			return true
		}
		message = message[n:]
	}
	return false
}

// FuzzUnpacker: whatever a peer sends, it ends, and no object has more bytes
// than were sent.
func FuzzUnpacker(f *testing.F) {
	good, _ := proto.Marshal(&pb.ReadObjectsResponse{
		Segment: []*pb.Segment{{Length: 2, Last: true}, {Object: 1, Length: 1}, {Object: 1, Length: 1, Failure: &pb.Status{Code: 5}}},
		Data:    []byte("data"),
	})
	f.Add(good, true)
	f.Add([]byte{}, false)
	packed := encoder().EncodeAll([]byte("data data data data"), nil)
	squeezed, _ := proto.Marshal(&pb.ReadObjectsResponse{Segment: []*pb.Segment{{Length: 19, Last: true}}, Data: packed, Plain: 19})
	f.Add(squeezed, true)
	f.Fuzz(func(t *testing.T, message []byte, read bool) {
		times := 2
		u := NewUnpacker(func(in *In) error {
			if times--; times < 0 {
				return io.EOF
			}
			return Codec.Unmarshal(inFrames(message), in)
		}, func(*pb.Status) error { return errors.New("failed") })
		defer u.Free()
		total := 0
		for {
			in, err := u.Next()
			if err != nil {
				break
			}
			total += len(in.Data)
			if read && !in.Whole && in.Failed == nil {
				data, _ := io.ReadAll(u)
				total += len(data)
			}
		}
		if total > 2*(len(message)+maxPlain) {
			t.Errorf("%d bytes out of %d", total, len(message))
		}
	})
}
