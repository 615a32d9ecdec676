package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	"github.com/fstree/fstree/cas"
)

// Hold keeps objects from being evicted. It ends with Close, or with the
// process. Its methods are safe for concurrent use.
//
// A hold is a file with digests and an flock on it: whoever evicts reads the
// files that are locked.
type Hold struct {
	mu    sync.Mutex
	file  *os.File
	end   int64
	names map[heldName]struct{} // in the file
}

// heldName is what a hold says of an object: the start of its digest. Others
// that start alike are held as well, which does no harm.
type heldName uint64

const heldNameSize = 8

func nameHeld(d cas.Digest) heldName {
	b, _ := d.AppendBinary(make([]byte, 0, 33))
	return heldName(binary.BigEndian.Uint64(b[1:]))
}

// Hold returns a Hold on nothing.
func (s *Store) Hold() (*Hold, error) {
	for {
		path := s.path(holdsDir, fmt.Sprintf("%016x", rand.Uint64()))
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil && !os.IsExist(err) {
			return nil, fmt.Errorf("cache %s: cannot hold objects: %w", s.dir, bare(err))
		}
		if err == nil && lock(f) {
			return &Hold{file: f, names: map[heldName]struct{}{}}, nil
		}
		f.Close() // taken for a leftover before it was locked
	}
}

// Add holds ds as well. What the store then says it has, it keeps: ask it after
// Add, not before.
func (h *Hold) Add(ds ...cas.Digest) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var fresh []heldName
	var b []byte
	for _, d := range ds {
		name := nameHeld(d)
		if _, held := h.names[name]; !held {
			fresh = append(fresh, name)
			b = binary.BigEndian.AppendUint64(b, uint64(name))
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if _, err := h.file.WriteAt(b, h.end); err != nil {
		return fmt.Errorf("cannot hold objects: %w", bare(err))
	}
	h.end += int64(len(b))
	for _, name := range fresh {
		h.names[name] = struct{}{}
	}
	return nil
}

// Close lets go of all objects.
func (h *Hold) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	os.Remove(h.file.Name())
	return h.file.Close()
}

// held are the objects that are held at a time, in order.
type held []heldName

// hasAny tells whether an object is held whose digest has this start.
func (h held) hasAny(start []byte) bool {
	var whole [heldNameSize]byte
	copy(whole[:], start)
	low, rest := binary.BigEndian.Uint64(whole[:]), 8*(heldNameSize-len(start))
	i, _ := slices.BinarySearch(h, heldName(low))
	return i < len(h) && uint64(h[i])>>rest == low>>rest
}

// readHolds returns what is held, and removes the holds of processes that are
// gone.
func (s *Store) readHolds() (held, error) {
	files, err := os.ReadDir(s.path(holdsDir))
	if err != nil {
		return nil, err
	}
	var all held
	for _, file := range files {
		if all, err = s.readHold(all, file.Name()); err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (s *Store) readHold(all held, name string) (held, error) {
	f, err := os.Open(s.path(holdsDir, name))
	if os.IsNotExist(err) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if lock(f) {
		os.Remove(f.Name())
		return all, nil
	}
	b, err := io.ReadAll(f)
	for ; len(b) >= heldNameSize; b = b[heldNameSize:] {
		all = append(all, heldName(binary.BigEndian.Uint64(b)))
	}
	return all, err
}
