package disk

import (
	"os"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

func epoch(t *testing.T, s *Store) string {
	t.Helper()
	e, err := s.Epoch(t.Context())
	if err != nil {
		t.Fatalf("Epoch: %v", err)
	}
	return e
}

// settled returns a store in an epoch that it has had for a while, with a small
// and a large object.
func settled(t *testing.T, c *clock) (s *Store, small, large cas.Digest) {
	s = openOwner(t, t.TempDir())
	c.runs(s, Options{Retention: time.Hour})
	small, large = put(t, s, castest.Bytes(5000, 1)), put(t, s, castest.Bytes(500_000, 1))
	if epoch(t, s) == "" {
		t.Fatal("there is no epoch")
	}
	return s, small, large
}

func TestWritingAndReadingAreNoLoss(t *testing.T) {
	var c clock
	s, small, large := settled(t, &c)
	before := epoch(t, s)
	has(t, s, small)
	expect(t, s, castest.Bytes(500_000, 1))
	put(t, s, castest.Bytes(6000, 2))
	put(t, s, castest.Bytes(100_000, 2))
	if n, _ := evict(t, s); n != 0 || epoch(t, s) != before {
		t.Errorf("evicted %d objects, the epoch was %s, is %s", n, before, epoch(t, s))
	}
	s.Close()
	s = open(t, s.dir, s.opt)
	s.now = c.now
	if after := epoch(t, s); after != before {
		t.Errorf("after reopening the epoch was %s, is %s", before, after)
	}
	expect(t, s, castest.Bytes(5000, 1))
	if after := epoch(t, s); after != before || !has(t, s, large) {
		t.Errorf("with the index open the epoch was %s, is %s", before, after)
	}
}

func TestEpochIsKnownWithoutTheIndex(t *testing.T) {
	var c clock
	owner, _, _ := settled(t, &c)
	owner.Close()
	s := open(t, owner.dir, owner.opt)
	if epoch(t, s) == "" {
		t.Error("there is no epoch")
	}
	if s.ways.current != nil || s.ways.attempt != nil {
		t.Error("the index was opened")
	}
}

func TestEveryLossEndsTheEpoch(t *testing.T) {
	var c clock
	for name, lose := range map[string]func(t *testing.T, s *Store, small, large cas.Digest){
		"eviction": func(t *testing.T, s *Store, small, large cas.Digest) {
			c.advance(time.Second)
			other := openClient(t, s.dir)
			other.opt = Options{Size: 1}
			if n, _ := evict(t, other); n != 2 {
				t.Fatalf("evicted %d objects", n)
			}
		},
		"small set aside": func(t *testing.T, s *Store, small, _ cas.Digest) {
			if err := s.SetAside(t.Context(), small); err != nil {
				t.Fatal(err)
			}
		},
		"large set aside": func(t *testing.T, s *Store, _, large cas.Digest) {
			if err := s.SetAside(t.Context(), large); err != nil {
				t.Fatal(err)
			}
		},
		"small damaged": func(t *testing.T, s *Store, small, _ cas.Digest) {
			writeAt(t, fileOf(t, s, small), packHeader)
			expectAbsent(t, s, small)
		},
		"large damaged": func(t *testing.T, s *Store, _, large cas.Digest) {
			writeAt(t, s.objectPath(large), 50)
			expectAbsent(t, s, large)
		},
		"large removed": func(t *testing.T, s *Store, _, large cas.Digest) {
			os.Remove(s.objectPath(large))
			expectAbsent(t, s, large)
		},
		"index removed": removedWhileClosed(indexDir),
		"packs removed": removedWhileClosed(packsDir),
		"files removed": removedWhileClosed(objectsDir),
		"index emptied": func(t *testing.T, s *Store, small, _ cas.Digest) {
			s.Close()
			for _, e := range must(os.ReadDir(s.path(indexDir))) {
				os.Remove(s.path(indexDir, e.Name()))
			}
			has(t, open(t, s.dir, Options{}), small)
		},
		"copied to another place": func(t *testing.T, s *Store, _, _ cas.Digest) {
			s.Close()
			other := t.TempDir()
			if err := os.CopyFS(other, os.DirFS(s.dir)); err != nil {
				t.Fatal(err)
			}
			os.RemoveAll(s.dir)
			if err := os.Rename(other, s.dir); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, small, large := settled(t, &c)
			before := epoch(t, s)
			if lose(t, s, small, large); epoch(t, s) == before {
				t.Errorf("the epoch is still %s", before)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func removedWhileClosed(dir string) func(*testing.T, *Store, cas.Digest, cas.Digest) {
	return func(t *testing.T, s *Store, _, _ cas.Digest) {
		s.Close()
		if err := os.RemoveAll(s.path(dir)); err != nil {
			t.Fatal(err)
		}
		open(t, s.dir, Options{}) // makes the directory again
	}
}

func TestEpochEndsWithTime(t *testing.T) {
	var c clock
	s, _, _ := settled(t, &c)
	before := epoch(t, s)
	c.advance(epochLength)
	if epoch(t, s) == before {
		t.Error("the epoch lasts longer than its length")
	}
	if s.opt.Retention = epochLength - 1; epoch(t, s) != "" {
		t.Error("there is an epoch where objects may go before it ends")
	}
}

// TestNoEpochWhileObjectsLeave looks from within a loss, as a process would
// that is asked then, or that is there after a kill.
func TestNoEpochWhileObjectsLeave(t *testing.T) {
	var c clock
	s, small, _ := settled(t, &c)
	before := epoch(t, s)
	x := owned(s)
	x.losing(func() error {
		if e := epoch(t, s); e != "" {
			t.Errorf("before a loss the epoch is %s", e)
		}
		if err := s.SetAside(t.Context(), small); err != nil {
			t.Error(err)
		}
		if e := epoch(t, s); e != "" {
			t.Errorf("while others lose objects, the epoch is %s", e)
		}
		return nil
	})
	if after := epoch(t, s); after == "" || after == before {
		t.Errorf("after the loss the epoch is %s", after)
	}
	// The next owner begins an epoch where one was killed in the midst.
	if err := s.endEpoch(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openOwner(t, s.dir)
	s.opt.Retention = time.Hour
	if e := epoch(t, s); e == "" || e == before {
		t.Errorf("with the next owner the epoch is %s", e)
	}
}

func TestUnusableEpochFileKeepsObjects(t *testing.T) {
	var c clock
	s, small, _ := settled(t, &c)
	os.Remove(s.epochPath())
	if err := os.MkdirAll(s.epochPath()+"/x", 0o700); err != nil {
		t.Fatal(err)
	}
	if e := epoch(t, s); e != "" {
		t.Errorf("the epoch is %s", e)
	}
	if err := s.SetAside(t.Context(), small); err == nil {
		t.Error("an object was lost while others may be promised that it isn't")
	}
	expect(t, s, castest.Bytes(5000, 1))
}

func TestPackRemovedByHandIsAbsentUntilPutAnew(t *testing.T) {
	for name, remove := range map[string]func(string) error{
		"removed":   os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 5000) },
	} {
		t.Run(name, func(t *testing.T) {
			owner := openOwner(t, t.TempDir())
			data := castest.Bytes(5000, 1)
			for _, s := range []*Store{owner, openClient(t, owner.dir)} {
				d := put(t, s, data)
				if err := remove(fileOf(t, s, d)); err != nil {
					t.Fatal(err)
				}
				put(t, s, data)
				expect(t, s, data)
				if err := remove(fileOf(t, s, d)); err != nil {
					t.Fatal(err)
				}
				if has(t, s, d) {
					t.Error("has what was removed")
				}
				s.Close()
			}
		})
	}
}
