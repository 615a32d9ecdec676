package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/fstree/fstree/cas/castest"
)

// numbered returns the readers of n files that look like packs: file i holds the
// byte i.
func numbered(t *testing.T, n int) *packReaders {
	t.Helper()
	s := &packReaders{dir: t.TempDir()}
	for i := range n {
		if err := os.WriteFile(filepath.Join(s.dir, packName(uint64(i))), []byte{byte(i)}, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestFewPacksStayOpen(t *testing.T) {
	const n = 3 * maxOpenPacks
	s := numbered(t, n)
	before := descriptors(t)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 20 * n {
				id := uint64(i*(worker+1)) % n
				p, err := s.get(id)
				if err != nil {
					t.Error(err)
					return
				}
				b := []byte{255}
				if _, err := p.ReadAt(b, 0); err != nil || b[0] != byte(id) {
					t.Errorf("pack %d holds %d, %v", id, b[0], err)
				}
				s.put(p)
			}
		})
	}
	wg.Wait()
	if open := descriptors(t) - before; open > maxOpenPacks {
		t.Errorf("%d packs are open", open)
	}
	s.sweep()
	if open := descriptors(t) - before; open == 0 {
		t.Error("packs were closed that were in use a moment ago")
	}
	s.sweep()
	if open := descriptors(t) - before; open != 0 {
		t.Errorf("%d packs are open that nobody uses", open)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

func TestOpenPackThatIsRemovedIsGone(t *testing.T) {
	s := numbered(t, 1)
	defer s.close()
	p, err := s.get(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.get(0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed pack: %v", err)
	}
	if n, err := p.ReadAt(make([]byte, 2), 0); n != 1 || err != io.EOF {
		t.Errorf("who has it still reads %d bytes, %v", n, err)
	}
	s.put(p)
}

func TestClosedStoreHasNoPacksOpen(t *testing.T) {
	before := descriptors(t)
	s := openOwner(t, t.TempDir())
	put(t, s, castest.Bytes(5000, 1))
	expect(t, s, castest.Bytes(5000, 1))
	s.Close()
	if open := descriptors(t) - before; open > 0 {
		t.Errorf("%d files are open", open)
	}
}
