package mount

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/tree"
)

// sizedStore is a store that claims sizes.
type sizedStore struct {
	*faulty
	size int64
}

func (s sizedStore) Sizes(_ context.Context, ds []cas.Digest) ([]int64, error) {
	sizes := make([]int64, len(ds))
	for i := range sizes {
		sizes[i] = s.size
	}
	return sizes, nil
}

func TestAutoPassesThroughFewLargeFiles(t *testing.T) {
	files := func(n int) (entries []tree.Entry) {
		for i := range n {
			entries = append(entries, tree.Entry{Name: fmt.Sprintf("%03d", i), Type: tree.File, Perm: 0o644, Digest: cas.Sum([]byte{byte(i)})})
		}
		return entries
	}
	link := tree.Entry{Name: "latest", Type: tree.Symlink, Perm: 0o777, Target: "000"}
	dir := tree.Entry{Name: "sub", Type: tree.Dir, Perm: 0o755, Digest: cas.Sum([]byte("\xee\x3e\x01\x00"))}
	for name, test := range map[string]struct {
		entries []tree.Entry
		size    int64
		want    bool
	}{
		"one large file":        {files(1), largeFiles, true},
		"few large files":       {append(files(fewFiles), link), largeFiles, true},
		"smaller files":         {files(3), largeFiles - 1, false},
		"many large files":      {files(fewFiles + 1), largeFiles, false},
		"a deeper directory":    {append(files(3), dir), largeFiles, false},
		"files of unknown size": {files(3), -1, false},
		"nothing":               {nil, largeFiles, false},
		"a link":                {[]tree.Entry{link}, largeFiles, false},
	} {
		far := newFaulty()
		root, err := far.storeTree(test.entries)
		if err != nil {
			t.Fatal(err)
		}
		shared, end := newShared(sizedStore{far, test.size}, Options{}.complete(""))
		fs := newFileSystem(shared, root, 0)
		if err := fs.prepare(t.Context()); err != nil || fs.passthrough != test.want {
			t.Errorf("%s: %v, %v; want %v", name, fs.passthrough, err, test.want)
		}
		end()
		fs.close()
		shared.close()
	}
}

func TestAutoModeIsTold(t *testing.T) {
	large := t.TempDir()
	if err := os.WriteFile(large+"/image", make([]byte, largeFiles), 0o644); err != nil {
		t.Fatal(err)
	}
	small := write(t, map[string]string{"file": "x"})
	for source, want := range map[string]Mode{large: ModePassthrough, small: ModeCached} {
		m := mountChild(t, childOptions{Source: source, Cached: true, Near: t.TempDir()})
		if err := compareTrees(source, m.dir); err != nil {
			t.Error(err)
		}
		if got := m.tell("mode"); got != want.String() {
			t.Errorf("mode %s, want %s", got, want)
		}
	}
}
