package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fstree/fstree/"

const (
	wire = "remote/internal/wire" // what both ends of a wire share
	bulk = "remote/internal/bulk" // what both ends of gRPC share
	crew = "remote/internal/crew" // many small jobs in few goroutines
)

// allowed is the import table of docs/architecture.md: which packages of ours,
// and which of the libraries that a package stands for, a package may import.
var allowed = map[string][]string{
	"cas":                    {},
	"cas/tree":               {"cas"},
	"cas/tree/treetest":      {"cas", "cas/tree"},
	"cas/memory":             {"cas", "cas/bao"},
	"cas/castest":            {"cas", "cas/bao", "cas/memory"},
	"cas/cached":             {"cas", "cas/bao"},
	"cas/bao":                {"cas"},
	"cas/disk":               {"cas", "cas/bao", "badger"},
	"fs/ignore":              {},
	"fs/worktree":            {"cas", "cas/tree", "fs/ignore"},
	"fs/mount":               {"cas", "cas/tree", "go-fuse"},
	"fs/mount/control":       {},
	"proto":                  {"grpc"},
	"remote":                 {"cas", "remote/grpc", "remote/http"},
	"remote/grpc":            {"cas", "cas/bao", "proto", "grpc", wire, bulk},
	"remote/http":            {"cas", wire},
	"remote/transfer":        {"cas", "cas/bao", "cas/tree", crew},
	"remote/server":          {"cas", "cas/bao", "cas/tree", "proto", "grpc", wire, bulk, crew},
	wire:                     {"cas"},
	bulk:                     {"cas", "proto", "grpc", wire},
	crew:                     {},
	"internal/relay":         {},
	"internal/oldserver":     {"cas", "cas/memory", "cas/tree", "proto", "grpc"},
	"cmd/fstree":             {"*"},
	"e2e":                    {},
	"scripts/genproto":       {},
	"scripts/internal/bench": {},
	"scripts/bench-worktree": {"cas", "scripts/internal/bench"},
	"scripts/bench-transfer": {"cas", "cas/memory", "cas/tree", "proto", "grpc", "remote", "remote/transfer", "internal/relay", "internal/oldserver", "scripts/internal/bench"},
	"scripts/bench-mount":    {"internal/relay", "scripts/internal/bench"},
	"scripts/bench-store":    {"cas/disk", "scripts/internal/bench"},
}

// libraries are the ones that only some packages may know.
var libraries = map[string]string{
	"github.com/dgraph-io/badger": "badger",
	"github.com/hanwen/go-fuse":   "go-fuse",
	"google.golang.org/grpc":      "grpc",
	"github.com/alecthomas/kong":  "kong",
}

// TestImportsFollowTheTable keeps cas free of networks and FUSE, fs free of
// gRPC, and so on: the arrows of the architecture, as the compiler sees them.
func TestImportsFollowTheTable(t *testing.T) {
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(pkg.ImportPath, module)
		may, known := allowed[name]
		if !known {
			t.Errorf("%s has no row in the table", name)
			continue
		}
		seen++
		for _, imported := range pkg.Imports {
			what := significance(imported)
			if what != "" && !slices.Contains(may, what) && !slices.Contains(may, "*") {
				t.Errorf("%s imports %s, and the table does not allow it", name, what)
			}
		}
	}
	if seen != len(allowed) {
		t.Errorf("the table has %d rows, and %d packages exist", len(allowed), seen)
	}
}

// significance returns what the table calls an imported package, "" if it says
// nothing about it.
func significance(imported string) string {
	if name, ours := strings.CutPrefix(imported, module); ours {
		return name
	}
	for prefix, name := range libraries {
		if imported == prefix || strings.HasPrefix(imported, prefix+"/") {
			return name
		}
	}
	return ""
}
