package transfer_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/cas/tree/treetest"
	"github.com/fstree/fstree/internal/relay"
	"github.com/fstree/fstree/remote"
	"github.com/fstree/fstree/remote/server"
	"github.com/fstree/fstree/remote/transfer"
)

// remoteDelay is long enough for calls that are made side by side to be made
// before the first of them is answered.
const remoteDelay = 300 * time.Millisecond

// behind returns a relay to the server at address, which holds up what the
// server says: calls that are made side by side are then seen to be.
func behind(t *testing.T, address string, delay time.Duration) *relay.Relay {
	t.Helper()
	r, err := relay.New(address, relay.Delay{Down: delay})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// serve starts a server of store, and returns its address.
func serve(t *testing.T, store cas.Store) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(store, server.Options{}).GRPC()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(listener)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return listener.Addr().String()
}

func openRemote(t *testing.T, address string) remote.Store {
	t.Helper()
	far, err := remote.Open("jolt://"+address, remote.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return far
}

// deepTree has a row of depth directories, each in the one before, and dirs in
// all, each with three files. Change is in the file that is deepest.
func deepTree(t *testing.T, s *memory.Store, dirs, depth int, change string) cas.Digest {
	t.Helper()
	row := []tree.Entry{treetest.File(t, s, "deepest", change)}
	for level := range depth {
		for i := range dirs/depth - 1 {
			name := fmt.Sprintf("dir %d %d", level, i)
			row = append(row, treetest.Dir(t, s, name,
				treetest.File(t, s, "a", name+"a"), treetest.File(t, s, "b", name+"b"), treetest.File(t, s, "c", name+"c")))
		}
		row = []tree.Entry{treetest.Dir(t, s, "row", row...)}
	}
	return row[0].Digest
}

// TestRoundTripsDoNotGrowWithTheTree counts the round trips of a push or pull
// of everything, of nothing and of one file deep down, in trees of different
// sizes and depths.
func TestRoundTripsDoNotGrowWithTheTree(t *testing.T) {
	for _, shape := range []struct{ dirs, depth int }{{100, 2}, {1000, 10}, {1000, 100}} {
		t.Run(fmt.Sprintf("%d directories, %d deep", shape.dirs, shape.depth), func(t *testing.T) {
			t.Parallel()
			store := &memory.Store{}
			first := deepTree(t, store, shape.dirs, shape.depth, "before")
			second := deepTree(t, store, shape.dirs, shape.depth, "after")
			server, near := &memory.Store{}, &memory.Store{}
			counted := behind(t, serve(t, server), remoteDelay)

			// A command has one connection; so have these.
			push := func(root cas.Digest, have ...cas.Digest) error {
				return transfer.Push(t.Context(), store, openRemote(t, counted.Address()), root, transfer.Options{Parallel: 64, Have: have})
			}
			pull := func(root cas.Digest, have ...cas.Digest) error {
				return transfer.Pull(t.Context(), openRemote(t, counted.Address()), near, root, transfer.Options{Parallel: 64, Have: have})
			}
			expect := func(what string, err error, rounds int, bytes int64) {
				t.Helper()
				c := counted.Take()
				t.Logf("%s: %d round trips, %d calls, %d bytes up, %d bytes down", what, c.Rounds, c.Calls, c.Up, c.Down)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if c.Rounds > rounds || bytes > 0 && c.Up+c.Down > bytes {
					t.Errorf("%s: more than %d round trips or %d bytes", what, rounds, bytes)
				}
			}
			change := newBytes(t, store, first, second)
			expect("push everything", push(first), 5, 0)
			expect("push nothing", push(first), 1, 1000)
			expect("pull everything", pull(first), 2, 0)
			expect("pull nothing", pull(first), 0, 1)
			expect("push a change", push(second, first), 5, change)
			expect("push a change without a hint", push(deepTree(t, store, shape.dirs, shape.depth, "later")), 5, 0)
			expect("push again", push(second), 1, 1000)
			expect("pull a change", pull(second, first), 2, change+int64(shape.dirs)*34)
			expect("pull again", pull(second), 0, 1)
		})
	}
}

func TestRangeOfAnObjectIsOneRoundTrip(t *testing.T) {
	store := &memory.Store{}
	d, size, _ := store.Add(t.Context(), bytes.NewReader(castest.Bytes(64<<20, 1)))
	counted := behind(t, serve(t, store), remoteDelay)
	slice := bao.Slice{Size: size, Off: 32 << 20, Len: 4 << 10, ProveSize: true}
	r, err := openRemote(t, counted.Address()).(bao.Slicer).Slice(t.Context(), d, slice)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err != nil || n != slice.EncodedSize() {
		t.Fatal(n, err)
	}
	if c := counted.Take(); c.Calls != 1 || c.Up+c.Down > 100<<10 {
		t.Errorf("%d calls, %d bytes up, %d bytes down", c.Calls, c.Up, c.Down)
	}
}

// newBytes is the length of the trees in a second closure and not in a first,
// and a little for what has to be said of them.
func newBytes(t *testing.T, store cas.Getter, first, second cas.Digest) int64 {
	t.Helper()
	size := map[cas.Digest]int64{}
	for _, root := range []cas.Digest{second, first} {
		if err := tree.Walk(t.Context(), store, []cas.Digest{root}, 1, func(d cas.Digest, made *tree.Tree, err error) error {
			if err == nil && root == second {
				size[d] = int64(len(made.Encode()))
			}
			if root == first {
				delete(size, d)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	sum := int64(4000)
	for _, n := range size {
		sum += n + 200
	}
	return sum
}
