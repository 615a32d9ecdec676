package disk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

// openLarge stores an object that is a file, and opens it.
func openLarge(t *testing.T) (s *Store, d cas.Digest, data []byte, o cas.RandomObject) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	data = castest.Bytes(1<<20, 40)
	d, _, err = s.Add(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := s.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return s, d, data, opened.(cas.RandomObject)
}

func TestFileThatChangesWhileItIsOpenIsNoLongerRead(t *testing.T) {
	s, d, data, o := openLarge(t)
	buf := make([]byte, 100)
	if _, err := o.ReadAt(buf, 5000); err != nil || !bytes.Equal(buf, data[5000:5100]) {
		t.Fatal(err)
	}
	path := s.objectPath(d)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("somebody was here"), 5050); err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func() error{
		"ReadAt": func() error { _, err := o.ReadAt(buf, 5000); return err },
		"Read":   func() error { _, err := io.ReadAll(o); return err },
	} {
		if err := read(); !errors.As(err, new(*cas.MismatchError)) {
			t.Errorf("%s: %v, want a MismatchError", name, err)
		}
	}
	if _, err := s.Get(t.Context(), d); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("opened again: %v, want ErrNotFound", err)
	}
}

func TestFileThatIsRemovedWhileItIsOpenIsReadOn(t *testing.T) {
	s, d, data, o := openLarge(t)
	if err := os.Remove(s.objectPath(d)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
