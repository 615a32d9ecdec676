package relay_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/fstree/fstree/internal/relay"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frame is one of HTTP/2 with a body of five bytes.
func frame(kind, stream byte) []byte {
	return []byte{0, 0, 5, kind, 0, 0, 0, 0, stream, 1, 2, 3, 4, 5}
}

// listen starts a server that hands over its connections.
func listen(t *testing.T) (address string, conns <-chan net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	return listener.Addr().String(), accepted
}

type pair struct {
	t              *testing.T
	client, server net.Conn
}

func connect(t *testing.T, r *relay.Relay, conns <-chan net.Conn) *pair {
	t.Helper()
	client, err := net.Dial("tcp", r.Address())
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{t, client, <-conns}
	t.Cleanup(func() {
		client.Close()
		p.server.Close()
	})
	p.send(p.client, p.server, []byte(preface))
	return p
}

// send waits until what is sent has arrived.
func (p *pair) send(from, to net.Conn, data []byte) {
	p.t.Helper()
	to.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := from.Write(data); err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.ReadFull(to, make([]byte, len(data))); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) ask(stream byte)    { p.t.Helper(); p.send(p.client, p.server, frame(1, stream)) }
func (p *pair) answer(stream byte) { p.t.Helper(); p.send(p.server, p.client, frame(0, stream)) }

// gone waits for the end of the client's connection.
func (p *pair) gone() bool {
	p.client.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := p.client.Read(make([]byte, 1))
	timeout, ok := err.(net.Error)
	return err != nil && !(ok && timeout.Timeout())
}

func start(t *testing.T, delay relay.Delay) (*relay.Relay, <-chan net.Conn) {
	t.Helper()
	address, conns := listen(t)
	r, err := relay.New(address, delay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, conns
}

// TestRoundsAreCallsThatWaitedForOthers: in whichever connections they are.
func TestRoundsAreCallsThatWaitedForOthers(t *testing.T) {
	r, conns := start(t, relay.Delay{})
	one, two := connect(t, r, conns), connect(t, r, conns)
	r.Take()
	one.ask(1)
	two.ask(1)
	one.answer(1)
	one.ask(3)
	two.answer(1) // asked in the first round still
	if got, want := r.Take(), (relay.Traffic{Calls: 3, Rounds: 1, Up: 3 * 14, Down: 2 * 14}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	one.ask(5)
	one.answer(5)
	two.ask(3)
	two.answer(3)
	if got := r.Take(); got.Calls != 2 || got.Rounds != 2 {
		t.Errorf("%+v, want 2 calls in 2 rounds", got)
	}
}

func TestEachDirectionHasItsDelay(t *testing.T) {
	r, conns := start(t, relay.Delay{Up: 50 * time.Millisecond, Down: 150 * time.Millisecond})
	p := connect(t, r, conns)
	begin := time.Now()
	p.ask(1)
	up := time.Since(begin)
	p.answer(1)
	down := time.Since(begin) - up
	if up < 50*time.Millisecond || up > 140*time.Millisecond || down < 150*time.Millisecond || down > 240*time.Millisecond {
		t.Errorf("%s up, %s down", up, down)
	}
}

func TestCutEndsConnectionsAndLetsNewOnesThrough(t *testing.T) {
	r, conns := start(t, relay.Delay{})
	p := connect(t, r, conns)
	r.Cut()
	if !p.gone() {
		t.Error("a connection outlives the cut")
	}
	p = connect(t, r, conns)
	r.CutAfter(20)
	p.answer(1)
	p.server.Write(frame(0, 1))
	if !p.gone() {
		t.Error("a connection outlives its bytes")
	}
	connect(t, r, conns).answer(1)
	connect(t, r, conns).answer(1)
}

// TestCloseEndsWhatIsUnderWay: even a connection whose ends both stay.
func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	r, conns := start(t, relay.Delay{})
	p := connect(t, r, conns)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Close()
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("Close waits for the ends")
	}
	if !p.gone() {
		t.Error("a connection outlives Close")
	}
	if _, err := net.Dial("tcp", r.Address()); err == nil {
		t.Error("a connection begins after Close")
	}
}
