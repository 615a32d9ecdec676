package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
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

// held are the starts of some digests, in order.
type held []heldName

// hasAny tells whether one of them has this start.
func (h held) hasAny(start []byte) bool {
	var whole [heldNameSize]byte
	copy(whole[:], start)
	low, rest := binary.BigEndian.Uint64(whole[:]), 8*(heldNameSize-len(start))
	i, _ := slices.BinarySearch(h, heldName(low))
	return i < len(h) && uint64(h[i])>>rest == low>>rest
}

// holds are the holds of all processes, as an eviction reads them: what it has
// read it does not read again, and takes for held even if it no longer is.
type holds struct {
	store       *Store
	read        map[string]int64 // how many bytes of each hold
	early, late held
}

func (h *holds) hasAny(start []byte) bool { return h.early.hasAny(start) || h.late.hasAny(start) }

// refresh reads what was held since the last time, and removes the holds of
// processes that are gone.
func (h *holds) refresh() error {
	files, err := os.ReadDir(h.store.path(holdsDir))
	if err != nil {
		return err
	}
	first := h.read == nil
	if first {
		h.read = map[string]int64{}
	}
	var fresh held
	for _, file := range files {
		if fresh, err = h.readFile(fresh, file.Name()); err != nil {
			return err
		}
	}
	switch {
	case first:
		slices.Sort(fresh)
		h.early = slices.Compact(fresh)
	case len(fresh) > 0:
		h.late = append(h.late, fresh...)
		slices.Sort(h.late)
	}
	return nil
}

// readFile appends to fresh what a hold has that was not read yet.
func (h *holds) readFile(fresh held, name string) (held, error) {
	f, err := os.Open(h.store.path(holdsDir, name))
	if os.IsNotExist(err) {
		return fresh, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if lock(f) {
		os.Remove(f.Name())
		return fresh, nil
	}
	b, err := io.ReadAll(io.NewSectionReader(f, h.read[name], math.MaxInt64-h.read[name]))
	for ; len(b) >= heldNameSize; b = b[heldNameSize:] {
		fresh = append(fresh, heldName(binary.BigEndian.Uint64(b)))
		h.read[name] += heldNameSize
	}
	return fresh, err
}
