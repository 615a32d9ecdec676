package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/fs/worktree"
)

func TestLsTreeReadsMinusRBothWays(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"ls-tree -r DIGEST", "ls-tree -R DIGEST"},
		{"ls-tree -rl DIGEST", "ls-tree -Rl DIGEST"},
		{"ls-tree -l -r DIGEST", "ls-tree -l -R DIGEST"},
		{"ls-tree DIGEST -r", "ls-tree DIGEST -R"},
		{"-r http://host ls-tree DIGEST", "-r http://host ls-tree DIGEST"},
		{"ls-tree -r jolt://host:1 DIGEST -r", "ls-tree -r jolt://host:1 DIGEST -R"},
		{"ls-tree -- -r", "ls-tree -- -r"},
		{"push -r http://host DIGEST", "push -r http://host DIGEST"},
		{"push -r host", "push -r host"},
	} {
		if got := strings.Join(disambiguate(strings.Fields(test.in)), " "); got != test.want {
			t.Errorf("%q became %q, want %q", test.in, got, test.want)
		}
	}
}

func TestSizesAndTimes(t *testing.T) {
	for in, want := range map[string]byteSize{"0": 0, "1024": 1024, "10GiB": 10 << 30, "500MB": 500_000_000, "1 KiB": 1024} {
		var got byteSize
		if err := got.UnmarshalText([]byte(in)); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", in, got, err, want)
		}
	}
	for in, want := range map[string]seconds{"0": 0, "3600": seconds(time.Hour), "90m": seconds(90 * time.Minute)} {
		var got seconds
		if err := got.UnmarshalText([]byte(in)); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "huge", "-1", "-1h", "99999999999999999999"} {
		var b byteSize
		var s seconds
		if b.UnmarshalText([]byte(in)) == nil || s.UnmarshalText([]byte(in)) == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}

func TestEventsAreAlwaysOneLineOfJSON(t *testing.T) {
	var out bytes.Buffer
	a := &app{JSON: true, stderr: &out}
	paths := []string{"plain", "new\nline", "\xff\xfe", "<&>", `quote"back\slash`}
	for _, path := range paths {
		a.emit(event{Type: "cache::add", Path: path})
	}
	lines := slices.Collect(strings.Lines(out.String()))
	if len(lines) != len(paths) {
		t.Fatalf("%d lines, want %d", len(lines), len(paths))
	}
	for i, line := range lines {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if want := strings.ToValidUTF8(paths[i], "\ufffd"); !strings.HasPrefix(e.Path, want[:min(1, len(want))]) {
			t.Errorf("%q came back as %q", paths[i], e.Path)
		}
	}
}

func TestErrorsStayOnOneLine(t *testing.T) {
	if got := oneLine("a\nb\r"); got != "a; b" {
		t.Errorf("got %q", got)
	}
}

func TestCheckoutIntoTheWholeSystemTakesForce(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	for _, dir := range []string{"/", "//", "/usr/..", "/proc/self/root", home(), home() + "/."} {
		var c target
		c.Dir = dir
		if err := c.permitted(t.Context(), &app{}, nil, cas.Digest{}, worktree.CheckoutOptions{}); err == nil {
			t.Errorf("%s was permitted", dir)
		}
		c.Force = true
		if err := c.permitted(t.Context(), &app{}, nil, cas.Digest{}, worktree.CheckoutOptions{}); err != nil {
			t.Errorf("%s with --force: %v", dir, err)
		}
	}
}
