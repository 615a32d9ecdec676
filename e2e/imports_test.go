package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fstree/fstree/"

const (
	wire = "remote/internal/wire" // what both ends of a wire share
	bulk = "remote/internal/bulk" // what both ends of gRPC share
	crew = "internal/crew"        // many small jobs in few goroutines
)

// allowed is the import table of docs/architecture.md: which packages of ours,
// and which of the libraries that a package stands for, a package may import.
var allowed = map[string][]string{
	"cas":                    {crew},
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

// TestDocumentedTableIsTheOneThatHolds compares the last column of the table in
// docs/architecture.md with the one above. Scripts have no row there.
func TestDocumentedTableIsTheOneThatHolds(t *testing.T) {
	rows := documented(t)
	want := map[string]map[string]bool{}
	for name := range rows {
		want[name] = map[string]bool{}
	}
	for name, may := range allowed {
		row := rowOf(rows, name)
		if row == "" && !strings.HasPrefix(name, "scripts/") {
			t.Errorf("%s has no row", name)
		}
		for _, what := range may {
			if above := rowOf(rows, what); above != "" {
				what = above
			}
			if row != "" && what != row {
				want[row][what] = true
			}
		}
	}
	for name, may := range rows {
		if !maps.Equal(may, want[name]) {
			t.Errorf("the row of %s says that it may import %v, and what holds is %v", name, may, want[name])
		}
	}
}

// documented reads the table: what each package may import.
func documented(t *testing.T) map[string]map[string]bool {
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	spell := map[string]string{"all": "*", "nothing": "", "hash functions": ""}
	rows := map[string]map[string]bool{}
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(line, "|")
		if len(columns) != 5 || !strings.HasPrefix(columns[1], " `") {
			continue
		}
		may := map[string]bool{}
		for what := range strings.SplitSeq(strings.Trim(columns[3], " "), ", ") {
			what = strings.Trim(what, "`")
			if short, ok := spell[what]; ok {
				what = short
			}
			if what != "" {
				may[what] = true
			}
		}
		rows[strings.Trim(columns[1], " `")] = may
	}
	if len(rows) == 0 {
		t.Fatal("the table was not found")
	}
	return rows
}

// rowOf returns the row that a package belongs to: its own, or that of the
// nearest package above it.
func rowOf(rows map[string]map[string]bool, name string) string {
	for ; name != "."; name = path.Dir(name) {
		if _, ok := rows[name]; ok {
			return name
		}
	}
	return ""
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
