package main

import (
	"net"
	"sync"
	"time"
)

// relay is a network between clients and a server that holds up every byte for
// a while and loses none.
type relay struct {
	listener net.Listener
	server   string
	delay    time.Duration
}

const (
	relayPiece  = 64 << 10
	relayPieces = 1024 // under way in one direction
)

func newRelay(server string, delay time.Duration) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener, server, delay}
	go r.accept()
	return r, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

func (r *relay) close() { r.listener.Close() }

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.carry(client)
	}
}

func (r *relay) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	defer server.Close()
	var ways sync.WaitGroup
	ways.Go(func() { r.way(server, client) })
	r.way(client, server)
	ways.Wait()
}

type piece struct {
	data *[relayPiece]byte
	size int
	due  time.Time
}

var pieces = sync.Pool{New: func() any { return new([relayPiece]byte) }}

// way carries one direction to its end.
func (r *relay) way(to, from net.Conn) {
	late := make(chan piece, relayPieces)
	go func() {
		defer close(late)
		for {
			data := pieces.Get().(*[relayPiece]byte)
			n, err := from.Read(data[:])
			late <- piece{data, n, time.Now().Add(r.delay)}
			if err != nil {
				return
			}
		}
	}()
	for p := range late {
		time.Sleep(time.Until(p.due))
		to.Write(p.data[:p.size]) // what can't be delivered is drained
		pieces.Put(p.data)
	}
	to.(*net.TCPConn).CloseWrite()
}
