package disk

import (
	"io"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
)

// naming makes the name of the bytes that are written to it.
type naming interface {
	io.Writer
	// name returns the name of all size bytes.
	name(size int64) (cas.Digest, error)
}

func newNaming(a cas.Algorithm, out *newOutboard) naming {
	if a == cas.BLAKE3 {
		return &treeNaming{bao.NewHasher(out), out}
	}
	return plainNaming{cas.NewHasher(a)}
}

type plainNaming struct{ *cas.Hasher }

func (n plainNaming) name(int64) (cas.Digest, error) {
	defer n.Release()
	return n.Digest(), nil
}

// treeNaming makes the outboard as well.
type treeNaming struct {
	*bao.Hasher
	out *newOutboard
}

func (n *treeNaming) name(size int64) (cas.Digest, error) {
	n.out.unwanted = size <= rangeThreshold // nothing of it was written yet
	d, _, err := n.Finish()
	return d, err
}

// newOutboard is an outboard on its way. It becomes a file when the first byte
// of it is written, if it is wanted.
type newOutboard struct {
	store    *Store
	temp     *temp
	unwanted bool
}

func (o *newOutboard) WriteAt(p []byte, off int64) (int, error) {
	if o.unwanted {
		return len(p), nil
	}
	if o.temp == nil {
		t, err := o.store.newTemp()
		if err != nil {
			return 0, err
		}
		o.temp = t
	}
	return o.temp.WriteAt(p, off)
}

// file returns the name of the file in tmp/, none if there is none.
func (o *newOutboard) file() string {
	if o.temp == nil {
		return ""
	}
	return o.temp.name
}

func (o *newOutboard) discard() {
	if o.temp != nil {
		o.temp.discard()
	}
}
