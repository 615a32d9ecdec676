package worktree_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/fs/worktree"
)

// vector is a directory whose digests are known.
type vector struct {
	Name     string
	Ignore   *string
	RootMode string `json:"root_mode"`
	Entries  []vectorEntry
	Root     cas.Digest            `json:"root_digest"`
	Objects  map[string]cas.Digest // by path
	TreeHex  map[string]string     `json:"tree_hex"`
}

type vectorEntry struct {
	Path    string
	PathHex string `json:"path_hex"`
	Type    string
	Mode    string

	Content       string
	ContentHex    string `json:"content_hex"`
	ContentRepeat *struct {
		Byte  string
		Count int
	} `json:"content_repeat"`

	Target    string
	TargetHex string `json:"target_hex"`
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("../../cas/tree/testdata/vectors/trees.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 40 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	return vectors
}

func unhex(t *testing.T, digits, plain string) string {
	t.Helper()
	if digits == "" {
		return plain
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mode(t *testing.T, text string, otherwise uint32) uint32 {
	t.Helper()
	if text == "" {
		return otherwise
	}
	bits, err := strconv.ParseUint(text, 8, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(bits)
}

func (e vectorEntry) content(t *testing.T) string {
	if r := e.ContentRepeat; r != nil {
		return strings.Repeat(unhex(t, r.Byte, ""), r.Count)
	}
	return unhex(t, e.ContentHex, e.Content)
}

// make builds the directory at dir, which must not exist.
func (v vector) make(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() { loosenAll(dir) })
	for _, e := range v.Entries {
		e.make(t, dir, filepath.Join(dir, unhex(t, e.PathHex, e.Path)))
	}
	// The field is absent as well if the ignore file is empty.
	if _, ok := v.Objects[".fstreeignore"]; ok && v.Ignore == nil {
		v.Ignore = new(string)
	}
	if v.Ignore != nil {
		path := filepath.Join(dir, ".fstreeignore")
		must(t, os.WriteFile(path, []byte(*v.Ignore), 0o644))
		must(t, unix.Chmod(path, 0o644))
	}
	for _, e := range slices.Backward(v.Entries) {
		if e.Type == "dir" {
			must(t, unix.Chmod(filepath.Join(dir, unhex(t, e.PathHex, e.Path)), mode(t, e.Mode, 0o755)))
		}
	}
	must(t, unix.Chmod(dir, mode(t, v.RootMode, 0o755)))
}

func (e vectorEntry) make(t *testing.T, root, path string) {
	t.Helper()
	switch e.Type {
	case "dir":
		must(t, os.MkdirAll(path, 0o755))
	case "file":
		must(t, os.WriteFile(path, []byte(e.content(t)), 0o644))
		must(t, unix.Chmod(path, mode(t, e.Mode, 0o644)))
	case "symlink":
		must(t, os.Symlink(unhex(t, e.TargetHex, e.Target), path))
	case "hardlink":
		must(t, os.Link(filepath.Join(root, e.Target), path))
	case "fifo":
		must(t, unix.Mkfifo(path, 0o644))
	case "socket":
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		must(t, err)
		l.SetUnlinkOnClose(false)
		must(t, l.Close())
	default:
		t.Fatalf("unknown type %q", e.Type)
	}
}

// unreadable tells whether a user's Write failed as it must: the vector holds
// files that only root can read.
func (v vector) unreadable(err error) bool {
	var failed *worktree.EntryErrors
	return v.Name == "modes-file" && os.Geteuid() != 0 && errors.As(err, &failed) && len(failed.Errors) == 2 &&
		failed.Errors[0].Path == "m0000" && failed.Errors[1].Path == "m0100" && errors.Is(err, fs.ErrPermission)
}

func TestVectorsGiveTheirDigests(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "w")
			v.make(t, dir)
			store := &memory.Store{}
			result, err := worktree.Write(t.Context(), dir, store, worktree.Options{})
			if v.unreadable(err) {
				return
			}
			must(t, err)
			if result.Root != v.Root {
				t.Errorf("root is %s, want %s", result.Root, v.Root)
			}
			if want := len(v.Objects) - 1 + v.symlinks(); result.Entries != want {
				t.Errorf("%d entries, want %d", result.Entries, want)
			}
			for path, d := range v.Objects {
				data, err := cas.ReadAll(t.Context(), store, d, 1<<30)
				if err != nil {
					t.Errorf("%s: %v", path, err)
				}
				if want, ok := v.TreeHex[path]; ok && hex.EncodeToString(data) != want {
					t.Errorf("tree of %q is %x, want %s", path, data, want)
				}
			}
			again, err := worktree.Write(t.Context(), dir, store, worktree.Options{})
			if err != nil || again.Root != v.Root || again.Entries != result.Entries {
				t.Errorf("second time: %+v, %v; want %+v", again, err, result)
			}
		})
	}
}

