// Package relay is a network between clients and a server on one machine, for
// tests and benchmarks: it holds up what is said, counts it, and breaks when it
// is told to.
package relay

import (
	"net"
	"sync"
	"time"
)

// Relay carries connections to one server. It counts the calls of gRPC by the
// frames of HTTP/2, whichever code makes them; it carries other protocols as
// well, and then only the bytes that it counts mean anything. It is safe for
// concurrent use.
type Relay struct {
	listener net.Listener
	server   string
	delay    Delay
	running  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	conns   map[net.Conn]struct{}
	counted Traffic
	level   map[call]int // of each call: its place in a row of calls that waited for each other
	limit   int64        // bytes down until all connections are cut, once; 0 for no limit
}

// Delay is how long each byte is held up on its way to the server, and back.
type Delay struct{ Up, Down time.Duration }

// Traffic is what went over a Relay. What a client says counts when it says it,
// and what it hears when it hears it.
type Traffic struct {
	Calls    int
	Rounds   int   // calls that had to wait for others, in the longest row
	Up, Down int64 // bytes
}

// call is a stream of HTTP/2 in one connection.
type call struct {
	client net.Conn
	stream uint32
}

// New returns a Relay to the server at address. Close it.
func New(address string, delay Delay) (*Relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{listener: listener, server: address, delay: delay, conns: map[net.Conn]struct{}{}, level: map[call]int{}}
	r.running.Go(r.accept)
	return r, nil
}

// Address is where clients reach the server.
func (r *Relay) Address() string { return r.listener.Addr().String() }

// Take returns what was counted since the last time.
func (r *Relay) Take() Traffic {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counted
	r.counted = Traffic{}
	clear(r.level)
	return c
}

// Cut ends all connections. New ones get through.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut()
}

// CutAfter ends all connections, once, when clients have heard so many bytes
// more.
func (r *Relay) CutAfter(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = r.counted.Down + bytes
}

func (r *Relay) cut() {
	for conn := range r.conns {
		conn.Close()
	}
}

// Close ends all connections and waits until nothing is carried any more.
func (r *Relay) Close() {
	r.listener.Close()
	r.mu.Lock()
	r.closed = true
	r.cut()
	r.mu.Unlock()
	r.running.Wait()
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.carry(client) })
	}
}

// carry carries one connection to the end of both directions.
func (r *Relay) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	defer server.Close()
	if !r.begin(client, server) {
		return
	}
	defer r.end(client, server)
	var up sync.WaitGroup
	up.Go(func() {
		asked := &frames{skip: len(preface), visit: func(kind byte, stream uint32) { r.asked(kind, call{client, stream}) }}
		oneWay(server, client, r.delay.Up, func(p []byte) {
			r.countUp(len(p))
			asked.write(p)
		}, func([]byte) {})
	})
	answered := &frames{visit: func(_ byte, stream uint32) { r.answered(call{client, stream}) }}
	oneWay(client, server, r.delay.Down, func([]byte) {}, func(p []byte) {
		r.countDown(len(p))
		answered.write(p)
	})
	up.Wait()
}

// begin is false if the Relay has ended.
func (r *Relay) begin(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		r.conns[conn] = struct{}{}
	}
	return !r.closed
}

func (r *Relay) end(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		delete(r.conns, conn)
	}
}

func (r *Relay) countUp(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted.Up += int64(n)
}

func (r *Relay) countDown(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted.Down += int64(n)
	if r.limit > 0 && r.counted.Down > r.limit {
		r.limit = 0
		r.cut()
	}
}

// asked notes a call, which is one round later than all that were answered
// before it.
func (r *Relay) asked(kind byte, c call) {
	if kind != frameHeaders {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted.Calls++
	r.level[c] = r.counted.Rounds + 1
}

func (r *Relay) answered(c call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted.Rounds = max(r.counted.Rounds, r.level[c])
}
