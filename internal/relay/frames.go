package relay

import "encoding/binary"

const (
	preface      = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // of a client
	frameHeader  = 9                                  // bytes
	frameHeaders = 1                                  // the kind of frame that begins a call
)

// frames is told all bytes of one direction of HTTP/2.
type frames struct {
	skip   int // bytes that are no header of a frame
	header []byte
	visit  func(kind byte, stream uint32)
}

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
