package worktree

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
)

func TestOnlyATimeBeforeTheTickProves(t *testing.T) {
	const second = 1_000_000_000
	for _, test := range []struct {
		ctime, tick int64
		want        bool
	}{
		{5*second + 1, 5*second + 2, true},
		{5*second + 2, 5*second + 2, false},
		{5*second + 3, 5*second + 2, false},
		{5 * second, 6*second + 1, false}, // a file system that rounds its times
		{5 * second, 7 * second, false},
		{5 * second, 7*second + 1, true},
	} {
		if got := (stat{ctime: test.ctime}).settled(test.tick); got != test.want {
			t.Errorf("ctime %d in tick %d: %t", test.ctime, test.tick, got)
		}
	}
}

func TestAnyDifferenceIsAChange(t *testing.T) {
	same := stat{size: 1, mtime: 2, ctime: 3, ino: 4, mode: 5, links: 6, device: 7}
	if !same.unchanged(same) {
		t.Error("the same has changed")
	}
	for _, other := range []stat{
		{2, 2, 3, 4, 5, 6, 7}, {1, 3, 3, 4, 5, 6, 7}, {1, 2, 4, 4, 5, 6, 7}, {1, 2, 3, 5, 5, 6, 7}, {1, 2, 3, 4, 6, 6, 7},
	} {
		if same.unchanged(other) {
			t.Errorf("%+v passes for %+v", other, same)
		}
	}
}

// A directory that changes while it is listed can show one name twice and
// another not at all: then the number of entries proves nothing.
func TestNameThatIsListedTwiceIsNoticed(t *testing.T) {
	for _, n := range []int{1, 2, 63, 64, 65, 300} {
		items := make([]item, n)
		for i := range items {
			items[i].place = n - 1 - i
		}
		if repeats(items, n) {
			t.Errorf("%d different names repeat", n)
		}
		items = append(items[:n-1], item{place: n - 1})
		if n > 1 && !repeats(items, n) {
			t.Errorf("a repetition among %d names is missed", n)
		}
	}
}

