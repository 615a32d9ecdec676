package bench

import (
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// Link is a network between clients and a server of gRPC, which holds up every
// byte for a while, loses none, and counts what is really asked. It carries
// other protocols as well; then what it counts means nothing.
type Link struct {
	listener net.Listener
	server   string
	delay    time.Duration // each way

	mu       sync.Mutex
	counted  Traffic
	level    map[call]int // of each call: its place in a row of calls that waited for each other
	carriers uint64
}

// Traffic is what went over a Link.
type Traffic struct {
	Calls    int
	Rounds   int   // calls that had to wait for others, in the longest row
	Up, Down int64 // bytes
}

type call struct {
	carrier uint64
	stream  uint32
}

// NewLink returns a Link to the server at address, which holds up each
// direction by delay.
func NewLink(address string, delay time.Duration) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Link{listener: listener, server: address, delay: delay, level: map[call]int{}}
	go l.accept()
	return l, nil
}

// Address is where clients reach the server.
func (l *Link) Address() string { return l.listener.Addr().String() }

// Close lets no further connections through.
func (l *Link) Close() { l.listener.Close() }

// Take returns what was counted since the last time.
func (l *Link) Take() Traffic {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counted
	l.counted = Traffic{}
	clear(l.level)
	return c
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.carriers++
		go l.carry(client, l.carriers)
	}
}

func (l *Link) carry(client net.Conn, carrier uint64) {
	defer client.Close()
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		return
	}
	defer server.Close()
	var up sync.WaitGroup
	up.Go(func() {
		asked := &frames{skip: len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), visit: func(kind byte, stream uint32) {
			l.asked(kind, call{carrier, stream})
		}}
		l.way(server, client, asked.write, func(p []byte) { l.count(&l.counted.Up, p) })
	})
	answered := &frames{visit: func(_ byte, stream uint32) { l.answered(call{carrier, stream}) }}
	l.way(client, server, func(p []byte) { l.count(&l.counted.Down, p) }, answered.write)
	up.Wait()
}

const frameHeaders = 1

// asked notes a call, which is one round later than all that were answered
// before it.
func (l *Link) asked(kind byte, c call) {
	if kind != frameHeaders {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counted.Calls++
	l.level[c] = l.counted.Rounds + 1
}

func (l *Link) answered(c call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counted.Rounds = max(l.counted.Rounds, l.level[c])
}

const (
	linkPiece  = 64 << 10
	linkPieces = 1024 // under way in one direction
)

type linkData struct {
	data *[linkPiece]byte
	size int
	due  time.Time
}

var linkBuffers = sync.Pool{New: func() any { return new([linkPiece]byte) }}

func (l *Link) count(what *int64, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*what += int64(len(p))
}

// way carries one direction to its end. What a client says counts when it says
// it, and what it hears when it hears it.
func (l *Link) way(to, from net.Conn, said, heard func(p []byte)) {
	late := make(chan linkData, linkPieces)
	go func() {
		defer close(late)
		for {
			data := linkBuffers.Get().(*[linkPiece]byte)
			n, err := from.Read(data[:])
			said(data[:n])
			late <- linkData{data, n, time.Now().Add(l.delay)}
			if err != nil {
				return
			}
		}
	}()
	for p := range late {
		time.Sleep(time.Until(p.due))
		heard(p.data[:p.size])
		to.Write(p.data[:p.size]) // what can't be delivered is drained
		linkBuffers.Put(p.data)
	}
	to.(*net.TCPConn).CloseWrite()
}

// frames is told all bytes of one direction of HTTP/2.
type frames struct {
	skip   int // bytes that are no header of a frame
	header []byte
	visit  func(kind byte, stream uint32)
}

const frameHeader = 9

func (f *frames) write(p []byte) {
	for len(p) > 0 {
		if f.skip > 0 {
			n := min(f.skip, len(p))
			f.skip -= n
			p = p[n:]
			continue
		}
		n := min(frameHeader-len(f.header), len(p))
		f.header = append(f.header, p[:n]...)
		p = p[n:]
		if len(f.header) < frameHeader {
			break
		}
		f.skip = int(binary.BigEndian.Uint32(f.header) >> 8)
		f.visit(f.header[3], binary.BigEndian.Uint32(f.header[5:])&(1<<31-1))
		f.header = f.header[:0]
	}
}
