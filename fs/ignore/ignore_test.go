package ignore_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fstree/fstree/fs/ignore"
)

const starsAfterPrefixPromise = "double stars after a rooted literal cross slashes, as in git before 2.52"

var ruleTests = []struct {
	promise string
	rules   string
	ignored string // paths between bars; a slash at the end marks a directory
	kept    string
}{
	{"an empty file ignores nothing", "", "", "a|a/b|.fstreeignore"},
	{"blank lines mean nothing", "\n\n  \n\r\n\na\n", "a", "b| |\r"},
	{"the last line needs no newline", "a\nb", "a|b", "c"},
	{"a name matches at every depth", "a", "a|x/a|x/y/a|a/", "b|ab|xa|A"},
	{"a number sign begins a comment", "#a\n", "", "a|#a"},
	{"a number sign elsewhere does not", "a#b\n #c", "a#b| #c", "a"},
	{"an escaped number sign is a name", `\#a`, "#a", "a|\\#a"},

	{"an exclamation mark takes back", "*.o\n!a.o", "b.o|x/b.o", "a.o|x/a.o"},
	{"the last match decides", "!a\na\n!b\nb\n!b", "a", "b"},
	{"only the first mark negates", "!!a\n", "", "!a|a"},
	{"an escaped exclamation mark is a name", `\!a`, "!a", "a"},
	{"nothing comes back from an ignored directory", "d/\n!d/a\n!a", "d/|d/a|d/x/a", "a"},
	{"a directory's content can be ignored in part", "/d/*\n!/d/a", "d/b|d/b/a", "d/|d/a"},

	{"spaces at the end are dropped", "a   \nb \t\n", "a|b \t", "a   |b"},
	{"an escaped space at the end stays", "a\\ \nb\\   \nc\\\\ ", "a |b |c\\", "a|b|b   |c\\ "},
	{"spaces inside and before stay", " a b", " a b", "a b|ab"},
	{"tabs stay", "a\t\n\tb", "a\t|\tb", "a|b"},
	{"lines may end as on Windows", "a\r\nb/\r\n!c\r\nd\r", "a|b/|d", "b|c|a\r|d\r"},
	{"one carriage return belongs to the line's end", "a\r\r\nb\rc\n", "a\r|b\rc", "a|a\r\r"},
	{"a space before a Windows line end is dropped", "a \r\nb \r\r\n", "a|b \r", "a |b"},
	{"a byte order mark at the start is skipped", "\xef\xbb\xbfa\n\xef\xbb\xbfb", "a|\xef\xbb\xbfb", "b|\xef\xbb\xbfa"},
	{"a comment may follow the byte order mark", "\xef\xbb\xbf#a\nb", "b", "#a|a"},
	{"a line ends at a zero byte", "a\x00b\n\x00c\n", "a", "b|c|ab"},

	{"a slash at the end asks for a directory", "a/", "a/|x/a/|a/b", "a|x/a"},
	{"a slash at the start means the root", "/a", "a|a/b", "x/a"},
	{"a slash inside means the root", "a/b\nx/y/", "a/b|a/b/c|x/y/", "z/a/b|x/y|b"},
	{"slashes at both ends do too", "/a/", "a/|a/b", "a|x/a/"},
	{"an escaped slash is a slash", `a\/b`, "a/b", "x/a/b|ab"},
	{"slashes alone match nothing", "/\n//\n///\n!\n!/", "", "a|a/|a/b"},
	{"two slashes match nothing", "a//b\n//c\nd//", "", "a/b|c|d/|d"},

	{"a star takes any bytes but a slash", "a*z\n/x/*/y", "az|abz|a\xffz|x/b/y", "a/z|x/y|x/b/c/y|abzc"},
	{"a star takes a leading dot", "*a", "a|.a|ba|b/.a", "ab"},
	{"a star alone takes all", "*", "a|.a|x/", ""},
	{"several stars take what each can", "*a*b*", "ab|xaybz|aab", "ba|a|b"},
	{"a question mark takes one byte but a slash", "a?b\n/x?y", "acb|a\xe9b|x?y", "ab|a/b|x/y|a\xc3\xa9b|accb"},
	{"question marks and stars together", "??*?", "abc|abcd", "ab|a"},

	{"two stars before a slash take any directories", "**/a\n**/b/c", "a|x/a|x/y/a|b/c|x/b/c", "ab|xb/c"},
	{"two stars after a slash take everything inside", "a/**", "a/b|a/b/c", "a/|a|x/a/b"},
	{"two stars between slashes take any directories", "a/**/b", "a/b|a/x/b|a/x/y/b", "ab|a/xb|x/a/b"},
	{"they may stand several times", "a/**/b/**/c", "a/b/c|a/x/b/y/z/c|a/b/b/c", "a/c|a/b|a/c/b"},
	{"other double stars are single ones", "/x/a**b\n**c\nd**", "x/ab|x/axb|c|xc|d|dx|y/d", "x/a/b|ce"},
	{starsAfterPrefixPromise, "/a**/b\nx/y**", "ab|a/b|ac/d/b|x/yz/z|x/y", "acb|a/c|x/z"},
	{"three stars are two", "a/***/b\n***/c", "a/b|a/x/y/b|c|x/c", "ab"},
	{"an escaped slash after two stars must be there", `**\/a`, "x/a|x/y/a", "a"},
	{"two stars alone take all", "**", "a|a/b|.a", ""},

	{"a bracket takes one of its bytes", "[ab]c", "ac|bc", "cc|c|abc|[ab]c"},
	{"ranges", "[a-c0-9]\n[\x80-\xff]x", "a|b|c|5|\x80x|\xffx", "d|-|ax"},
	{"ranges the wrong way hold no more than their start", "[c-a]", "c", "a|b|-"},
	{"a dash at an edge is a dash", "[a-]\n[-b]\n[!-z]x", "a|-|b|ax", "c|-x|zx"},
	{"a dash after a range is a dash", "[a-c-e]", "a|b|c|-|e", "d"},
	{"brackets may be negated", "[!a]\n[^b]x", "b|]|\xff|ax|]x", "a|bx|ab"},
	{"a negated bracket takes no slash", "/a[!b]c", "axc", "a/c|abc"},
	{"a bracket with a slash makes the rule a rooted one", "a[/]b\nc[x/]d", "cxd", "a/b|ab|c/d|x/cxd"},
	{"a closing bracket comes first", "[]a]\n[!]b]x", "]|a|ax", "b|]x|bx|[]a]"},
	{"escapes work in brackets", `[\]]` + "\n" + `[a\-c]x` + "\n" + `[\a-\c]y`, "]|ax|-x|cx|by", `\|bx|\x|dy`},
	{"classes", "[[:digit:]]\n[[:upper:]x]a\n[![:space:]]b", "1|Za|xa|cb", "a|za| b|\tb"},
	{"classes are of ASCII", "[[:alpha:]]\n[[:punct:]]a", "a|_a|~a", "\xe9|\xc9|aa"},
	{"a class does not begin a range", "[[:digit:]-z]", "1|-|z", "x"},
	{"an unfinished class is a bracket", "[[:a]", "[|:|a", "[:|b"},

	{"a backslash takes the next byte as it is", `\a\*\?\[\\`, `a*?[\`, `ab?[\`},
	{"a backslash at the end matches nothing", "a\\\nb\\/", "", `a|a\|b/|b\/`},
	{"an open bracket matches nothing", "a[\n[!b\n[]\n[c\\\nd[e/", "", `a|a[|[!b|[]|x|[c\|d[e/`},
	{"an unknown class matches nothing", "[[:x:]a]\n[[:ALPHA:]b]\n[[::]c]", "", "x|a|b|c|[|:"},
	{"a bad line leaves the others alone", "[\na\n\\\n!b[\n", "a", "[|b"},

	{"the root is never ignored", "*\n**\n.\n/*", "a", "|."},
}

func TestRules(t *testing.T) {
	for _, tt := range ruleTests {
		t.Run(tt.promise, func(t *testing.T) {
			m := ignore.Parse([]byte(tt.rules))
			check(t, m, tt.ignored, true)
			check(t, m, tt.kept, false)
		})
	}
}

func check(t *testing.T, m *ignore.Matcher, paths string, want bool) {
	t.Helper()
	for path := range strings.SplitSeq(paths, "|") {
		path, isDir := strings.CutSuffix(path, "/")
		if path == "" && want {
			continue // the list is empty
		}
		if got := m.Ignored(path, isDir); got != want {
			t.Errorf("Ignored(%q, %v) = %v, want %v", path, isDir, got, want)
		}
	}
}

func TestMatchLooksAtThePathAlone(t *testing.T) {
	m := ignore.Parse([]byte("d/\n!d/a\n"))
	if !m.Match("d", true) || m.Match("d", false) || m.Match("d/a", false) || m.Match("d/b", false) {
		t.Error("Match looked at a parent")
	}
	if !m.Ignored("d/a", false) || !m.Ignored("d/b", false) {
		t.Error("Ignored did not look at a parent")
	}
}

func TestNoRulesIgnoreNothing(t *testing.T) {
	for _, m := range []*ignore.Matcher{nil, {}, ignore.Parse(nil)} {
		if m.Match("a", false) || m.Ignored("a/b", true) {
			t.Error("a matcher without rules ignored something")
		}
	}
}

func TestParseDoesNotKeepTheText(t *testing.T) {
	text := []byte("abc")
	m := ignore.Parse(text)
	copy(text, "xyz")
	if !m.Match("abc", false) {
		t.Error("the rules changed with the text")
	}
}

// hostile are pairs that make a matcher slow if it tries every way to share a
// path among its wildcards, or a parser that looks ahead from every byte.
func hostile() map[string]struct{ rules, path string } {
	const size = 4000
	as := strings.Repeat("a", size)
	dirs := strings.Repeat("a/", size/2) + "a"
	return map[string]struct{ rules, path string }{
		"stars":          {strings.Repeat("*a", 100) + "*[b]", as},
		"stars and sets": {strings.Repeat("*[ab]", 100) + "*[c]", as},
		"one long set":   {"*" + strings.Repeat("?", size/2) + "b*", as},
		"double stars":   {strings.Repeat("**/a/", 100) + "[b]", dirs},
		"both":           {strings.Repeat("**/*a*/*a/", 100) + "*[b]", dirs},
		"deep ends":      {strings.Repeat("**/?/", 100) + "?[!a]", dirs},
		"many stars":     {strings.Repeat("*", 1<<20) + "[b]", as},
		"long pattern":   {strings.Repeat("*a?", 1<<18) + "[b]", as},
		"open classes":   {"[" + strings.Repeat("[:", 1<<19) + "]", as},
		"many backslash": {strings.Repeat(`\a`, 1<<19) + "[b]", as},
	}
}

func TestHostileRulesTakeBoundedTime(t *testing.T) {
	for name, h := range hostile() {
		start := time.Now()
		m := ignore.Parse([]byte(h.rules))
		parsed := time.Since(start)
		m.Match(h.path, false)
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("%s: %v, of it parsing %v", name, d, parsed)
		}
	}
}

func FuzzIgnored(f *testing.F) {
	f.Add([]byte("*.o\n!/a/**/b.o\nd/\n"), "a/x/b.o", false)
	f.Add([]byte("[[:alpha:]a-z]\\ \r\n**\\/x"), "q/x", true)
	f.Add([]byte("*a*a*a*a*a*b\n**/a/**/a/**/b"), strings.Repeat("a/", 50)+"a", false)
	f.Fuzz(func(t *testing.T, text []byte, path string, isDir bool) {
		start := time.Now()
		m := ignore.Parse(text)
		got := m.Ignored(path, isDir)
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("took %v", d)
		}

		want := m.Match(path, isDir)
		if i := strings.LastIndexByte(path, '/'); i >= 0 {
			want = want || m.Ignored(path[:i], true)
		}
		if got != want {
			t.Errorf("Ignored = %v, but its parents and Match say %v", got, want)
		}

		if !bytes.Contains(text, []byte("\r")) {
			windows := ignore.Parse(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")))
			if windows.Ignored(path, isDir) != got {
				t.Error("another answer with carriage returns")
			}
		}
	})
}

// everyday is an ignore file such as projects have.
const everyday = `# build
/bin/
/dist/
/build/
target/
node_modules/
__pycache__/
*.o
*.a
*.so
*.so.*
*.py[cod]
*.class
*.test
*.prof
*.out
!important.out
.venv/
.env
.env.*
!.env.example
.DS_Store
Thumbs.db
*~
.*.sw?
\#*#
coverage/
*.log
logs/**/*.gz
docs/**/_build/
**/testdata/*.golden
/third_party/*/src
!/third_party/own/src
.idea/
.vscode/*
!.vscode/settings.json
tmp*
*.tmp
cmake-build-*/
[Dd]ebug/
`

// everydayPaths are the files of a large tree.
func everydayPaths(n int) []string {
	dirs := []string{"cmd/server", "internal/store/cached", "docs/guide", "third_party/lib/include", "web/src/components"}
	files := []string{"main.go", "store_test.go", "index.html", "README.md", "parser.c", "parser.o", "Button.tsx"}
	paths := make([]string, n)
	for i := range paths {
		paths[i] = fmt.Sprintf("%s/pkg%03d/%d_%s", dirs[i%len(dirs)], i/100, i, files[i%len(files)])
	}
	return paths
}

func TestMatchDoesNotAllocate(t *testing.T) {
	m := ignore.Parse([]byte(everyday))
	paths := everydayPaths(100)
	allocs := testing.AllocsPerRun(10, func() {
		for _, path := range paths {
			m.Match(path, false)
			m.Ignored(path, false)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkMatch(b *testing.B) {
	m := ignore.Parse([]byte(everyday))
	paths := everydayPaths(50_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Match(paths[i%len(paths)], false)
	}
}

func BenchmarkIgnored(b *testing.B) {
	m := ignore.Parse([]byte(everyday))
	paths := everydayPaths(50_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Ignored(paths[i%len(paths)], false)
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ignore.Parse([]byte(everyday))
	}
}

func BenchmarkHostile(b *testing.B) {
	for name, h := range hostile() {
		b.Run(name, func(b *testing.B) {
			m := ignore.Parse([]byte(h.rules))
			for b.Loop() {
				m.Match(h.path, false)
			}
		})
	}
}
