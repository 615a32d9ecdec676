package tree

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/fstree/fstree/cas"
)

// Path names something inside a tree: a root and the names that lead from it.
type Path struct {
	Root cas.Digest
	Rest string // slash-separated, without a leading or trailing slash; "" is the root itself
}

// ParsePath reads DIGEST or DIGEST/path/inside.
func ParsePath(text string) (Path, error) {
	digest, rest, _ := strings.Cut(text, "/")
	d, err := cas.ParseDigest(digest)
	return Path{Root: d, Rest: strings.Trim(rest, "/")}, err
}

// UnmarshalText reads the form that ParsePath reads.
func (p *Path) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePath(string(text))
	return err
}

// String returns the form that ParsePath reads.
func (p Path) String() string {
	if p.Rest == "" {
		return p.Root.String()
	}
	return p.Root.String() + "/" + p.Rest
}

// Resolve returns the entry that p leads to. The root itself is an Entry
// without a name. Symlinks are not followed. A name that is not there is
// fs.ErrNotExist.
func Resolve(ctx context.Context, g cas.Getter, p Path) (Entry, error) {
	e := Entry{Type: Dir, Perm: 0o755, Digest: p.Root}
	if p.Rest == "" {
		return e, nil
	}
	for name := range strings.SplitSeq(p.Rest, "/") {
		if e.Type != Dir {
			return Entry{}, fmt.Errorf("%s: %q is a %s, not a directory", p, e.Name, e.Type)
		}
		t, err := Read(ctx, g, e.Digest)
		if err != nil {
			return Entry{}, err
		}
		next, ok := t.Lookup(name)
		if !ok {
			return Entry{}, fmt.Errorf("%s: no entry %q: %w", p, name, fs.ErrNotExist)
		}
		e = next
	}
	return e, nil
}
