package mount

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// unmounted is a file system that no kernel asks.
func unmounted(t *testing.T, entries []tree.Entry) *fileSystem {
	t.Helper()
	far := newFaulty()
	root, err := far.storeTree(entries)
	if err != nil {
		t.Fatal(err)
	}
	shared, end := newShared(far, Options{}.complete(""))
	fs := newFileSystem(shared, root, 0)
	fs.ended = func() bool { return true }
	t.Cleanup(func() { end(); fs.close(); shared.close() })
	if err := fs.prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	return fs
}

func header(node uint64) fuse.InHeader { return fuse.InHeader{NodeId: node} }

// The kernel would refuse the whole listing.
func TestNamesTooLongForTheKernelAreNotListed(t *testing.T) {
	long := strings.Repeat("n", maxName+1)
	fs := unmounted(t, []tree.Entry{
		{Name: "a", Type: tree.Symlink, Perm: 0o777, Target: "x"},
		{Name: long, Type: tree.Symlink, Perm: 0o777, Target: "x"},
		{Name: "z", Type: tree.Symlink, Perm: 0o777, Target: "x"},
	})
	list := fuse.NewDirEntryList(make([]byte, 8192), 0)
	if status := fs.ReadDir(nil, &fuse.ReadIn{InHeader: header(1)}, list); !status.Ok() {
		t.Fatal(status)
	}
	entries, err := fuse.ParseDirEntries(list.Bytes())
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if got := strings.Join(names, " "); got != ". .. a z" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTargetTooLongForTheKernelIsAnError(t *testing.T) {
	fs := unmounted(t, []tree.Entry{{Name: "link", Type: tree.Symlink, Perm: 0o777, Target: strings.Repeat("t", maxTarget+1)}})
	h := header(2)
	if _, status := fs.Readlink(nil, &h); status != fuse.Status(syscall.ENAMETOOLONG) {
		t.Errorf("%v, want ENAMETOOLONG", status)
	}
}

func TestUnknownNodeIsStale(t *testing.T) {
	fs := unmounted(t, nil)
	for _, node := range []uint64{0, 2, 1 << 32, 1<<32 + 1, 1<<64 - 1} {
		if status := fs.GetAttr(nil, &fuse.GetAttrIn{InHeader: header(node)}, &fuse.AttrOut{}); status != fuse.Status(syscall.ESTALE) {
			t.Errorf("node %d: %v, want ESTALE", node, status)
		}
	}
}

func TestListingGoesOnWhereItStopped(t *testing.T) {
	var entries []tree.Entry
	for c := range 200 {
		entries = append(entries, tree.Entry{Name: strings.Repeat(string(rune('A'+c%26)), 1+c/26), Type: tree.Dir, Perm: 0o755, Digest: cas.Sum(nil)})
	}
	fs := unmounted(t, entries)
	seen := map[string]int{}
	for off := uint64(0); ; {
		list := fuse.NewDirEntryList(make([]byte, 500), off)
		if status := fs.ReadDirPlus(nil, &fuse.ReadIn{InHeader: header(1), Offset: off}, list); !status.Ok() {
			t.Fatal(status)
		}
		found, outs, err := fuse.ParseDirLookupEntries(list.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			break
		}
		for i, e := range found {
			seen[e.Name]++
			off = e.Off
			if dots := e.Name == "." || e.Name == ".."; dots != (outs[i].NodeId == 0) {
				t.Errorf("%q has node %d", e.Name, outs[i].NodeId)
			}
		}
	}
	if len(seen) != len(entries)+2 {
		t.Errorf("%d names, want %d", len(seen), len(entries)+2)
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%q was listed %d times", name, n)
		}
	}
}

func TestLogIsLimited(t *testing.T) {
	var out bytes.Buffer
	l := limitedLog{out: slog.New(slog.NewTextHandler(&out, nil))}
	path := func() string { return "/x" }
	for range 1000 {
		l.warn("read failed", errBroken, path)
	}
	for i := range 1000 {
		l.warn("read failed", &cas.NotFoundError{Digest: cas.Sum([]byte{byte(i), byte(i >> 8)})}, path)
	}
	if n := strings.Count(out.String(), "\n"); n != logBurst {
		t.Errorf("%d lines, want %d", n, logBurst)
	}
	if suppressed, ok := l.admit(time.Now().Add(2*logWindow), "x"); !ok || suppressed == 0 {
		t.Errorf("%v, %d lines were left out; want a new window that tells how many", ok, suppressed)
	}
}

func TestMountTableIsParsed(t *testing.T) {
	entries, err := parseMounts(strings.NewReader(`22 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
broken line
40 22 0:41 / /mnt/sp\040ace\134x ro,nosuid - fuse.fstree fstree:blake3:00 ro,user_id=7
`))
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v, %v", entries, err)
	}
	if want := (mountEntry{`/mnt/sp ace\x`, "/", "fuse.fstree", "fstree:blake3:00", "0:41", "ro,user_id=7"}); entries[1] != want || want.option("user_id") != "7" {
		t.Errorf("%+v, want %+v", entries[1], want)
	}
}
