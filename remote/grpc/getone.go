package grpc

import (
	"context"
	"errors"
	"io"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/remote/internal/wire"
)

// getExtended is Get as a batch of one, which tells the size and comes in
// larger pieces. It is errors.ErrUnsupported if the server does not have the
// extension.
func (s *Store) getExtended(ctx context.Context, d cas.Digest) (cas.Object, error) {
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	b, err := s.startBatch(ctx, dog, []cas.Digest{d})
	if err != nil {
		dog.Stop()
		return nil, err
	}
	ask(b.stream, b.ds)
	o, whole, err := b.only()
	if whole || err != nil {
		b.close()
		return o, err
	}
	return &single{Object: o, batch: b}, nil
}

// only returns the object of a batch of one, and whether all of it is here.
func (b *batchReader) only() (o cas.Object, whole bool, err error) {
	in, err := b.next()
	if b.unsupported {
		return nil, false, errors.ErrUnsupported
	}
	if err != nil {
		return nil, false, err
	}
	if in.Whole || in.Failed != nil {
		b.finish()
	}
	o, err = b.open(in)
	return o, in.Whole, err
}

// finish waits for the end of a call that has nothing more to say. A proxy on
// the way could take offence at calls that are broken off.
func (b *batchReader) finish() { b.unpacker.Next() }

// single is an object that owns its batch of one.
type single struct {
	cas.Object
	batch *batchReader
}

func (o *single) Read(p []byte) (int, error) {
	n, err := o.Object.Read(p)
	if err == io.EOF {
		o.batch.finish()
	}
	return n, err
}

func (o *single) Close() error {
	err := o.Object.Close()
	o.batch.close()
	return err
}
