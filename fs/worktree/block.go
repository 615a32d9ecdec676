package worktree

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// A block is what the index knows of one directory, in the bytes in which it
// stands in the file, so that loading an index allocates once, and an entry is
// looked up where it lies:
//
//	33      digest of the directory's tree, in binary form
//	u32     number of records
//	u32     bytes of text
//	records in bytewise order of name
//	text    names and link targets
//
// A record, all integers little-endian:
//
//	u32  place of the name in the text
//	u16  its length
//	u16  st_mode
//	u64  size; for a directory, the offset of its block in the file
//	u64  mtime, nanoseconds since 1970
//	u64  ctime; 0 if the entry is racily clean, and for a directory if its block
//	     may lack names
//	u64  inode
//	33   digest of a file, in binary form; for a symlink, u32 place and u32
//	     length of the target
//
// The nil block knows nothing.
type block []byte

const (
	digestSize  = 33
	countAt     = digestSize
	textSizeAt  = countAt + 4
	blockHeader = textSizeAt + 4

	nameLengthAt = 4
	modeAt       = 6
	sizeAt       = 8
	mtimeAt      = 16
	ctimeAt      = 24
	inodeAt      = 32
	contentAt    = 40
	recordSize   = contentAt + digestSize
)

var le = binary.LittleEndian

// len returns the number of entries.
func (b block) len() int {
	if b == nil {
		return 0
	}
	return int(le.Uint32(b[countAt:]))
}

// digest returns the digest of the directory's tree.
func (b block) digest() cas.Digest {
	if b == nil {
		return cas.Digest{}
	}
	return digestAt(b)
}

func digestAt(b []byte) cas.Digest {
	var d cas.Digest
	if b[0] == byte(cas.SHA1) {
		d, _ = cas.DigestFromBytes(b[:1+cas.SHA1.Size()])
	} else {
		d, _ = cas.DigestFromBytes(b[:digestSize])
	}
	return d
}

// at returns record i.
func (b block) at(i int) record {
	start := blockHeader + i*recordSize
	return record{b[start : start+recordSize], b[blockHeader+b.len()*recordSize:]}
}

// find returns the place of name, and whether it is there.
func (b block) find(name []byte) (int, bool) {
	if b == nil {
		return 0, false
	}
	low, high := 0, b.len()
	fields, text := b[blockHeader:], b[blockHeader+high*recordSize:]
	for low < high {
		middle := int(uint(low+high) >> 1)
		at := fields[middle*recordSize:][:recordSize]
		start := le.Uint32(at)
		switch bytes.Compare(text[start:][:le.Uint16(at[nameLengthAt:])], name) {
		case 0:
			return middle, true
		case -1:
			low = middle + 1
		default:
			high = middle
		}
	}
	return low, false
}

// record is what the index knows of one entry.
type record struct{ fields, text []byte }

func (r record) name() []byte {
	start := le.Uint32(r.fields)
	return r.text[start : start+uint32(le.Uint16(r.fields[nameLengthAt:]))]
}

func (r record) kind() tree.Type { return kindOf(le.Uint16(r.fields[modeAt:])) }

func (r record) stat() stat {
	return stat{
		mode:  le.Uint16(r.fields[modeAt:]),
		size:  int64(le.Uint64(r.fields[sizeAt:])),
		mtime: int64(le.Uint64(r.fields[mtimeAt:])),
		ctime: int64(le.Uint64(r.fields[ctimeAt:])),
		ino:   le.Uint64(r.fields[inodeAt:]),
	}
}

// digest returns the digest of a file.
func (r record) digest() cas.Digest { return digestAt(r.fields[contentAt:]) }

// target returns the target of a symlink.
func (r record) target() []byte {
	start := le.Uint32(r.fields[contentAt:])
	return r.text[start : start+le.Uint32(r.fields[contentAt+4:])]
}

// lists tells whether the block of a directory that now is as st says has the
// names of all its entries.
func (r record) lists(st stat) bool {
	known := r.stat()
	known.size = st.size
	return known.unchanged(st)
}

// child returns the offset of a directory's block.
func (r record) child() uint64 { return le.Uint64(r.fields[sizeAt:]) }

// check tells whether b is one whole block that starts at the given offset, so
// that no accessor can fail on it. Blocks of subdirectories must stand before it.
func (b block) check(offset uint64) error {
	if !isDigest(b) {
		return errDamaged
	}
	size := b.len() * recordSize
	fields, text := b[blockHeader:blockHeader+size], b[blockHeader+size:]
	var last []byte
	for i := 0; i < size; i += recordSize {
		r := record{fields[i : i+recordSize], text}
		if !r.sound(offset) {
			return errDamaged
		}
		name := r.name()
		if !isName(name) {
			return errDamaged
		}
		if i > 0 && bytes.Compare(last, name) >= 0 {
			return errDamaged
		}
		last = name
	}
	return nil
}

