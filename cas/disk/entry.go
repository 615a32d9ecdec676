package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"syscall"

	"github.com/fstree/fstree/cas"
)

// entry is what the index knows of an object. The zero entry is of an object
// that is not held.
type entry struct {
	kind     kind
	used     uint32 // seconds since 1970, give or take touchAfter
	size     int64
	place    place    // if packed
	identity identity // if filed
}

type kind uint8

const (
	packed kind = 1
	filed  kind = 2
)

// place is where a packed object's record begins.
type place struct {
	pack   uint64
	offset uint32
}

// identity is how a file looked when its bytes were last known to be right. A
// file that looks the same was not written to since. The zero identity fits no
// file: its bytes are still to be proved.
type identity struct {
	inode        uint64
	mtime, ctime int64 // nanoseconds
}

func identityOf(info os.FileInfo) identity {
	st := info.Sys().(*syscall.Stat_t)
	return identity{inode: st.Ino, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano()}
}

// untilReboot returns what is noted of a file whose bytes a power failure may
// take without a trace, as those of a file that was not written from its start
// to its end: its length tells nothing. It fits until the machine starts again.
func (i identity) untilReboot(boot uint64) identity {
	i.inode ^= boot
	return i
}

// fits tells whether a file that looks like info was not written to since it had
// the identity i.
func (s *Store) fits(i identity, info os.FileInfo) bool {
	seen := identityOf(info)
	return i == seen || i == seen.untilReboot(s.boot)
}

// thisBoot is a number for this run of the machine.
func thisBoot() uint64 {
	b, _ := cas.Sum([]byte(bootID())).MarshalBinary()
	return binary.LittleEndian.Uint64(b[1:])
}

// item is an object with its entry.
type item struct {
	digest cas.Digest
	entry  entry
}

// maxDigest is the length of a digest in its binary form, or more.
const maxDigest = 1 + 32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendEntry appends the form of e that the index keeps:
//
//	u8 kind   u32 last use
//	packed: u32 size   u64 pack   u32 offset
//	filed:  u64 size   u64 inode   u64 mtime   u64 ctime
//	u32 checksum
//
// The checksum, over the digest as well, is there because Badger returns
// flipped bytes without an error.
func appendEntry(b []byte, d cas.Digest, e entry) []byte {
	start := len(b)
	b = append(b, byte(e.kind))
	b = binary.LittleEndian.AppendUint32(b, e.used)
	switch e.kind {
	case packed:
		b = binary.LittleEndian.AppendUint32(b, uint32(e.size))
		b = binary.LittleEndian.AppendUint64(b, e.place.pack)
		b = binary.LittleEndian.AppendUint32(b, e.place.offset)
	case filed:
		b = binary.LittleEndian.AppendUint64(b, uint64(e.size))
		b = binary.LittleEndian.AppendUint64(b, e.identity.inode)
		b = binary.LittleEndian.AppendUint64(b, uint64(e.identity.mtime))
		b = binary.LittleEndian.AppendUint64(b, uint64(e.identity.ctime))
	}
	return binary.LittleEndian.AppendUint32(b, checksum(d, b[start:]))
}

func checksum(d cas.Digest, b []byte) uint32 {
	var buf [maxDigest]byte
	name, _ := d.AppendBinary(buf[:0])
	return crc32.Update(crc32.Checksum(name, castagnoli), castagnoli, b)
}

const (
	packedEntrySize = 1 + 4 + 4 + 8 + 4 + 4
	filedEntrySize  = 1 + 4 + 4*8 + 4
)

// errMalformed means that bytes are not what this program writes.
var errMalformed = errors.New("malformed")

// decodeEntry reads what appendEntry wrote for d. The error is errMalformed for
// anything else.
func decodeEntry(d cas.Digest, b []byte) (entry, error) {
	if len(b) != packedEntrySize && len(b) != filedEntrySize {
		return entry{}, errMalformed
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if checksum(d, body) != sum {
		return entry{}, errMalformed
	}
	e := entry{kind: kind(b[0]), used: binary.LittleEndian.Uint32(b[1:])}
	b = b[5:]
	switch {
	case e.kind == packed && len(body) == packedEntrySize-4:
		e.size = int64(binary.LittleEndian.Uint32(b))
		e.place = place{binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint32(b[12:])}
	case e.kind == filed && len(body) == filedEntrySize-4:
		e.size = int64(binary.LittleEndian.Uint64(b))
		e.identity = identity{
			inode: binary.LittleEndian.Uint64(b[8:]),
			mtime: int64(binary.LittleEndian.Uint64(b[16:])),
			ctime: int64(binary.LittleEndian.Uint64(b[24:])),
		}
	default:
		return entry{}, errMalformed
	}
	return e, nil
}
