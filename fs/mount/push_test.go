package mount

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// smallFiles is a tree of directories with small files in them.
func smallFiles(t *testing.T, dirs, files int) (dir string) {
	t.Helper()
	content := map[string]string{}
	for i := range dirs {
		for j := range files {
			name := fmt.Sprintf("%03d/%03d", i, j)
			content[name] = strings.Repeat(name, 1+1000*(j%4))
		}
	}
	return write(t, content)
}

func TestWhatIsFetchedAheadIsReadWithoutAQuestion(t *testing.T) {
	const dirs, files = 20, 40
	source := smallFiles(t, dirs, files)
	m := prefetched(t, childOptions{Source: source, Cached: true, Options: Options{Prefetch: PrefetchAll}})
	if err := compareTrees(source, m.dir); err != nil {
		t.Fatal(err)
	}
	r := m.report().Stats
	if r.Reads > 2*dirs*files/pushLess {
		t.Errorf("the kernel asked %d times for %d files", r.Reads, dirs*files)
	}
	if r.Objects < dirs*files {
		t.Errorf("%d files are counted of %d", r.Objects, dirs*files)
	}
}

func TestFileOfAWrongSizeIsNotHandedOver(t *testing.T) {
	source := smallFiles(t, 1, 20)
	m := prefetched(t, childOptions{Source: source, Cached: true, Faults: "sizes more", Options: Options{Prefetch: PrefetchAll}})
	names, err := os.ReadDir(m.path("000"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if got, err := os.ReadFile(m.path("000", name.Name())); err == nil {
			t.Errorf("%s: %d bytes of a file whose size is wrong", name.Name(), len(got))
		}
	}
	m.fault("sizes good")
	eventually(t, func() error { return compareTrees(source, m.dir) })
}
