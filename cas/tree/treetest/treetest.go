// Package treetest makes small trees for tests.
package treetest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// Dir stores the tree with these entries, and returns an entry called name for
// it, with mode 0755.
func Dir(t testing.TB, s cas.Adder, name string, entries ...tree.Entry) tree.Entry {
	t.Helper()
	made, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := s.Add(t.Context(), bytes.NewReader(made.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	return tree.Entry{Name: name, Type: tree.Dir, Perm: 0o755, Digest: d}
}

// File stores content, and returns an entry called name for it, with mode 0644.
func File(t testing.TB, s cas.Adder, name, content string) tree.Entry {
	t.Helper()
	d, _, err := s.Add(t.Context(), strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return tree.Entry{Name: name, Type: tree.File, Perm: 0o644, Digest: d}
}

// Link returns an entry called name for a symlink to target.
func Link(name, target string) tree.Entry {
	return tree.Entry{Name: name, Type: tree.Symlink, Perm: 0o777, Target: target}
}
