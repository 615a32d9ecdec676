package bulk

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	pb "github.com/fstree/fstree/proto"
)

// slowly is a link that was measured at 1 MB/s.
func slowly() *Link { return &Link{bytes: 2 << 20, waited: 2 * time.Second} }

func text(n int) []byte { return bytes.Repeat([]byte("It was a dark and stormy night. "), n/32+1)[:n] }

func TestTextShrinksOnASlowLink(t *testing.T) {
	var messages []message
	p := collectOver(slowly(), &messages)
	sizes := []int{10, 5000, 0, 3*FrameSize + 7, 100_000}
	for i, size := range sizes {
		if err := p.Object(&pb.Segment{Object: uint64(i)}, cas.NewObject(text(size)), fails); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	for i, m := range messages {
		if m.plain == 0 || len(m.data) > int(m.plain)/10 {
			t.Errorf("message %d: %d bytes were sent in %d", i, m.plain, len(m.data))
		}
	}
	u := unpacker(messages)
	for i, size := range sizes {
		in, err := u.Next()
		if err != nil || in.Start.Object != uint64(i) {
			t.Fatalf("object %d: %+v, %v", i, in, err)
		}
		if got, err := io.ReadAll(u); err != nil || !bytes.Equal(got, text(size)) {
			t.Errorf("object %d: %d bytes, %v", i, len(got), err)
		}
	}
	if _, err := u.Next(); err != io.EOF {
		t.Errorf("end: %v", err)
	}
}

func TestWhatDoesNotShrinkIsSentAsItIsAndTriedLessAndLess(t *testing.T) {
	s, tried := NewSqueezer(slowly()), 0
	random := castest.Bytes(FrameSize, 1)
	for range 200 {
		if !s.Wants() {
			continue
		}
		tried++
		if _, ok := s.Squeeze(nil, random); ok {
			t.Fatal("random bytes shrank")
		}
	}
	if tried < 5 || tried > 15 {
		t.Errorf("tried %d times in 200", tried)
	}
	for !s.Wants() {
	}
	if _, ok := s.Squeeze(nil, text(FrameSize)); !ok || !s.Wants() {
		t.Error("text did not shrink, or what follows is not tried")
	}
}

func TestFastLinkIsLeftAlone(t *testing.T) {
	for name, link := range map[string]*Link{
		"unknown":       {},
		"no link":       nil,
		"fast":          {bytes: 2 << 20, waited: 2 * time.Millisecond},
		"hardly used":   {bytes: 1000, waited: time.Second},
		"same computer": {bytes: 2 << 20, waited: 2 * time.Second, near: true},
	} {
		if NewSqueezer(link).Wants() {
			t.Errorf("%s: wants to compress", name)
		}
	}
}

func TestLinkIsMeasuredByAllWhoWaitTogether(t *testing.T) {
	var l Link
	local, remote := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2)}
	l.connect(local, remote)
	done := make(chan struct{})
	for range 8 { // 8 MB/s in all
		go func() {
			l.Send(200_000, func() error { time.Sleep(200 * time.Millisecond); return nil })
			done <- struct{}{}
		}()
	}
	for range 8 {
		<-done
	}
	if speed := float64(l.bytes) / l.waited.Seconds(); !l.slow() || speed < 2e6 || speed > 8.1e6 {
		t.Errorf("%.1f MB/s, slow: %v", speed/1e6, l.slow())
	}
	for range 100 {
		l.Send(FrameSize, func() error { return nil })
	}
	if l.slow() {
		t.Error("the link has become fast, and counts as slow")
	}
	l.Send(FrameSize, func() error { time.Sleep(100 * time.Millisecond); return nil })
	for _, peer := range []net.Addr{&net.UnixAddr{}, local, &net.TCPAddr{IP: net.IPv6loopback}} {
		l.connect(local, peer)
		l.Send(2<<20, func() error { time.Sleep(50 * time.Millisecond); return nil })
		if l.slow() {
			t.Errorf("%v counts as far away", peer)
		}
	}
}

func TestBombsAreRefused(t *testing.T) {
	zeros := make([]byte, 1<<20)
	one := encoder().EncodeAll(zeros, nil)
	huge := encoder().EncodeAll(make([]byte, 64<<20), nil)
	many := bytes.Repeat(one, 100)
	for name, test := range map[string]struct {
		packed []byte
		length uint64
	}{
		"more than is allowed": {huge, 64 << 20},
		"more than announced":  {huge, 1 << 20},
		"many frames":          {many, 1 << 20},
		"less than announced":  {one, 1<<20 + 1},
		"nonsense":             {[]byte("nonsense"), 100},
		"nothing":              {nil, 100},
		"cut off":              {one[:len(one)-3], 1 << 20},
	} {
		if plain, err := Expand(test.packed, test.length); err == nil || cap(plain) > maxPlain {
			t.Errorf("%s: %d bytes, %v", name, len(plain), err)
		}
	}
	if plain, err := Expand(one, 1<<20); err != nil || !bytes.Equal(plain, zeros) {
		t.Errorf("%d bytes, %v", len(plain), err)
	}
}

// TestMessageThatCanNotBeMadeGivesItsBuffersBackOnce: two streams that are
// handed one buffer would send each other's bytes.
func TestMessageThatCanNotBeMadeGivesItsBuffersBackOnce(t *testing.T) {
	for range 100 {
		p := NewPacker(func(*Out) error { return nil }, slowly(), true)
		if err := p.Object(&pb.Segment{}, cas.NewObject(text(100_000)), fails); err != nil {
			t.Fatal(err)
		}
		p.Failure(1, &pb.Status{Message: "not UTF-8: \xff"})
		if err := p.Flush(); err == nil {
			t.Fatal("a message that is none was sent")
		}
		p.Free()
		given := map[*Buffer]bool{}
		for range 4 {
			b := NewBuffer()
			if given[b] {
				t.Fatal("a buffer is given to two at once")
			}
			given[b] = true
		}
		for b := range given {
			b.Free()
		}
	}
}
