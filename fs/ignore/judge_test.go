package ignore_test

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fstree/fstree/fs/ignore"
)

var (
	judgePairs = flag.Int("judge.pairs", 30_000, "compare this many random pairs of rules and path with git")
	judgeSeed  = flag.Uint64("judge.seed", 1, "seed of the random pairs")
)

const pathsPerFile = 60

func TestGitAgreesOnRandomRules(t *testing.T) {
	j := newJudge(t)
	rng := rand.New(rand.NewPCG(*judgeSeed, 0))
	crosses := j.crossesStarsAfterPrefix()
	var ignored, pairs int
	for pairs < *judgePairs {
		d := dialects[rng.IntN(len(dialects))]
		lines := d.randomLines(rng)
		if !crosses {
			lines = withoutStarsAfterPrefix(lines)
		}
		text := joinLines(rng, lines)
		paths := make([]string, pathsPerFile)
		for i := range paths {
			paths[i] = d.randomPath(rng, lines)
		}
		ignored += j.compare(text, paths, randomDirs(rng, paths))
		pairs += len(paths)
		if t.Failed() {
			t.Fatalf("after %d pairs", pairs)
		}
	}
	if ignored < pairs/8 || ignored > pairs*7/8 {
		t.Errorf("git ignored %d of %d paths: the random pairs prove little", ignored, pairs)
	}
	t.Logf("%d pairs, %d of them ignored", pairs, ignored)
}

func TestGitAgreesOnEveryByte(t *testing.T) {
	j := newJudge(t)
	var names []string
	for b := range 256 {
		if name := string([]byte{byte(b)}); validPath(name) {
			names = append(names, name)
		}
	}
	rules := []string{"?", "[!a]", "[^\x80-\xff]", "[ -~]", "[]-a]", "[--0]", "[!-.]", `[\--\]]`, "[[:alpha:]-z]"}
	for _, class := range strings.Fields("alnum alpha blank cntrl digit graph lower print punct space upper xdigit Alpha word") {
		rules = append(rules, "[[:"+class+":]]", "[![:"+class+":]]")
	}
	for _, rule := range rules {
		j.compare(rule+"\n", names, nil)
	}
	for _, name := range names {
		j.compare(name, []string{name, name + "a"}, nil)
	}
}

// The hand-written tests are judged too, lest they state a wrong belief.
func TestGitAgreesOnTheRules(t *testing.T) {
	j := newJudge(t)
	crosses := j.crossesStarsAfterPrefix()
	for _, tt := range ruleTests {
		if tt.promise == starsAfterPrefixPromise && !crosses {
			continue
		}
		var paths []string
		dirs := make(map[string]bool)
		for path := range strings.SplitSeq(tt.ignored+"|"+tt.kept, "|") {
			path, isDir := strings.CutSuffix(path, "/")
			if validPath(path) {
				paths = append(paths, path)
				dirs[path] = isDir
			}
		}
		j.compare(tt.rules, paths, dirs)
	}
	j.compare(everyday, everydayPaths(200), nil)
}

// judge asks git check-ignore.
type judge struct {
	*testing.T
	scratch string
}

func newJudge(t *testing.T) judge {
	t.Helper()
	scratch := t.TempDir()
	if dir, err := os.MkdirTemp("/dev/shm", "ignore"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		scratch = dir
	}
	j := judge{t, scratch}
	if out, err := j.git("init", "-q", "--template=").CombinedOutput(); err != nil {
		t.Fatalf("this test needs git: %v\n%s", err, out)
	}
	return j
}

// git prepares a command that sees no configuration but that of its own
// repository, and a work tree beside it.
func (j judge) git(args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = j.scratch
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + j.scratch, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_DIR=" + filepath.Join(j.scratch, "repo"), "GIT_WORK_TREE=" + j.tree(),
	}
	return cmd
}

func (j judge) tree() string { return filepath.Join(j.scratch, "tree") }

// compare reports every path on which git and the matcher differ, and returns
// how many paths git ignores.
func (j judge) compare(text string, paths []string, dirs map[string]bool) (ignored int) {
	j.Helper()
	m := ignore.Parse([]byte(text))
	for i, rule := range j.ask(text, paths, dirs) {
		path := paths[i]
		want := rule != "" && !strings.HasPrefix(rule, "!")
		if got := m.Ignored(path, dirs[path]); got != want {
			j.Errorf("Ignored(%q, %v) = %v, but git's answer is rule %q of %q", path, dirs[path], got, rule, text)
		}
		if want {
			ignored++
		}
	}
	return ignored
}

