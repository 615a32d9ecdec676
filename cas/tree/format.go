package tree

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fstree/fstree/cas"
)

const (
	magic   = 0x3eee
	version = 1

	typeMask = uint32(7 << 24)

	// MaxSize bounds an encoded tree, in bytes. A million entries fit.
	MaxSize = 128 << 20

	maxName   = 4 << 10 // file systems allow 255 bytes
	maxDigest = 128
	maxTarget = 64 << 10 // Linux allows 4,095 bytes

	headerSize   = 4
	minEntrySize = 8 + 1 + 8 + 4
)

// Encode returns the bytes of the tree object.
func (t *Tree) Encode() []byte {
	size := headerSize
	for i := range t.entries {
		size += minEntrySize + len(t.entries[i].Name) + len("blake3:") + 64 + 8 + len(t.entries[i].Target)
	}
	b := make([]byte, 0, size)
	b = binary.LittleEndian.AppendUint16(b, magic)
	b = binary.LittleEndian.AppendUint16(b, version)
	for i := range t.entries {
		b = appendEntry(b, &t.entries[i])
	}
	return b
}

func appendEntry(b []byte, e *Entry) []byte {
	b = appendField(b, e.Name)
	start := len(b)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b, _ = e.Digest.AppendText(b)
	binary.LittleEndian.PutUint64(b[start:], uint64(len(b)-start-8))
	b = binary.LittleEndian.AppendUint32(b, uint32(e.Type)|e.Perm)
	if e.Type == Symlink {
		b = appendField(b, e.Target)
	}
	return b
}

func appendField(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
	return append(b, s...)
}

// Decode reads the bytes of a tree object. It accepts exactly what Encode
// writes for some tree, so that a tree has one encoding and one digest.
func Decode(b []byte) (*Tree, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%d bytes are more than a tree may have", len(b))
	}
	if len(b) < headerSize {
		return nil, errShort
	}
	if m := binary.LittleEndian.Uint16(b); m != magic {
		return nil, fmt.Errorf("magic is %#04x, not %#04x", m, magic)
	}
	if v := binary.LittleEndian.Uint16(b[2:]); v != version {
		return nil, fmt.Errorf("version is %d, not %d", v, version)
	}
	d := decoder{rest: b[headerSize:]}
	// Most entries are over a hundred bytes; a hostile tree can't make this
	// allocate more than its own size times a small factor.
	entries := make([]Entry, 0, len(b)/100)
	for len(d.rest) > 0 {
		e := d.entry()
		if d.err == nil {
			d.err = check(e)
		}
		if n := len(entries); d.err == nil && n > 0 && entries[n-1].Name >= e.Name {
			d.err = fmt.Errorf("entry %q does not stand behind %q", e.Name, entries[n-1].Name)
		}
		if d.err != nil {
			return nil, d.err
		}
		entries = append(entries, e)
	}
	return &Tree{entries}, nil
}

var errShort = errors.New("it ends too early")

// decoder reads fields off rest until err.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) entry() (e Entry) {
	e.Name = string(d.field("name", maxName))
	digest := d.field("digest", maxDigest)
	status := d.uint32()
	e.Type = Type(status & typeMask)
	e.Perm = status &^ typeMask
	if e.Type == Symlink {
		e.Target = string(d.field("link target", maxTarget))
	}
	if d.err == nil && len(digest) > 0 {
		e.Digest, d.err = decodeDigest(digest)
	}
	return e
}

// decodeDigest reads a digest in the one spelling that trees use, so that a
// tree has one encoding only.
func decodeDigest(text []byte) (cas.Digest, error) {
	digest, err := cas.ParseDigest(string(text))
	if err == nil && digest.String() != string(text) {
		err = &cas.DigestError{Text: string(text), Reason: "not the canonical form"}
	}
	return digest, err
}

func (d *decoder) take(n uint64) []byte {
	if d.err == nil && n > uint64(len(d.rest)) {
		d.err = errShort
	}
	if d.err != nil {
		return nil
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) field(what string, limit uint64) []byte {
	length := d.take(8)
	if d.err != nil {
		return nil
	}
	n := binary.LittleEndian.Uint64(length)
	if n > limit {
		d.err = fmt.Errorf("%s of %d bytes is too long", what, n)
		return nil
	}
	return d.take(n)
}

func (d *decoder) uint32() uint32 {
	b := d.take(4)
	if d.err != nil {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}
