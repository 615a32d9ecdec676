package grpc

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/internal/wire"
)

// hasBatch bounds the digests of one HasObject, well below 4 MiB.
const hasBatch = 1000

// maxMissing bounds what one HasTree may report, and so the memory that a
// server can make us use.
const maxMissing = 16 << 20

// Has tells which of ds the server holds.
func (s *Store) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	present := make([]bool, len(ds))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(s.opt.Parallel)
	for start := 0; start < len(ds); start += hasBatch {
		end := min(start+hasBatch, len(ds))
		group.Go(func() error { return s.hasSome(groupCtx, ds[start:end], present[start:end]) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return present, nil
}

func (s *Store) hasSome(ctx context.Context, ds []cas.Digest, present []bool) error {
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	defer dog.Stop()
	response, err := s.client.HasObject(ctx, &pb.HasObjectRequest{Digest: texts(ds)})
	if err != nil {
		return s.fail(ctx, cas.Digest{}, err)
	}
	if len(response.Present) != len(ds) {
		return fmt.Errorf("%s: %d answers to %d questions", s.url, len(response.Present), len(ds))
	}
	copy(present, response.Present)
	return nil
}

func texts(ds []cas.Digest) []string {
	texts := make([]string, len(ds))
	for i, d := range ds {
		texts[i] = d.String()
	}
	return texts
}

// FindMissing tells what the server lacks of the closures of roots, each digest
// once, in pieces as they arrive. The server walks the closures; below a tree
// that it lacks nothing is known. report is called from one goroutine; its
// error ends the call and is returned.
func (s *Store) FindMissing(ctx context.Context, roots []cas.Digest, report func(trees, files []cas.Digest) error) error {
	// Whoever asks what is missing may be about to send it, which begins with
	// this question; a failure is then told again.
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { s.extended(ctx) })
	m := missing{roots: roots, seen: map[cas.Digest]struct{}{}}
	for batch := range slices.Chunk(roots, hasBatch) {
		if err := s.findSome(ctx, batch, &m, report); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) findSome(ctx context.Context, roots []cas.Digest, m *missing, report func(trees, files []cas.Digest) error) error {
	ctx, dog := wire.Watch(ctx, s.opt.Timeout)
	defer dog.Stop()
	stream, err := s.client.HasTree(ctx, &pb.HasTreeRequest{Digest: texts(roots)})
	if err != nil {
		return s.fail(ctx, cas.Digest{}, err)
	}
	for {
		dog.Wake()
		response, err := stream.Recv()
		dog.Sleep()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return s.fail(ctx, cas.Digest{}, err)
		}
		trees, err := m.news(response.MissingTrees)
		if err != nil {
			return s.named(err)
		}
		files, err := m.news(response.MissingObjects)
		if err != nil {
			return s.named(err)
		}
		if len(trees)+len(files) == 0 {
			continue
		}
		if err := report(trees, files); err != nil {
			return err
		}
	}
}

// missing reads the answers of a server that repeats itself.
type missing struct {
	roots []cas.Digest
	seen  map[cas.Digest]struct{}
}

// news returns the digests of texts that were not there before.
func (m *missing) news(texts []string) ([]cas.Digest, error) {
	ds := make([]cas.Digest, 0, len(texts))
	for _, text := range texts {
		d, err := m.parse(text)
		if err != nil {
			return nil, err
		}
		if _, ok := m.seen[d]; ok {
			continue
		}
		if len(m.seen) == maxMissing {
			return nil, fmt.Errorf("more than %d objects are said to be missing", maxMissing)
		}
		m.seen[d] = struct{}{}
		ds = append(ds, d)
	}
	return ds, nil
}

// parse reads a digest. Old servers leave the algorithm out when they name a
// root that they lack.
func (m *missing) parse(text string) (cas.Digest, error) {
	if !strings.Contains(text, ":") {
		for _, root := range m.roots {
			if strings.EqualFold(root.Hex(), text) {
				return root, nil
			}
		}
	}
	return cas.ParseDigest(text)
}
