package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommittedCodeIsFresh(t *testing.T) {
	if err := run(t.Context(), "../..", true); err != nil {
		t.Fatal(err)
	}
}

func TestStaleCodeIsNamed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "some.pb.go")
	if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := compare(name, []byte("old")); err != nil {
		t.Errorf("fresh: %v", err)
	}
	for _, stale := range []string{name, name + ".missing"} {
		if err := compare(stale, []byte("new")); err == nil || !strings.Contains(err.Error(), stale) {
			t.Errorf("stale: %v", err)
		}
	}
}
