package disk

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/fstree/fstree/cas"
)

// Marks lie in a file whose name stands for their epoch: one digest a line, as
// all processes append them. What is in it stays true as long as it is looked
// for; a torn line is no digest. Who begins a new one removes the others.

const (
	maxMarks = 64 << 10 // of one epoch

	markLength = len("blake3:") + 64 + 1
	marksName  = "marks-"
)

func (s *Store) marksPath(epoch string) string {
	return s.path(runDir, marksName+cas.Sum([]byte(epoch)).Hex()[:32])
}

// marks are those of one epoch, as far as they were read.
type marks struct {
	mu    sync.RWMutex
	epoch string
	read  int64 // bytes of the file
	set   map[cas.Digest]struct{}
}

// Mark remembers ds for as long as the epoch lasts, and for no longer; at most
// maxMarks. All processes that use the cache learn of it.
func (s *Store) Mark(epoch string, ds []cas.Digest) {
	if epoch == "" {
		return
	}
	marked := s.Marked(epoch)
	var lines []byte
	for _, d := range ds[:min(len(ds), maxMarks/2)] {
		if !marked(d) {
			lines, _ = d.AppendText(lines)
			lines = append(lines, '\n')
		}
	}
	if len(lines) == 0 {
		return
	}
	if err := s.appendMarks(s.marksPath(epoch), lines); err != nil {
		s.log.Debug("marks are lost", "cache", s.dir, "cause", err)
	}
}

func (s *Store) appendMarks(path string, lines []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return err
	case st.Size() == 0:
		s.removeMarks(path)
	case st.Size()+int64(len(lines)) > maxMarks*int64(markLength):
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	_, err = f.Write(lines)
	return err
}

// removeMarks removes those of other epochs.
func (s *Store) removeMarks(except string) {
	old, _ := filepath.Glob(s.path(runDir, marksName+"*"))
	for _, path := range old {
		if path != except {
			os.Remove(path)
		}
	}
}

// Marked returns what tells whether an object was marked in epoch, by any
// process, until now.
func (s *Store) Marked(epoch string) func(d cas.Digest) bool {
	m := &s.marks
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epoch != epoch {
		m.epoch, m.read, m.set = epoch, 0, nil
	}
	if err := m.catchUp(s.marksPath(epoch)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Debug("marks are lost", "cache", s.dir, "cause", err)
	}
	return func(d cas.Digest) bool {
		m.mu.RLock()
		defer m.mu.RUnlock()
		_, marked := m.set[d]
		return marked && m.epoch == epoch
	}
}

// catchUp reads what others have appended.
func (m *marks) catchUp(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() == m.read {
		return err
	}
	if st.Size() < m.read || m.set == nil {
		m.read, m.set = 0, map[cas.Digest]struct{}{}
	}
	text, err := io.ReadAll(io.NewSectionReader(f, m.read, maxMarks*int64(markLength)))
	for line := range bytes.Lines(text) {
		if line[len(line)-1] != '\n' {
			break // somebody is writing it
		}
		m.read += int64(len(line))
		if d, err := cas.ParseDigest(string(line[:len(line)-1])); err == nil {
			m.set[d] = struct{}{}
		}
	}
	return err
}
