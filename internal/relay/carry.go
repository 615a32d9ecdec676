package relay

import (
	"net"
	"sync"
	"time"
)

const (
	pieceSize = 64 << 10
	maxPieces = 1024 // under way in one direction
)

type piece struct {
	data *[pieceSize]byte
	size int
	due  time.Time
}

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// oneWay carries one direction to its end, and tells what is said when it is
// said and heard. What can't be delivered is drained.
func oneWay(to, from net.Conn, delay time.Duration, said, heard func(p []byte)) {
	late := make(chan piece, maxPieces)
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		defer close(late)
		for {
			data := pieces.Get().(*[pieceSize]byte)
			n, err := from.Read(data[:])
			said(data[:n])
			late <- piece{data, n, time.Now().Add(delay)}
			if err != nil {
				return
			}
		}
	})
	var broken error
	for p := range late {
		if broken == nil {
			time.Sleep(time.Until(p.due))
			heard(p.data[:p.size])
			_, broken = to.Write(p.data[:p.size])
		}
		pieces.Put(p.data)
	}
	to.(*net.TCPConn).CloseWrite()
}
