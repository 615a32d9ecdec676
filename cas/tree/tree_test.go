package tree_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/cas/tree/treetest"
)

type vector struct {
	Name       string            `json:"name"`
	RootDigest cas.Digest        `json:"root_digest"`
	Objects    map[string]string `json:"objects"`
	TreeHex    map[string]string `json:"tree_hex"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors/trees.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(data, &vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) < 40 {
		t.Fatalf("only %d golden trees", len(vs))
	}
	return vs
}

func TestGoldenTreesComeBackToTheByte(t *testing.T) {
	trees := 0
	for _, v := range vectors(t) {
		for path, text := range v.TreeHex {
			want, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := tree.Decode(want)
			if err != nil {
				t.Errorf("%s %q: %v", v.Name, path, err)
				continue
			}
			if got := decoded.Encode(); !bytes.Equal(got, want) {
				t.Errorf("%s %q: re-encoded as %x, want %x", v.Name, path, got, want)
			}
			if digest := cas.Sum(want); digest.String() != v.Objects[path] || path == "" && digest != v.RootDigest {
				t.Errorf("%s %q: digest %s, want %s", v.Name, path, digest, v.Objects[path])
			}
			trees++
		}
	}
	if trees < 40 {
		t.Errorf("only %d trees compared", trees)
	}
}

// field, status and the rest build trees that Encode would never write.
func field(s string) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(len(s)))) + s
}

func status(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }

const header = "\xee\x3e\x01\x00"

var digest = cas.Sum([]byte("x")).String()

func encodedFile(name string) string { return field(name) + field(digest) + status(1<<24|0o644) }

func TestDecodeRefuses(t *testing.T) {
	huge := string(bytes.Repeat([]byte{0xff}, 8))
	for _, test := range []struct{ name, bytes, want string }{
		{"nothing", "", "too early"},
		{"half a header", "\xee\x3e\x01", "too early"},
		{"bad magic", "\xef\x3e\x01\x00", "magic"},
		{"bad version", "\xee\x3e\x02\x00", "version"},
		{"twelve bytes", header + huge, "too long"},
		{"short length", header + "\x01\x00", "too early"},
		{"short name", header + field("abc")[:10], "too early"},
		{"short digest", header + field("abc") + field(digest)[:20], "too early"},
		{"short status", header + field("abc") + field(digest) + "\x00", "too early"},
		{"short target", header + field("l") + field("") + status(4<<24|0o777) + field("abc")[:9], "too early"},
		{"no target", header + field("l") + field("") + status(4<<24|0o777), "too early"},
		{"trailing bytes", header + encodedFile("a") + "\x00", "too early"},
		{"huge name", header + field(strings.Repeat("x", 5000)), "too long"},
		{"huge target", header + field("l") + field("") + status(4<<24|0o777) + huge, "too long"},
		{"huge digest", header + field("f") + huge, "too long"},
		{"empty name", header + encodedFile(""), "path component"},
		{"dot", header + encodedFile("."), "path component"},
		{"dotdot", header + encodedFile(".."), "path component"},
		{"slash", header + encodedFile("a/b"), "path component"},
		{"leading slash", header + encodedFile("/etc"), "path component"},
		{"NUL", header + encodedFile("a\x00b"), "path component"},
		{"duplicate name", header + encodedFile("a") + encodedFile("a"), "does not stand behind"},
		{"out of order", header + encodedFile("b") + encodedFile("a"), "does not stand behind"},
		{"no type", header + field("a") + field(digest) + status(0o644), "unknown"},
		{"two types", header + field("a") + field(digest) + status(3<<24|0o644), "unknown"},
		{"stray status bits", header + field("a") + field(digest) + status(1<<24|0o4755), "permission"},
		{"high status bits", header + field("a") + field(digest) + status(1<<31|1<<24|0o644), "permission"},
		{"bad digest", header + field("a") + field("blake3:abc") + status(1<<24|0o644), "hex digits"},
		{"upper-case digest", header + field("a") + field(strings.ToUpper(digest)) + status(1<<24|0o644), "canonical"},
		{"file without digest", header + field("a") + field("") + status(1<<24|0o644), "no digest"},
		{"directory without digest", header + field("a") + field("") + status(2<<24|0o755), "no digest"},
		{"symlink with digest", header + field("a") + field(digest) + status(4<<24|0o777) + field("b"), "symlink with a digest"},
		{"empty target", header + field("a") + field("") + status(4<<24|0o777) + field(""), "target"},
		{"NUL in target", header + field("a") + field("") + status(4<<24|0o777) + field("b\x00"), "target"},
	} {
		got, err := tree.Decode([]byte(test.bytes))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v; want an error with %q", test.name, got, err, test.want)
		}
	}
}

func TestNewSortsAndRefuses(t *testing.T) {
	d := cas.Sum(nil)
	sorted, err := tree.New([]tree.Entry{
		{Name: "b", Type: tree.File, Digest: d}, {Name: "a-b", Type: tree.Dir, Digest: d},
		{Name: "\xff", Type: tree.Symlink, Target: "x", Perm: 0o777}, {Name: "a", Type: tree.File, Digest: d}, {Name: "a.b", Type: tree.File, Digest: d},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for e := range sorted.All() {
		names = append(names, e.Name)
	}
	if got := strings.Join(names, " "); got != "a a-b a.b b \xff" {
		t.Errorf("order is %q", got)
	}
	for _, entries := range [][]tree.Entry{
		{{Name: "..", Type: tree.File, Digest: d}},
		{{Name: "a", Type: tree.File}},
		{{Name: "a", Type: tree.File, Digest: d}, {Name: "a", Type: tree.Dir, Digest: d}},
		{{Name: "a", Type: 0, Digest: d}},
		{{Name: "a", Type: tree.File, Digest: d, Perm: 0o4755}},
		{{Name: "a", Type: tree.File, Digest: d, Target: "b"}},
	} {
		if got, err := tree.New(entries); err == nil {
			t.Errorf("New accepted %v", got)
		}
	}
}

func TestMode(t *testing.T) {
	for want, e := range map[string]tree.Entry{
		"-rw-r--r--": {Type: tree.File, Perm: 0o644},
		"drwxr-x--x": {Type: tree.Dir, Perm: 0o751},
		"lrwxrwxrwx": {Type: tree.Symlink, Perm: 0o777},
		"----------": {Type: tree.File},
	} {
		if got := e.Mode(); got != want {
			t.Errorf("%v is %s, want %s", e, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	var s memory.Store
	leaf := treetest.File(t, &s, "leaf", "x")
	link := treetest.Link("link", "leaf")
	root := treetest.Dir(t, &s, "", treetest.Dir(t, &s, "sub", leaf, link)).Digest
	for path, want := range map[string]string{"": "", "sub": "sub", "sub/leaf": "leaf", "sub/link": "link"} {
		e, err := tree.Resolve(t.Context(), &s, tree.Path{Root: root, Rest: path})
		if err != nil || e.Name != want {
			t.Errorf("%q leads to %q, %v", path, e.Name, err)
		}
	}
	for path, want := range map[string]error{"nope": fs.ErrNotExist, "sub/nope": fs.ErrNotExist} {
		if _, err := tree.Resolve(t.Context(), &s, tree.Path{Root: root, Rest: path}); !errors.Is(err, want) {
			t.Errorf("%q: %v", path, err)
		}
	}
	for _, path := range []string{"sub/leaf/x", "sub/link/x"} {
		if _, err := tree.Resolve(t.Context(), &s, tree.Path{Root: root, Rest: path}); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestParsePath(t *testing.T) {
	d := cas.Sum(nil)
	for in, rest := range map[string]string{
		d.String(): "", d.String() + "/": "", d.Hex(): "", d.Hex() + "/a/b": "a/b", d.String() + "/a/b/": "a/b",
	} {
		p, err := tree.ParsePath(in)
		if err != nil || p.Root != d || p.Rest != rest {
			t.Errorf("%q is %v, %v", in, p, err)
		}
	}
	if _, err := tree.ParsePath("a/b"); err == nil {
		t.Error("a/b was accepted")
	}
}

func FuzzDecode(f *testing.F) {
	for _, v := range vectors(f) {
		for _, text := range v.TreeHex {
			seed, _ := hex.DecodeString(text)
			f.Add(seed)
		}
	}
	f.Add([]byte(header + encodedFile("a") + encodedFile("a")))
	f.Fuzz(func(t *testing.T, in []byte) {
		decoded, err := tree.Decode(in)
		if err != nil {
			return
		}
		if out := decoded.Encode(); !bytes.Equal(in, out) {
			t.Errorf("%x was accepted and is %x", in, out)
		}
	})
}
