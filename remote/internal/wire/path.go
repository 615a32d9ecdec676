package wire

import (
	"strings"

	"github.com/fstree/fstree/cas"
)

// ObjectPath returns where an HTTP remote keeps d, relative to its base URL:
// the first two characters of the text form, the next six, and everything from
// the seventh on. The last two parts overlap; existing stores are laid out so.
func ObjectPath(d cas.Digest) string {
	text := d.String()
	return text[:2] + "/" + text[2:8] + "/" + text[6:]
}

// ParseObjectPath is the inverse of ObjectPath. It is false for a path that
// ObjectPath does not return.
func ParseObjectPath(path string) (cas.Digest, bool) {
	parts := strings.Split(path, "/")
	if len(parts) != 3 || len(parts[0]) != 2 || len(parts[1]) != 6 {
		return cas.Digest{}, false
	}
	d, err := cas.ParseDigest(parts[0] + parts[1][:4] + parts[2])
	if err != nil || ObjectPath(d) != path {
		return cas.Digest{}, false
	}
	return d, true
}