// symlinks counts what has no object.
func (v vector) symlinks() (n int) {
	for _, text := range v.TreeHex {
		b, _ := hex.DecodeString(text)
		t, err := tree.Decode(b)
		if err != nil {
			continue
		}
		for e := range t.All() {
			if e.Type == tree.Symlink {
				n++
			}
		}
	}
	return n
}

func TestVectorsAreReproducedByCheckout(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			source := filepath.Join(t.TempDir(), "source")
			v.make(t, source)
			store := &memory.Store{}
			if _, err := worktree.Write(t.Context(), source, store, worktree.Options{}); v.unreadable(err) {
				return
			}
			target := filepath.Join(t.TempDir(), "deep", "target")
			opt := worktree.CheckoutOptions{}
			t.Cleanup(func() { loosenAll(target) })
			if _, err := worktree.Checkout(t.Context(), target, v.Root, store, opt); err != nil {
				t.Fatal(err)
			}
			expectTree(t, store, v.Root, target)
			back, err := worktree.Write(t.Context(), target, store, worktree.Options{Ignore: "none", Index: t.TempDir() + "/i"})
			if err != nil || back.Root != v.Root {
				t.Errorf("the copy is %s, %v; want %s", back.Root, err, v.Root)
			}
		})
	}
}

// expectTree compares the directory with the tree by the plainest means. What
// is called .fstree is left out.
func expectTree(t *testing.T, store cas.Getter, d cas.Digest, dir string) {
	t.Helper()
	want, err := tree.Read(t.Context(), store, d)
	must(t, err)
	defer openUp(t, dir)()
	names, err := os.ReadDir(dir)
	must(t, err)
	names = slices.DeleteFunc(names, func(e os.DirEntry) bool { return e.Name() == ".fstree" })
	if len(names) != want.Len() {
		t.Errorf("%s has %d entries, want %d", dir, len(names), want.Len())
	}
	for e := range want.All() {
		path := dir + "/" + e.Name
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		format := map[tree.Type]uint32{tree.File: unix.S_IFREG, tree.Dir: unix.S_IFDIR, tree.Symlink: unix.S_IFLNK}[e.Type]
		if st.Mode&unix.S_IFMT != format || e.Type != tree.Symlink && st.Mode&0o777 != e.Perm {
			t.Errorf("%s has mode %#o, want %s", path, st.Mode, e.Mode())
			continue
		}
		switch e.Type {
		case tree.Dir:
			expectTree(t, store, e.Digest, path)
		case tree.Symlink:
			if target, err := os.Readlink(path); err != nil || target != e.Target {
				t.Errorf("%s leads to %q, %v; want %q", path, target, err, e.Target)
			}
		case tree.File:
			closeAgain := openUp(t, path)
			data, err := os.ReadFile(path)
			must(t, err)
			closeAgain()
			content, err := cas.ReadAll(t.Context(), store, e.Digest, 1<<30)
			must(t, err)
			if !bytes.Equal(data, content) {
				t.Errorf("%s has other content than %s", path, e.Digest)
			}
		}
	}
}

// openUp lets the user look at path, until the returned function is called.
func openUp(t *testing.T, path string) func() {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	if os.Geteuid() == 0 || info.Mode()&0o500 == 0o500 {
		return func() {}
	}
	must(t, os.Chmod(path, 0o700))
	return func() { must(t, os.Chmod(path, info.Mode())) }
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must2(t testing.TB) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		must(t, err)
	}
}
