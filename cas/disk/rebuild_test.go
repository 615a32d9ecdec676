package disk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

// populate stores objects of both kinds, enough for the index to have tables,
// and returns how many. Object n is populated(n).
func populate(t *testing.T, s *Store) int {
	t.Helper()
	const n = 300
	for i := range n {
		put(t, s, populated(i))
	}
	sha1 := cas.MustParseDigest("sha1:34aa973cd4c4daa4f61eeb2bdbad27316534016f") // of 1,000,000 times "a"
	if err := s.Put(t.Context(), sha1, bytes.NewReader(bytes.Repeat([]byte("a"), 1_000_000))); err != nil {
		t.Fatal(err)
	}
	return n
}

func populated(i int) []byte {
	if i%30 == 0 {
		return castest.Bytes(100_000, uint64(i))
	}
	return castest.Bytes(i, uint64(i))
}

func expectPopulated(t *testing.T, s *Store, n int) {
	t.Helper()
	for i := range n {
		expect(t, s, populated(i))
	}
	sha1 := cas.MustParseDigest("sha1:34aa973cd4c4daa4f61eeb2bdbad27316534016f")
	if _, err := cas.ReadAll(t.Context(), s, sha1, 1<<20); err != nil {
		t.Errorf("sha1 object: %v", err)
	}
}

func TestDeletedIndexIsMadeAnew(t *testing.T) {
	s := openOwner(t, t.TempDir())
	n := populate(t, s)
	before := stats(t, s)
	s.Close()
	if err := os.RemoveAll(s.path(indexDir)); err != nil {
		t.Fatal(err)
	}
	s = openOwner(t, s.dir)
	if after := stats(t, s); after != before {
		t.Errorf("stats were %+v, are %+v", before, after)
	}
	expectPopulated(t, s, n)
}

// TestDamagedIndexLosesNothing damages each file of the index in several ways,
// at a time when it is due to be checked.
func TestDamagedIndexLosesNothing(t *testing.T) {
	damages := map[string]func(path string, data []byte) error{
		"removed":   func(path string, _ []byte) error { return os.Remove(path) },
		"emptied":   func(path string, _ []byte) error { return os.Truncate(path, 0) },
		"halved":    func(path string, data []byte) error { return os.Truncate(path, int64(len(data)/2)) },
		"garbage":   func(path string, data []byte) error { return os.WriteFile(path, castest.Bytes(len(data), 1), 0) },
		"bit early": flipBit(0.05),
		"bit":       flipBit(0.5),
		"bit late":  flipBit(0.97),
	}
	master := openOwner(t, t.TempDir())
	n := populate(t, master)
	master.Close()
	os.Remove(master.ballastPath())
	os.Remove(master.checkedPath())
	files, err := os.ReadDir(master.path(indexDir))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files in the index, %v", len(files), err)
	}
	for _, f := range files {
		for name, damage := range damages {
			t.Run(fmt.Sprintf("%s %s", f.Name(), name), func(t *testing.T) {
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(master.dir)); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(dir, indexDir, f.Name())
				data, err := os.ReadFile(path)
				if err == nil {
					err = damage(path, data)
				}
				if err != nil {
					t.Fatal(err)
				}
				s := openOwner(t, dir)
				expectPopulated(t, s, n)
			})
		}
	}
}

func flipBit(where float64) func(string, []byte) error {
	return func(path string, data []byte) error {
		if len(data) > 0 {
			data[int(where*float64(len(data)))] ^= 1 << rand.IntN(8)
		}
		return os.WriteFile(path, data, 0)
	}
}

func TestIndexThatKillsItsOpenerIsMadeAnew(t *testing.T) {
	s := openOwner(t, t.TempDir())
	n := populate(t, s)
	s.Close()
	s.mark().write(maxAttempts)
	s = openOwner(t, s.dir)
	expectPopulated(t, s, n)
	if _, err := os.Stat(s.path(damagedDir, "index")); err != nil {
		t.Errorf("the index was not set aside: %v", err)
	}
	if attempts := s.mark().read(); attempts != 0 {
		t.Errorf("there are %d failed attempts to open an open index", attempts)
	}
}