// sample is the index of f, made at the given time, and sub/l.
func sample(t testing.TB, ctime int64) []byte {
	t.Helper()
	file := item{name: []byte("f"), digest: cas.Sum(nil), stat: stat{mode: unix.S_IFREG | 0o644, mtime: 1, ctime: ctime, ino: 7}}
	link := item{name: []byte("l"), target: []byte("to"), stat: stat{mode: unix.S_IFLNK | 0o777, mtime: 1, ctime: ctime}}
	sub, err := newSection(cas.Sum([]byte("sub")), []item{link})
	if err != nil {
		t.Fatal(err)
	}
	root, err := newSection(cas.Sum([]byte("root")), []item{file, {name: []byte("sub"), stat: stat{mode: unix.S_IFDIR | 0o755}, section: sub}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := encodeIndex(&b, &index{}, root, "epoch", cas.Sum(nil)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestIndexDoesNotVouchForThePresentTick(t *testing.T) {
	for _, test := range []struct {
		ctime int64
		want  int64
	}{{1001, 1001}, {tick() + 1e12 + 1, 0}} {
		x, err := parseIndex(sample(t, test.ctime))
		if err != nil {
			t.Fatal(err)
		}
		sub := x.child(x.top().at(1))
		if got := x.top().at(0).stat().ctime; got != test.want {
			t.Errorf("file of %d is vouched for with %d", test.ctime, got)
		}
		if got := sub.at(0).stat().ctime; got != test.want {
			t.Errorf("link of %d is vouched for with %d", test.ctime, got)
		}
		if x.epoch != "epoch" || x.rules != cas.Sum(nil) || string(sub.at(0).target()) != "to" || sub.digest() != cas.Sum([]byte("sub")) {
			t.Errorf("read back otherwise than written")
		}
	}
}

func TestIndexWithANameThatLeadsElsewhereIsDamaged(t *testing.T) {
	for _, name := range []string{"", ".", "..", "/etc", "../f", "a/b", "a\x00b"} {
		root, err := newSection(cas.Sum(nil), []item{{name: []byte(name), digest: cas.Sum(nil), stat: stat{mode: unix.S_IFREG}}})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := encodeIndex(&b, &index{}, root, "", cas.Digest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := parseIndex(b.Bytes()); err != errDamaged {
			t.Errorf("an index of %q: %v", name, err)
		}
	}
}

// The other tests would pass as well if all directories were listed always.
func TestDirectoryThatTheIndexKnowsIsNotListed(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"changed", "known"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	expectSpared(t, dir, false, false)
	writeLater(t, dir)
	expectSpared(t, dir, true, true)
	passing := filepath.Join(dir, "changed/passing")
	if err := errors.Join(os.WriteFile(passing, nil, 0o644), os.Remove(passing)); err != nil {
		t.Fatal(err)
	}
	expectSpared(t, dir, false, true)
	writeLater(t, dir)
	expectSpared(t, dir, true, true)
}

// writeLater writes dir when the clock has advanced.
func writeLater(t *testing.T, dir string) {
	t.Helper()
	time.Sleep(25 * time.Millisecond)
	if _, err := Write(t.Context(), dir, &memory.Store{}, Options{}); err != nil {
		t.Fatal(err)
	}
}

// expectSpared expects that the index spares the listing of these subdirectories
// of dir, where the file system allows it.
func expectSpared(t *testing.T, dir string, want ...bool) {
	t.Helper()
	root, err := openRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	w := &writer{index: loadIndex(dir, Options{}.withDefaults()), device: trustedDevice(root), sameRules: true}
	top := &dirNode{fd: root, known: w.index.top()}
	for place, want := range want {
		d := &dirNode{parent: top}
		it := item{place: place}
		if top.known != nil {
			r := top.known.at(place)
			d.known = w.index.child(r)
			if it.stat, err = statAt(root, append(bytes.Clone(r.name()), 0)); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.spares(d, &it); got != (want && w.device != 0) {
			t.Errorf("subdirectory %d is spared: %v", place, got)
		}
	}
}

// FuzzIndex looks for bytes that pass as an index and then can't be used.
func FuzzIndex(f *testing.F) {
	good := sample(f, 1)
	f.Add(good[:len(good)-checksumSize])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum, _ := cas.Sum(body).AppendBinary(nil)
		x, err := parseIndex(append(bytes.Clone(body), sum[1:]...))
		if err != nil {
			return
		}
		for _, e := range x.appendEntries(nil, "", x.top()) {
			if e.Type == tree.File && e.Digest.IsZero() {
				t.Errorf("%q has no digest", e.Path)
			}
		}
		var again bytes.Buffer
		if err := encodeIndex(&again, x, &section{block: x.top(), old: true}, x.epoch, x.rules); err != nil {
			t.Fatal(err)
		}
		if _, err := parseIndex(again.Bytes()); err != nil {
			t.Errorf("what was read can't be read again: %v", err)
		}
	})
}

func TestLimitsNameWhatCannotBe(t *testing.T) {
	folding, windows := limits{name: 255, folding: true}, limits{name: 255, folding: true, windows: true}
	for _, test := range []struct {
		limits limits
		names  string
		want   string // the name that is refused
	}{
		{limits{}, "a A ä Ä a: con", ""},
		{limits{name: 3}, "abc abcd", "abcd"},
		{folding, "a b ab", ""},
		{folding, "README Readme", "Readme"},
		{folding, "ä Ä", "ä"},
		{folding, ".FSTREE", ".FSTREE"},
		{folding, "a: b", ""},
		{windows, "a: b", "a:"},
		{windows, "a. b", "a."},
		{windows, "a \x01", "\x01"},
		{windows, "a \xff", "\xff"},
		{windows, "a.b c-d", ""},
	} {
		var entries []tree.Entry
		for name := range strings.SplitSeq(test.names, " ") {
			entries = append(entries, tree.Entry{Name: name, Type: tree.File, Digest: cas.Sum(nil)})
		}
		tr, err := tree.New(entries)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := test.limits.check(tr); got != test.want || (err != nil) != (test.want != "") {
			t.Errorf("%q with %+v: %q, %v", test.names, test.limits, got, err)
		}
	}
}
