package grpc_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	googlegrpc "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/grpc"
)

// jolt has the habits of jolt-cache.
type jolt struct {
	pb.UnimplementedCacheServiceServer
	mu      sync.Mutex
	objects map[string][]byte
}

func (j *jolt) get(digest string) ([]byte, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	data, ok := j.objects[digest]
	return data, ok
}

// parse takes a digest without an algorithm for SHA-1, whatever its length.
func (j *jolt) parse(text string) error {
	algorithm, digits, found := strings.Cut(text, ":")
	if !found {
		algorithm, digits = "sha1", text
	}
	if want := map[string]int{"sha1": 40, "sha256": 64, "blake3": 64}[algorithm]; want == 0 || len(digits) != want {
		return status.Error(codes.InvalidArgument, "Invalid digest")
	}
	return nil
}

func (j *jolt) HasObject(_ context.Context, r *pb.HasObjectRequest) (*pb.HasObjectResponse, error) {
	response := &pb.HasObjectResponse{}
	for _, digest := range r.Digest {
		if err := j.parse(digest); err != nil {
			return nil, err
		}
		_, ok := j.get(digest)
		response.Present = append(response.Present, ok)
	}
	return response, nil
}

// HasTree names absent roots without their algorithm, everything twice, and
// files before trees.
func (j *jolt) HasTree(r *pb.HasTreeRequest, stream googlegrpc.ServerStreamingServer[pb.HasTreeResponse]) error {
	store := &memory.Store{}
	j.mu.Lock()
	for digest, data := range j.objects {
		store.Put(stream.Context(), cas.MustParseDigest(digest), bytes.NewReader(data))
	}
	j.mu.Unlock()
	answer := &pb.HasTreeResponse{}
	for _, root := range r.Digest {
		err := tree.FindMissing(stream.Context(), store, []cas.Digest{cas.MustParseDigest(root)}, 1, func(trees, files []cas.Digest) error {
			for _, d := range trees {
				text := d.String()
				if text == root {
					text = d.Hex()
				}
				answer.MissingTrees = append(answer.MissingTrees, text)
			}
			for _, d := range files {
				answer.MissingObjects = append(answer.MissingObjects, d.String())
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.Reverse(answer.MissingObjects)
	if len(answer.MissingTrees)+len(answer.MissingObjects) == 0 {
		return nil
	}
	for range 2 {
		stream.Send(&pb.HasTreeResponse{MissingObjects: answer.MissingObjects})
		stream.Send(&pb.HasTreeResponse{MissingTrees: answer.MissingTrees})
	}
	return nil
}

func (j *jolt) ReadObject(r *pb.ReadObjectRequest, stream googlegrpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	if err := j.parse(r.Digest); err != nil {
		return err
	}
	data, ok := j.get(r.Digest)
	if !ok {
		return status.Error(codes.Internal, "Not found")
	}
	for piece := range slices.Chunk(data, 64<<10) {
		if err := stream.Send(&pb.ReadObjectResponse{Data: piece}); err != nil {
			return err
		}
	}
	return nil
}

// WriteObject keeps whatever it is sent, and sends no response.
func (j *jolt) WriteObject(stream googlegrpc.ClientStreamingServer[pb.WriteObjectRequest, pb.WriteObjectResponse]) error {
	var digest string
	var data []byte
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := j.parse(message.Digest); err != nil {
			return err
		}
		digest = message.Digest
		if _, ok := j.get(digest); ok {
			return status.Error(codes.AlreadyExists, "Object already exists")
		}
		data = append(data, message.Data...)
	}
	if digest == "" {
		return status.Error(codes.InvalidArgument, "Invalid digest")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.objects[digest] = data
	return nil
}

// serve offers s on loopback and returns a client of it.
func serve(t *testing.T, s pb.CacheServiceServer, timeout time.Duration) *grpc.Store {
	t.Helper()
	return serveAny(t, timeout, func(server *googlegrpc.Server) { pb.RegisterCacheServiceServer(server, s) })
}

func open(t *testing.T, address string, timeout time.Duration) *grpc.Store {
	t.Helper()
	s, err := grpc.Open("jolt://"+address, address, grpc.Options{Timeout: timeout, Parallel: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStoreOnJoltCache(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store {
		s := serve(t, &jolt{objects: map[string][]byte{}}, 10*time.Second)
		// Its sizes are unknown, so it must not be asked for them.
		return struct {
			cas.Store
			cas.BatchGetter
			cas.BatchPutter
		}{s, s, s}
	})
}

func TestWhatJoltCacheLacksIsFoundOnce(t *testing.T) {
	s := serve(t, &jolt{objects: map[string][]byte{}}, 10*time.Second)
	files := [][]byte{[]byte("one"), []byte("two"), []byte("three")}
	var entries []tree.Entry
	for _, data := range files {
		entries = append(entries, tree.Entry{Name: string(data), Type: tree.File, Perm: 0o644, Digest: cas.Sum(data)})
	}
	leaf, _ := tree.New(entries)
	root, _ := tree.New([]tree.Entry{{Name: "d", Type: tree.Dir, Perm: 0o755, Digest: cas.Sum(leaf.Encode())}})
	rootDigest, leafDigest := cas.Sum(root.Encode()), cas.Sum(leaf.Encode())
	expectMissing(t, s, rootDigest, rootDigest)
	put(t, s, root.Encode())
	expectMissing(t, s, rootDigest, leafDigest)
	put(t, s, leaf.Encode())
	put(t, s, files[1])
	expectMissing(t, s, rootDigest, cas.Sum(files[0]), cas.Sum(files[2]))
	put(t, s, files[0])
	put(t, s, files[2])
	expectMissing(t, s, rootDigest)
}

func put(t *testing.T, s cas.Putter, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), cas.Sum(data), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
}

func expectMissing(t *testing.T, s *grpc.Store, root cas.Digest, want ...cas.Digest) {
	t.Helper()
	var got []cas.Digest
	err := s.FindMissing(t.Context(), []cas.Digest{root}, func(trees, files []cas.Digest) error {
		got = append(append(got, trees...), files...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, cas.Digest.Compare)
	slices.SortFunc(want, cas.Digest.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("missing are %v, want %v", got, want)
	}
}
