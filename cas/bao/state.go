package bao

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fstree/fstree/cas"
)

const (
	stateMagic  = "fstp\x01" // the last byte is the version
	provedFlag  = 1
	sumSize     = 32
	digestSize  = 1 + sumSize
	stateHeader = len(stateMagic) + 1 + digestSize + 8
)

var errState = errors.New("state of a partial object is damaged")

// MarshalBinary returns the state of p: 79 bytes, and a few for each run of
// adjacent groups. Whatever it tells to be present was written before.
//
//	5   magic and version
//	1   1 if the size is proved, else 0
//	33  digest, in binary form
//	8   size, little-endian
//	    for each run, in order, two varints: groups to skip, groups present
//	32  BLAKE3 of everything before
func (p *Partial) MarshalBinary() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := append(make([]byte, 0, stateHeader+sumSize+4*len(p.present)), stateMagic...)
	b = append(b, p.flags())
	b, _ = p.digest.AppendBinary(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.size))
	at := int64(0)
	for _, r := range p.present {
		b = binary.AppendUvarint(b, uint64(r.first-at))
		b = binary.AppendUvarint(b, uint64(r.end-r.first))
		at = r.end
	}
	return append(b, sum(b)...), nil
}

func (p *Partial) flags() byte {
	if p.proved {
		return provedFlag
	}
	return 0
}

func sum(b []byte) []byte {
	d, _ := cas.Sum(b).MarshalBinary()
	return d[1:]
}

// UnmarshalPartial returns what MarshalBinary has saved. It refuses everything
// else; then nothing is lost that can't be fetched again.
func UnmarshalPartial(b []byte) (*Partial, error) {
	body := b[:max(len(b)-sumSize, 0)]
	if len(body) < stateHeader || string(body[:len(stateMagic)]) != stateMagic || !bytes.Equal(sum(body), b[len(body):]) {
		return nil, errState
	}
	flags, fields := body[len(stateMagic)], body[len(stateMagic)+1:]
	d, err := cas.DigestFromBytes(fields[:digestSize])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	p, err := NewPartial(d, int64(binary.LittleEndian.Uint64(fields[digestSize:])))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	p.proved = flags == provedFlag
	if !p.parseRuns(body[stateHeader:]) {
		return nil, errState
	}
	// One state has one encoding, whatever else a varint could be written as.
	if again, _ := p.MarshalBinary(); !bytes.Equal(again, b) {
		return nil, errState
	}
	return p, nil
}

// parseRuns tells whether b encodes runs that can be present.
func (p *Partial) parseRuns(b []byte) bool {
	at, all := int64(0), groups(p.size)
	for len(b) > 0 {
		skip, n := binary.Uvarint(b)
		length, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || length == 0 || skip > uint64(all-at) || length > uint64(all-at)-skip {
			return false
		}
		if skip == 0 && at > 0 {
			return false // it belongs to the run before
		}
		r := run{at + int64(skip), at + int64(skip+length)}
		p.present = append(p.present, r)
		at, b = r.end, b[n+m:]
	}
	return p.proved || len(p.present) == 0
}
