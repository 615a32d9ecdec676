package bulk

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxPlain bounds what a message holds when it is unpacked, in bytes.
	maxPlain = 4 << 20

	// worthwhile is the part of its length, in eighths, that a message must
	// lose.
	worthwhile = 1

	// maxSkip bounds how many messages are sent as they are, after others that
	// would not shrink, before another one is tried.
	maxSkip = 32
)

var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(FrameSize), zstd.WithLowerEncoderMem(true))
	return e
})

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxPlain), zstd.WithDecodeAllCapLimit(true))
	return d
})

// Squeezer decides for one stream what is compressed. A nil Squeezer compresses
// nothing.
type Squeezer struct {
	link  *Link
	skip  int // messages to send as they are
	skips int // how many it was the last time
}

// NewSqueezer returns a Squeezer for a stream that is sent over link.
func NewSqueezer(link *Link) *Squeezer { return &Squeezer{link: link} }

// Wants tells whether the next message should be given to Squeeze: the link is
// slow, and what was sent of late did shrink.
func (s *Squeezer) Wants() bool {
	if s == nil || !s.link.slow() {
		return false
	}
	s.skip = max(s.skip, 0) - 1
	return s.skip < 0
}

// Squeeze appends plain to dst, as one frame of zstd. It is false if that would
// not be much shorter.
func (s *Squeezer) Squeeze(dst, plain []byte) ([]byte, bool) {
	if len(plain) == 0 || len(plain) > maxPlain {
		return dst, false
	}
	packed := encoder().EncodeAll(plain, dst)
	if len(packed)-len(dst) > len(plain)-len(plain)*worthwhile/8 {
		s.skips = min(2*s.skips+1, maxSkip)
		s.skip = s.skips
		return dst, false
	}
	s.skips = 0
	return packed, true
}

// Expand returns the length bytes that packed holds.
func Expand(packed []byte, length uint64) ([]byte, error) {
	if length > maxPlain {
		return nil, fmt.Errorf("a message of %d bytes when it is unpacked", length)
	}
	plain, err := decoder().DecodeAll(packed, make([]byte, 0, length))
	if err != nil {
		return nil, fmt.Errorf("a message that can't be unpacked: %w", err)
	}
	if uint64(len(plain)) != length {
		return nil, fmt.Errorf("a message of %d bytes when it is unpacked, %d were announced", len(plain), length)
	}
	return plain, nil
}