// isName tells whether name is one component of a path, and leads downwards.
func isName(name []byte) bool {
	return len(name) > 0 && bytes.IndexByte(name, '/') < 0 && bytes.IndexByte(name, 0) < 0 &&
		string(name) != "." && string(name) != ".."
}

// sound tells whether r, in a block at the given offset, leads nowhere else than
// it may.
func (r record) sound(offset uint64) bool {
	if !r.holds(le.Uint32(r.fields), uint32(le.Uint16(r.fields[nameLengthAt:]))) {
		return false
	}
	switch r.kind() {
	case tree.File:
		return isDigest(r.fields[contentAt:])
	case tree.Dir:
		return r.child() < offset
	case tree.Symlink:
		return r.holds(le.Uint32(r.fields[contentAt:]), le.Uint32(r.fields[contentAt+4:]))
	}
	return false
}

// holds tells whether there is so much text at place.
func (r record) holds(place, length uint32) bool {
	return uint64(place)+uint64(length) <= uint64(len(r.text))
}

// isDigest tells whether b, as long as a digest, begins with one.
func isDigest(b []byte) bool { return cas.Algorithm(b[0]).Size() > 0 }

// section is a directory on its way into an index: its block, and the sections
// of its subdirectories in the order of its records. The blocks' offsets are
// not known yet.
type section struct {
	block    block
	old      bool // the block and all below it stand in the index as it was loaded
	children []*section
}

// newSection returns the section of a directory with these entries, which are
// in bytewise order of name.
func newSection(digest cas.Digest, items []item) (*section, error) {
	size := blockHeader + len(items)*recordSize
	for i := range items {
		size += len(items[i].name) + len(items[i].target)
	}
	if uint64(size) > maxBlock {
		return nil, fmt.Errorf("directory with %d entries is too large for an index", len(items))
	}
	s := &section{}
	b := appendDigest(make([]byte, 0, size), digest)
	b = le.AppendUint32(b, uint32(len(items)))
	b = le.AppendUint32(b, uint32(size-blockHeader-len(items)*recordSize))
	text := uint32(0)
	for i := range items {
		b = items[i].appendRecord(b, text)
		text += uint32(len(items[i].name) + len(items[i].target))
		if items[i].section != nil {
			s.children = append(s.children, items[i].section)
		}
	}
	for i := range items {
		b = append(b, items[i].name...)
		b = append(b, items[i].target...)
	}
	s.block = b
	return s, nil
}

// appendDigest appends d and as many zeros as a longer digest takes more.
func appendDigest(b []byte, d cas.Digest) []byte {
	var whole [digestSize]byte
	d.AppendBinary(whole[:0])
	return append(b, whole[:]...)
}

// maxBlock bounds the text of a block to what its offsets can reach.
const maxBlock = 1<<32 - 1

func (it *item) appendRecord(b []byte, text uint32) []byte {
	b = le.AppendUint32(b, text)
	b = le.AppendUint16(b, uint16(len(it.name)))
	b = le.AppendUint16(b, it.stat.mode)
	b = le.AppendUint64(b, uint64(it.stat.size))
	b = le.AppendUint64(b, uint64(it.stat.mtime))
	b = le.AppendUint64(b, uint64(it.stat.ctime))
	b = le.AppendUint64(b, it.stat.ino)
	var content [digestSize]byte
	switch it.stat.kind() {
	case tree.File:
		it.digest.AppendBinary(content[:0])
	case tree.Symlink:
		le.PutUint32(content[:], text+uint32(len(it.name)))
		le.PutUint32(content[4:], uint32(len(it.target)))
	}
	return append(b, content[:]...)
}

// describesDir tells whether the directory it is what the index knows, and needs
// not be listed by whoever knows no more than that.
func (b block) describesDir(it *item) bool {
	r := b.at(it.place)
	return it.section.old && it.stat.mode == r.stat().mode && (it.stat.ctime == 0 || r.lists(it.stat))
}

// describes tells whether items are what the index knows of a directory, and
// of all below it.
func (b block) describes(items []item) bool {
	if len(items) != b.len() {
		return false
	}
	for i := range items {
		it := &items[i]
		if it.changed || it.gone || it.place < 0 {
			return false
		}
		if it.section != nil && !b.describesDir(it) {
			return false
		}
	}
	return !repeats(items, len(items))
}
