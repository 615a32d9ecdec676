package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	pb "github.com/fstree/fstree/proto"
)

// message is what a peer receives.
type message struct {
	segments []*pb.Segment
	data     []byte
}

// collect keeps the messages of a Packer.
func collect(messages *[]message) *Packer {
	return NewPacker(func(segments []*pb.Segment, data []byte) error {
		*messages = append(*messages, message{append([]*pb.Segment{}, segments...), bytes.Clone(data)})
		return nil
	})
}

func unpacker(messages []message) *Unpacker {
	return NewUnpacker(func() ([]*pb.Segment, []byte, error) {
		if len(messages) == 0 {
			return nil, nil, io.EOF
		}
		m := messages[0]
		messages = messages[1:]
		return m.segments, m.data, nil
	}, func(s *pb.Status) error { return errors.New(s.GetMessage()) })
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
		"too long":    {{[]*pb.Segment{{Length: 5, Last: true}}, []byte("1234")}},
		"overflow":    {{[]*pb.Segment{{Length: 1}, {Length: 1<<64 - 1, Last: true}}, []byte("1234")}},
		"left over":   {{[]*pb.Segment{{Length: 3, Last: true}}, []byte("1234")}},
		"no segment":  {{nil, []byte("1234")}},
		"no end":      {{[]*pb.Segment{{Length: 4}}, []byte("1234")}},
		"in another":  {{[]*pb.Segment{{Length: 4}}, []byte("1234")}, {[]*pb.Segment{{Object: 1, Length: 4, Last: true}}, []byte("1234")}},
		"in another2": {{[]*pb.Segment{{Length: 2}, {Object: 1, Length: 2, Last: true}}, []byte("1234")}},
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