// ask returns, for each path, the rule that git finds to decide it. Git looks
// into the file system to learn which paths are directories; what is not there
// counts as a file.
func (j judge) ask(text string, paths []string, dirs map[string]bool) []string {
	j.Helper()
	if err := os.Mkdir(j.tree(), 0o777); err != nil {
		j.Fatal(err)
	}
	defer os.RemoveAll(j.tree())
	for dir, isDir := range dirs {
		if !isDir {
			continue
		}
		if err := os.MkdirAll(filepath.Join(j.tree(), dir), 0o777); err != nil {
			j.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(j.tree(), ".gitignore"), []byte(text), 0o666); err != nil {
		j.Fatal(err)
	}

	cmd := j.git("check-ignore", "-z", "-v", "-n", "--no-index", "--stdin")
	cmd.Dir = j.tree()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	// A colon at the start of a bare path would have a meaning of its own.
	cmd.Stdin = strings.NewReader("./" + strings.Join(paths, "\x00./") + "\x00")
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() > 1 || stderr.Len() > 0 {
		j.Fatalf("git check-ignore: %v\n%s\nrules %q, paths %q", err, stderr.Bytes(), text, paths)
	}

	const source, pattern, name, fields = 0, 2, 3, 4
	answer := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(answer) != fields*len(paths) {
		j.Fatalf("git check-ignore gave %d fields for %d paths", len(answer), len(paths))
	}
	rules := make([]string, len(paths))
	for i := range rules {
		row := answer[i*fields:]
		if row[name] != "./"+paths[i] || (row[source] == "") != (row[pattern] == "") {
			j.Fatalf("git check-ignore gave %q for %q", row[:fields], paths[i])
		}
		rules[i] = row[pattern]
	}
	return rules
}

// crossesStarsAfterPrefix tells whether git lets the stars of "/a**/b" cross
// slashes. It did before version 2.52, and so does the matcher. With a newer git
// there is no judge for such rules, and the tests leave them out.
func (j judge) crossesStarsAfterPrefix() bool {
	return j.ask("/a**/b", []string{"ab"}, nil)[0] != ""
}

var starsAfterPrefix = regexp.MustCompile(`^(?s:[^*?\[\\]*[^*?\[\\/]\*\*+(/|\\/|[ \r\x00]|$))`)

func withoutStarsAfterPrefix(lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool {
		return starsAfterPrefix.MatchString(strings.TrimPrefix(line, "!"))
	})
}

// dialect is a way to write random patterns and paths. The letters are few, so
// that patterns and paths often meet.
type dialect struct {
	tokens   []string // what patterns are made of
	longest  int      // pattern, in tokens
	alphabet string   // what paths are made of
}

var dialects = []*dialect{
	{ // everything, legal or not
		tokens: []string{
			"a", "a", "a", "b", "b", "c", "ab", "A", "-", ".", "..", "\x80", "\xff", "é",
			"/", "/", "/", "/", "*", "*", "*", "**", "**/", "/**", "/**/", "***", "?", "?",
			`\`, `\a`, `\*`, `\/`, `\[`, `\]`, `\\`, `\?`, `\ `, `\!`, `\#`, "!", "#", "^", ":",
			" ", " ", "\t", "\r", "\x00", "\v",
			"[", "]", "[!", "[^", "[]", "[a-c]", "[!a]", "[^b]", "[b-]", "[]a]", "[a", "-c]", "[/]", "[a/b]",
			"[\x7f-\xff]", "[!\x01-a]", `[\]]`, `[\a-c]`, "[[:alpha:]]", "[![:punct:]]", "[[:digit:]a]",
			"[[:space:]b]", "[[:", ":]", "[:", "[[:bad:]]", "[[:a]", "[[:upper:]-c]", "[--/]", "[c-a]",
		},
		longest:  6,
		alphabet: "aaaaabbbccA//// .-*?[]!#\\^:\t\r\v\x01\x7f\x80\xc3\xa9\xff",
	},
	{ // legal patterns
		tokens:   []string{"a", "a", "b", "c", "/", "/", "*", "*", "?", "**/", "/**/", "/**", "[ab]", "[!a]", `\b`, "ab", "**"},
		longest:  6,
		alphabet: "aaaabbbcc///. ",
	},
	{ // many wildcards, for which there are many ways to match
		tokens:   []string{"a", "a", "b", "*", "*", "?", "/", "/", "/", "**/", "/**/", "/**", `**\/`, "[ab]"},
		longest:  14,
		alphabet: "aaab//",
	},
	{ // bytes in brackets
		tokens:   []string{"[", "[", "]", "]", "!", "^", "-", "-", "a", "c", "[:", ":]", "[:alnum:]", `\`, `\]`, "b", "/", "*", "[a-", "[[:"},
		longest:  9,
		alphabet: "abc[]-:!^\\",
	},
}

func pick(rng *rand.Rand, from []string) string { return from[rng.IntN(len(from))] }

func (d *dialect) randomLines(rng *rand.Rand) []string {
	lines := make([]string, 1+rng.IntN(6))
	for i := range lines {
		lines[i] = d.randomLine(rng)
	}
	return lines
}

func (d *dialect) randomLine(rng *rand.Rand) string {
	var line strings.Builder
	if rng.IntN(4) == 0 {
		line.WriteString(pick(rng, []string{"!", "!", "!", "#", `\!`, `\#`, " ", "!!", "!/"}))
	}
	if rng.IntN(5) == 0 {
		line.WriteByte('/')
	}
	for range 1 + rng.IntN(d.longest) {
		line.WriteString(pick(rng, d.tokens))
	}
	if rng.IntN(4) == 0 {
		line.WriteString(pick(rng, []string{"/", "/", "/", " ", "  ", `\ `, `\\ `, "/ ", "\t", "/*", "\r", " \r"}))
	}
	return line.String()
}

