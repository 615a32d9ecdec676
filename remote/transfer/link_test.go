package transfer_test

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// link is a network between a client and a server that counts. It sees frames
// of HTTP/2, so that it counts what is really asked, by whichever code.
type link struct {
	server string
	// delay holds up what the server says, so that calls which are made side
	// by side are seen to be.
	delay time.Duration

	mu       sync.Mutex
	calls    int
	rounds   int            // calls that had to wait for others, in the longest row
	level    map[uint32]int // of each call: its place in such a row
	up, down int64          // bytes
	conns    []net.Conn
	limit    int64 // bytes down until all connections are cut, once; 0 for no limit
}

// newLink returns a link to the server at address, and its own address.
func newLink(t *testing.T, server string, delay time.Duration) (*link, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{server: server, delay: delay, level: map[uint32]int{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { l.carry(client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		l.cut()
		running.Wait()
	})
	return l, listener.Addr().String()
}

// cut ends all connections.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cutAll()
}

func (l *link) cutAll() {
	for _, conn := range l.conns {
		conn.Close()
	}
	l.conns = nil
}

// cutAfter ends all connections once the server has said so much more.
func (l *link) cutAfter(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = l.down + bytes
}

func (l *link) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		return
	}
	defer server.Close()
	l.mu.Lock()
	l.conns = append(l.conns, client, server)
	l.mu.Unlock()
	var up sync.WaitGroup
	up.Go(func() {
		asked := &frames{skip: len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), visit: l.asked}
		io.Copy(server, io.TeeReader(client, asked))
		server.Close()
		client.Close()
	})
	l.answer(client, server)
	client.Close()
	server.Close()
	up.Wait()
}

// answer carries what the server says, later.
func (l *link) answer(client, server net.Conn) {
	type piece struct {
		data []byte
		due  time.Time
	}
	late := make(chan piece, 1<<16)
	var delivering sync.WaitGroup
	delivering.Go(func() {
		answered := &frames{visit: l.answered}
		for p := range late {
			time.Sleep(time.Until(p.due))
			answered.Write(p.data)
			client.Write(p.data)
		}
	})
	for {
		data := make([]byte, 64<<10)
		n, err := server.Read(data)
		late <- piece{data[:n], time.Now().Add(l.delay)}
		if err != nil {
			break
		}
	}
	close(late)
	delivering.Wait()
}

const frameHeaders = 1

// asked notes a frame of the client. A call is one round later than all that
// were answered before it.
func (l *link) asked(kind byte, stream uint32, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up += int64(size)
	if kind != frameHeaders {
		return
	}
	l.calls++
	l.level[stream] = l.rounds + 1
}

// answered notes a frame of the server.
func (l *link) answered(_ byte, stream uint32, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down += int64(size)
	if l.limit > 0 && l.down > l.limit {
		l.limit = 0
		l.cutAll()
	}
	l.rounds = max(l.rounds, l.level[stream])
}

// cost is what a link has counted.
type cost struct {
	calls, rounds int
	up, down      int64
}

// take returns what was counted since the last time.
func (l *link) take() cost {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := cost{l.calls, l.rounds, l.up, l.down}
	l.calls, l.rounds, l.up, l.down = 0, 0, 0, 0
	clear(l.level)
	return c
}

// frames is told all bytes of one direction of HTTP/2.
type frames struct {
	skip   int // bytes that are no header of a frame
	header []byte
	visit  func(kind byte, stream uint32, size int)
}

const frameHeader = 9

func (f *frames) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if f.skip > 0 {
			n := min(f.skip, len(rest))
			f.skip -= n
			rest = rest[n:]
			continue
		}
		n := min(frameHeader-len(f.header), len(rest))
		f.header = append(f.header, rest[:n]...)
		rest = rest[n:]
		if len(f.header) < frameHeader {
			break
		}
		f.skip = int(binary.BigEndian.Uint32(f.header) >> 8)
		f.visit(f.header[3], binary.BigEndian.Uint32(f.header[5:])&(1<<31-1), frameHeader+f.skip)
		f.header = f.header[:0]
	}
	return len(p), nil
}
