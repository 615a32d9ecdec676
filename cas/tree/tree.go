// Package tree holds the Merkle tree of directories: one object per directory,
// in the version 1 format that docs/format.md specifies.
//
// A *Tree is born sorted and legal. There is no Go value for an illegal tree,
// so whoever holds one may use its names without looking at them again, each
// as one component of a path.
package tree

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/fstree/fstree/cas"
)

// Type says what an Entry is. Its values are those of the format.
type Type uint32

const (
	File    Type = 1 << 24
	Dir     Type = 2 << 24
	Symlink Type = 4 << 24
)

// String returns "file", "directory" or "symlink".
func (t Type) String() string {
	switch t {
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symlink"
	}
	return fmt.Sprintf("type %#x", uint32(t))
}

// PermMask holds the permission bits that a tree records.
const PermMask = 0o777

// Entry is one name in a directory.
type Entry struct {
	Name   string     // one path component, any bytes but '/' and NUL
	Type   Type       // File, Dir or Symlink
	Perm   uint32     // permission bits, within PermMask
	Digest cas.Digest // of the file or the tree; zero for a symlink
	Target string     // of a symlink; empty for others
}

// Mode returns the entry's type and permission as ls -l writes them, for
// example "-rw-r--r--".
func (e Entry) Mode() string {
	const letters = "rwxrwxrwx"
	mode := []byte("-" + letters)
	switch e.Type {
	case Dir:
		mode[0] = 'd'
	case Symlink:
		mode[0] = 'l'
	}
	for i := range letters {
		if e.Perm&(1<<(len(letters)-1-i)) == 0 {
			mode[1+i] = '-'
		}
	}
	return string(mode)
}

// Tree is one directory: its entries in bytewise order of name, no name twice.
// It never changes.
type Tree struct {
	entries []Entry
}

// New returns the tree with these entries, in any order. It takes the slice
// over. The error names the first entry that no tree can have.
func New(entries []Entry) (*Tree, error) {
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	for i, e := range entries {
		if err := check(e); err != nil {
			return nil, err
		}
		if i > 0 && entries[i-1].Name == e.Name {
			return nil, fmt.Errorf("entry %q stands there twice", e.Name)
		}
	}
	return &Tree{entries}, nil
}

func check(e Entry) error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	if e.Perm&^PermMask != 0 {
		return fmt.Errorf("entry %q has permission bits %#o outside 0777", e.Name, e.Perm)
	}
	switch e.Type {
	case File, Dir:
		if e.Digest.IsZero() {
			return fmt.Errorf("entry %q has no digest", e.Name)
		}
		if e.Target != "" {
			return fmt.Errorf("entry %q is a %s with a link target", e.Name, e.Type)
		}
	case Symlink:
		if !e.Digest.IsZero() {
			return fmt.Errorf("entry %q is a symlink with a digest", e.Name)
		}
		if strings.IndexByte(e.Target, 0) >= 0 || e.Target == "" {
			return fmt.Errorf("entry %q is a symlink with an impossible target", e.Name)
		}
	default:
		return fmt.Errorf("entry %q has unknown %s", e.Name, e.Type)
	}
	return nil
}

func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("entry name %q is not one path component", name)
	}
	return nil
}

// Len returns the number of entries.
func (t *Tree) Len() int { return len(t.entries) }

// At returns entry i, in bytewise order of name.
func (t *Tree) At(i int) Entry { return t.entries[i] }

// All iterates over the entries in bytewise order of name.
func (t *Tree) All() iter.Seq[Entry] { return slices.Values(t.entries) }

// Find returns the position of name, and whether it is there.
func (t *Tree) Find(name string) (int, bool) {
	return slices.BinarySearchFunc(t.entries, name, func(e Entry, name string) int { return cmp.Compare(e.Name, name) })
}

// Lookup returns the entry called name, and whether there is one.
func (t *Tree) Lookup(name string) (Entry, bool) {
	i, ok := t.Find(name)
	if !ok {
		return Entry{}, false
	}
	return t.entries[i], true
}

// Read gets the tree d from g and decodes it.
func Read(ctx context.Context, g cas.Getter, d cas.Digest) (*Tree, error) {
	data, err := cas.ReadAll(ctx, g, d, MaxSize)
	if err != nil {
		return nil, err
	}
	t, err := Decode(data)
	if err != nil {
		return nil, &FormatError{Digest: d, Err: err}
	}
	return t, nil
}

// FormatError reports an object that is not a tree.
type FormatError struct {
	Digest cas.Digest
	Err    error
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("object %s is not a tree: %v", e.Digest, e.Err)
}

// Unwrap returns the reason.
func (e *FormatError) Unwrap() error { return e.Err }
