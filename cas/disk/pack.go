package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/fstree/fstree/cas"
)

// A pack is a sequence of records:
//
//	u32 0x4b505346 ("FSPK")   u32 length
//	33 bytes of digest: algorithm, sum, zeros   3 zero bytes
//	the object's bytes
//	u32 length   u32 0x4b505346
//
// in little-endian. Who appends holds an flock on the file, and appends only
// where the last record is whole; so a torn record, left by a killed writer,
// stays the last one of its pack.
const (
	packMagic   = 0x4b505346
	packHeader  = 4 + 4 + 33 + 3
	packTrailer = 4 + 4
	packLimit   = 64 << 20 // no record starts behind it
	inlineLimit = 64 << 10 // objects up to this size are packed
)

func recordSize(size int64) int64 { return packHeader + size + packTrailer }

func appendRecord(b []byte, d cas.Digest, data []byte) []byte {
	var name [36]byte
	d.AppendBinary(name[:0])
	b = binary.LittleEndian.AppendUint32(b, packMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = append(b, name[:]...)
	b = append(b, data...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return binary.LittleEndian.AppendUint32(b, packMagic)
}

// parseHeader returns the digest and length that a record's header tells.
func parseHeader(b []byte) (d cas.Digest, size int64, ok bool) {
	size = int64(binary.LittleEndian.Uint32(b[4:]))
	if binary.LittleEndian.Uint32(b) != packMagic || size > inlineLimit {
		return d, 0, false
	}
	length := 1 + cas.Algorithm(b[8]).Size()
	d, err := cas.DigestFromBytes(b[8 : 8+length])
	return d, size, err == nil
}

func packName(id uint64) string { return fmt.Sprintf("%016x", id) }

func (s *Store) packPath(id uint64) string { return s.path(packsDir, packName(id)) }

func parsePackName(name string) (uint64, bool) {
	id, err := strconv.ParseUint(name, 16, 64)
	return id, err == nil && packName(id) == name
}

// pack is a pack that this process appends to.
type pack struct {
	id   uint64
	file *os.File
	end  int64
}

// takePack returns a pack that nobody else appends to: one with room if there
// is one, else a new one.
func (s *Store) takePack() (*pack, error) {
	names, err := os.ReadDir(s.path(packsDir))
	if err != nil {
		return nil, bare(err)
	}
	slices.Reverse(names) // the newest first: old ones are full
	for _, name := range names[:min(len(names), 64)] {
		id, ok := parsePackName(name.Name())
		if info, err := name.Info(); !ok || err != nil || info.Size() >= packLimit {
			continue
		}
		if p, err := s.openPack(id, 0); err == nil {
			return p, nil
		}
	}
	for {
		p, err := s.openPack(uint64(time.Now().UnixNano()), os.O_CREATE|os.O_EXCL)
		if err == nil || !errors.Is(err, errPackTaken) && !errors.Is(err, fs.ErrExist) {
			return p, err
		}
	}
}

// errPackTaken means that a pack is somebody else's, or that its last record is
// torn.
var errPackTaken = errors.New("pack is taken")

// openPack opens a pack in order to append.
func (s *Store) openPack(id uint64, flag int) (*pack, error) {
	f, err := os.OpenFile(s.packPath(id), os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, bare(err)
	}
	if lock(f) {
		if end, whole := packEnd(f); whole && end < packLimit {
			return &pack{id: id, file: f, end: end}, nil
		}
	}
	f.Close()
	return nil, errPackTaken
}

// lock takes the flock of f if it is free and f still has a name.
func lock(f *os.File) bool {
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Sys().(*syscall.Stat_t).Nlink > 0
}

// packEnd returns the length of the pack f, and whether its last record is
// whole.
func packEnd(f *os.File) (int64, bool) {
	info, err := f.Stat()
	if err != nil {
		return 0, false
	}
	end := info.Size()
	if end == 0 {
		return 0, true
	}
	var trailer [packTrailer]byte
	if _, err := f.ReadAt(trailer[:], end-packTrailer); err != nil {
		return 0, false
	}
	size := int64(binary.LittleEndian.Uint32(trailer[:]))
	var header [packHeader]byte
	if _, err := f.ReadAt(header[:], end-recordSize(size)); err != nil {
		return 0, false
	}
	_, told, ok := parseHeader(header[:])
	return end, ok && told == size && binary.LittleEndian.Uint32(trailer[4:]) == packMagic
}

// intact tells whether p is as it was left, not removed or cut by somebody.
func (p *pack) intact() bool {
	info, err := p.file.Stat()
	return err == nil && info.Size() == p.end && info.Sys().(*syscall.Stat_t).Nlink > 0
}

// append writes records to the end of p, all of them or none.
func (p *pack) append(records []byte) error {
	if _, err := p.file.WriteAt(records, p.end); err != nil {
		return errors.Join(bare(err), p.file.Truncate(p.end))
	}
	p.end += int64(len(records))
	return nil
}

// readPacked returns the bytes at e's place, which are d's or a MismatchError.
// The error is fs.ErrNotExist if the pack is gone.
func (s *Store) readPacked(d cas.Digest, e entry) ([]byte, error) {
	f, err := s.readers.get(e.place.pack)
	if err != nil {
		return nil, err
	}
	defer s.readers.put(f)
	return readRecord(f, d, e)
}

// readRecord is readPacked with the pack open.
func readRecord(f io.ReaderAt, d cas.Digest, e entry) ([]byte, error) {
	data := make([]byte, e.size)
	n, err := f.ReadAt(data, int64(e.place.offset)+packHeader)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if n < len(data) || !d.Names(data) {
		return nil, &cas.MismatchError{Want: d, Got: cas.Sum(data[:n])}
	}
	return data, nil
}

// scanPack calls each for every record of f, the pack id, up to a torn one.
func scanPack(f *os.File, id uint64, each func(item) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var header [packHeader]byte
	for offset := int64(0); offset+packHeader <= info.Size(); {
		if _, err := f.ReadAt(header[:], offset); err != nil {
			return err
		}
		d, size, ok := parseHeader(header[:])
		next := offset + recordSize(size)
		if !ok || next > info.Size() {
			break
		}
		if err := each(item{d, entry{kind: packed, size: size, place: place{id, uint32(offset)}}}); err != nil {
			return err
		}
		offset = next
	}
	return nil
}