// joinLines makes the text of an ignore file, now and then with a byte order
// mark, other line ends, or no newline at the end.
func joinLines(rng *rand.Rand, lines []string) string {
	end := "\n"
	if rng.IntN(5) == 0 {
		end = "\r\n"
	}
	text := strings.Join(lines, end)
	if rng.IntN(3) > 0 {
		text += end
	}
	if rng.IntN(10) == 0 {
		text = "\xef\xbb\xbf" + text
	}
	return text
}

// randomDirs makes directories of about half of the paths, and so of those
// above them.
func randomDirs(rng *rand.Rand, paths []string) map[string]bool {
	dirs := make(map[string]bool)
	for _, path := range paths {
		if rng.IntN(2) == 0 {
			continue
		}
		for path != "." && !dirs[path] {
			dirs[path] = true
			path = filepath.Dir(path)
		}
	}
	return dirs
}

// randomPath is mostly one that a rule may match, or nearly so.
func (d *dialect) randomPath(rng *rand.Rand, lines []string) string {
	for {
		var path string
		if len(lines) > 0 && rng.IntN(4) > 0 {
			path = d.distort(rng, d.example(rng, pick(rng, lines)))
		} else {
			path = d.randomText(rng, 8)
		}
		if path = cleanPath(path); validPath(path) {
			return path
		}
	}
}

// example replaces the wildcards of a pattern by text that may fit them.
func (d *dialect) example(rng *rand.Rand, line string) string {
	line = strings.TrimPrefix(strings.TrimRight(line, " \r"), "!")
	var path strings.Builder
	for line != "" {
		switch {
		case strings.HasPrefix(line, "**/"):
			path.WriteString(pick(rng, []string{"", "a/", "b/a/", "c", "/"}))
			line = line[2:]
		case strings.HasPrefix(line, "**"):
			path.WriteString(pick(rng, []string{"", "a", "b/a", "c/"}))
			line = line[1:]
		case line[0] == '*':
			path.WriteString(pick(rng, []string{"", "a", "b", "ab", "cc", "/"}))
		case line[0] == '?':
			path.WriteString(d.randomText(rng, 1))
		case line[0] == '[':
			end := 1 + strings.IndexByte(line[1:], ']')
			if rng.IntN(8) == 0 || end == 0 {
				path.WriteByte('[')
				break
			}
			path.WriteString(pick(rng, append(strings.Split(line[1:end+1], ""), "a", "b", "c", "1", "Z", "\x80", "]")))
			line = line[end:]
		case line[0] == '\\' && len(line) > 1 && rng.IntN(8) > 0:
			path.WriteByte(line[1])
			line = line[1:]
		default:
			path.WriteByte(line[0])
		}
		line = line[1:]
	}
	return path.String()
}

func (d *dialect) distort(rng *rand.Rand, path string) string {
	at := rng.IntN(len(path) + 1)
	switch rng.IntN(12) {
	case 0:
		return "a/" + path
	case 1:
		return d.randomText(rng, 3) + "/" + path
	case 2:
		return path + "/a"
	case 3:
		return path + "/" + d.randomText(rng, 3)
	case 4:
		return path + d.randomText(rng, 1)
	case 5:
		return path[:at]
	case 6:
		return path[at:]
	case 7:
		return path[:at] + d.randomText(rng, 2) + path[at:]
	case 8:
		return path[:at] + path[min(at+1, len(path)):]
	default:
		return path
	}
}

func (d *dialect) randomText(rng *rand.Rand, longest int) string {
	text := make([]byte, 1+rng.IntN(longest))
	for i := range text {
		text[i] = d.alphabet[rng.IntN(len(d.alphabet))]
	}
	return string(text)
}

// cleanPath drops what cannot stand in a path: empty names and zero bytes.
func cleanPath(path string) string {
	var names []string
	for name := range strings.SplitSeq(strings.ReplaceAll(path, "\x00", ""), "/") {
		if name != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, "/")
}

func validPath(path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".", "..", ".git", ".gitignore", "\x00":
			return false
		}
	}
	return true
}
