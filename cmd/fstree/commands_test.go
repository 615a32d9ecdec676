package main

import (
	"testing"

	"github.com/alecthomas/kong"
)

func TestParserKnowsTheCommandThatIsAskedForAlone(t *testing.T) {
	all := parserFor(t).Model.Children
	if len(all) < 10 {
		t.Fatalf("there are %d commands only", len(all))
	}
	for _, want := range all {
		got := parserFor(t, want.Name, "--help").Model.Children
		if len(got) != 1 || got[0].Name != want.Name || len(got[0].Flags) != len(want.Flags) || len(got[0].Children) != len(want.Children) {
			t.Errorf("for %s it knows %v, want that alone", want.Name, names(got))
		}
	}
	for _, args := range [][]string{{"--json", "pull"}, {"Pull"}, {"unmount"}, {"nothing"}} {
		if got := parserFor(t, args...).Model.Children; len(got) != len(all) {
			t.Errorf("for %q it knows %v, want all commands", args, names(got))
		}
	}
}

func parserFor(t *testing.T, args ...string) *kong.Kong {
	t.Helper()
	parser, err := newParser(&app{args: args})
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

func names(nodes []*kong.Node) (names []string) {
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}
