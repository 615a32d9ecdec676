package disk

import (
	"os"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
)

func expectCounts(t *testing.T, s *Store, hits, misses int64) {
	t.Helper()
	if got := stats(t, s); got.Hits != hits || got.Misses != misses {
		t.Errorf("%d hits and %d misses, want %d and %d", got.Hits, got.Misses, hits, misses)
	}
}

func TestHitsAreCountedForAllAndKept(t *testing.T) {
	owner := openOwner(t, t.TempDir())
	client := openClient(t, owner.dir)
	absent := cas.Sum([]byte("never stored"))
	large := put(t, owner, castest.Bytes(100_000, 1))
	small := put(t, client, castest.Bytes(100, 1))
	expectCounts(t, owner, 0, 0)
	has(t, owner, small)
	expect(t, client, castest.Bytes(100, 1))
	expect(t, client, castest.Bytes(100_000, 1))
	expectAbsent(t, client, absent) // asks twice
	expectCounts(t, client, 3, 2)
	put(t, client, castest.Bytes(100_000, 1))
	client.SetAside(t.Context(), large)
	verify(t, owner)
	expectCounts(t, owner, 3, 2)
	client.Close()
	owner.Close()

	owner = openOwner(t, owner.dir)
	expectCounts(t, owner, 3, 2)
	has(t, owner, absent)
	owner.Close()
	expectCounts(t, openOwner(t, owner.dir), 3, 3)
}

func TestCountsThatMakeNoSenseBeginAnew(t *testing.T) {
	s := openOwner(t, t.TempDir())
	s.Close()
	for _, text := range []string{"", "1", "-1 5", "many few", "99999999999999999999 1"} {
		if err := os.WriteFile(s.countsPath(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s = openOwner(t, s.dir)
		expectCounts(t, s, 0, 0)
		s.Close()
	}
}
