package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/server"
	"github.com/fstree/fstree/remote/transfer"
)

// dial returns a plain connection to a server of store, as an old client or a
// tool would make it.
func dial(t *testing.T, store cas.Store) *grpc.ClientConn {
	t.Helper()
	url, _ := start(t, store)
	conn, err := grpc.NewClient(strings.TrimPrefix(url, "jolt://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// write is what the old client does: the digest in every message, one message
// at least.
func write(t *testing.T, client pb.CacheServiceClient, digest string, pieces ...string) error {
	t.Helper()
	stream, err := client.WriteObject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range pieces {
		if stream.Send(&pb.WriteObjectRequest{Digest: digest, Data: []byte(piece)}) != nil {
			break // the verdict says why
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

func TestOldClientWritesAndReads(t *testing.T) {
	client := pb.NewCacheServiceClient(dial(t, &memory.Store{}))
	for _, pieces := range [][]string{{""}, {"one piece"}, {"more ", "pieces", ""}} {
		want := strings.Join(pieces, "")
		digest := cas.Sum([]byte(want)).String()
		if err := write(t, client, digest, pieces...); err != nil {
			t.Fatal(err)
		}
		if err := write(t, client, digest, pieces...); status.Code(err) != codes.AlreadyExists {
			t.Errorf("second time: %v", err)
		}
		if got := read(t, client, digest); string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func read(t *testing.T, client pb.CacheServiceClient, digest string) []byte {
	t.Helper()
	stream, err := client.ReadObject(t.Context(), &pb.ReadObjectRequest{Digest: digest})
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return data
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(message.Data) > 64<<10 {
			t.Errorf("a piece of %d bytes", len(message.Data))
		}
		data = append(data, message.Data...)
	}
}

func TestLargeObjectComesInSmallPieces(t *testing.T) {
	store := &memory.Store{}
	data := castest.Bytes(1<<20+1, 1)
	d, _, _ := store.Add(t.Context(), bytes.NewReader(data))
	if got := read(t, pb.NewCacheServiceClient(dial(t, store)), d.String()); !bytes.Equal(got, data) {
		t.Errorf("%d other bytes", len(got))
	}
}

func TestRefusedWritesLeaveNothing(t *testing.T) {
	store := &memory.Store{}
	client := pb.NewCacheServiceClient(dial(t, store))
	digest := cas.Sum([]byte("right")).String()
	for name, err := range map[string]error{
		"wrong bytes": write(t, client, digest, "wrong"),
		"no message":  write(t, client, digest),
		"no digest":   write(t, client, "", "right"),
		"not one":     write(t, client, "blake3:abc", "right"),
	} {
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	stream, err := client.WriteObject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&pb.WriteObjectRequest{Digest: digest, Data: []byte("ri")})
	stream.Send(&pb.WriteObjectRequest{Digest: cas.Sum(nil).String(), Data: []byte("ght")})
	if _, err := stream.CloseAndRecv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("two digests: %v", err)
	}
	if store.Len() != 0 {
		t.Errorf("%d objects are left", store.Len())
	}
}

func TestAbandonedWriteLeavesNothing(t *testing.T) {
	store := &memory.Store{}
	client := pb.NewCacheServiceClient(dial(t, store))
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := client.WriteObject(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// All bytes, but not the end of the stream.
	stream.Send(&pb.WriteObjectRequest{Digest: cas.Sum([]byte("whole")).String(), Data: []byte("whole")})
	time.Sleep(50 * time.Millisecond)
	cancel()
	time.Sleep(50 * time.Millisecond)
	if store.Len() != 0 {
		t.Errorf("%d objects are left", store.Len())
	}
}

func TestErrorsHaveCodes(t *testing.T) {
	client := pb.NewCacheServiceClient(dial(t, &memory.Store{}))
	absent := cas.Sum([]byte("absent")).String()
	for digest, want := range map[string]codes.Code{absent: codes.NotFound, "xyz": codes.InvalidArgument, "": codes.InvalidArgument} {
		stream, err := client.ReadObject(t.Context(), &pb.ReadObjectRequest{Digest: digest})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != want {
			t.Errorf("ReadObject %q: %v", digest, err)
		}
	}
	if _, err := client.HasObject(t.Context(), &pb.HasObjectRequest{Digest: []string{absent, "xyz"}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("HasObject: %v", err)
	}
}

func TestHealthAndReflection(t *testing.T) {
	conn := dial(t, &memory.Store{})
	health, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || health.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", health, err)
	}
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	answer, err := stream.Recv()
	if err != nil || !strings.Contains(answer.String(), "fstree.CacheService") {
		t.Errorf("reflection: %v, %v", answer, err)
	}
}

// family is a tree with n files in each of two directories.
func family(n int) (trees, files [][]byte, root cas.Digest) {
	var dirs []tree.Entry
	for _, dir := range []string{"a", "b"} {
		var entries []tree.Entry
		for i := range n {
			data := fmt.Appendf(nil, "%s %d", dir, i)
			files = append(files, data)
			entries = append(entries, tree.Entry{Name: fmt.Sprint(i), Type: tree.File, Perm: 0o644, Digest: cas.Sum(data)})
		}
		t, _ := tree.New(entries)
		trees = append(trees, t.Encode())
		dirs = append(dirs, tree.Entry{Name: dir, Type: tree.Dir, Perm: 0o755, Digest: cas.Sum(t.Encode())})
	}
	top, _ := tree.New(dirs)
	trees = append(trees, top.Encode())
	return trees, files, cas.Sum(top.Encode())
}

func TestMissingOfAClosure(t *testing.T) {
	store := &memory.Store{}
	url, _ := start(t, store)
	trees, files, root := family(2500)
	s := open(t, url).(transfer.ClosureFinder)
	expectMissing(t, s, root, root)
	store.Add(t.Context(), bytes.NewReader(trees[2]))
	store.Add(t.Context(), bytes.NewReader(trees[0]))
	want := []cas.Digest{cas.Sum(trees[1])}
	for i, data := range files[:2500] {
		if i%2 == 0 {
			store.Add(t.Context(), bytes.NewReader(data))
		} else {
			want = append(want, cas.Sum(data))
		}
	}
	expectMissing(t, s, root, want...)
	store.Add(t.Context(), bytes.NewReader(trees[1]))
	for _, data := range files {
		store.Add(t.Context(), bytes.NewReader(data))
	}
	expectMissing(t, s, root)
}

func expectMissing(t *testing.T, s transfer.ClosureFinder, root cas.Digest, want ...cas.Digest) {
	t.Helper()
	var got []cas.Digest
	err := s.FindMissing(t.Context(), []cas.Digest{root}, func(trees, files []cas.Digest) error {
		if len(trees)+len(files) > 1000 {
			t.Errorf("%d digests at once", len(trees)+len(files))
		}
		got = append(append(got, trees...), files...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, cas.Digest.Compare)
	slices.SortFunc(want, cas.Digest.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("%d are missing, want %d", len(got), len(want))
	}
}

func TestClosureOfWhatIsNoTree(t *testing.T) {
	store := &memory.Store{}
	url, _ := start(t, store)
	for _, data := range []string{"", "no tree", "\xee\x3e\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff"} {
		d, _, _ := store.Add(t.Context(), strings.NewReader(data))
		err := open(t, url).(transfer.ClosureFinder).FindMissing(t.Context(), []cas.Digest{d}, func(_, _ []cas.Digest) error { return nil })
		if err == nil || !strings.Contains(err.Error(), d.String()) || !strings.Contains(err.Error(), "not a tree") {
			t.Errorf("%v", err)
		}
	}
}

// failing is a store that fails in one way.
type failing struct {
	memory.Store
	err error
}

func (f *failing) Get(context.Context, cas.Digest) (cas.Object, error) { return nil, f.err }
func (f *failing) Put(context.Context, cas.Digest, io.Reader) error    { return f.err }
func (f *failing) Has(_ context.Context, ds []cas.Digest) ([]bool, error) {
	return make([]bool, len(ds)), nil
}

func TestFailuresOfTheStoreKeepTheirMeaning(t *testing.T) {
	d := cas.Sum([]byte("x"))
	full := fmt.Errorf("write: %w", syscall.ENOSPC)
	for _, test := range []struct{ err, get, put error }{
		{err: cas.ErrUnavailable, get: cas.ErrUnavailable, put: cas.ErrUnavailable},
		{err: &cas.NotFoundError{Digest: d}, get: cas.ErrNotFound},
		{err: cas.ErrReadOnly, put: cas.ErrReadOnly},
		{err: full},
	} {
		grpcURL, httpURL := start(t, &failing{err: test.err})
		for _, url := range []string{grpcURL, httpURL} {
			s := open(t, url)
			if _, err := s.Get(t.Context(), d); err == nil || test.get != nil && !errors.Is(err, test.get) {
				t.Errorf("%s: Get: %v, want %v", url, err, test.err)
			}
			if err := s.Put(t.Context(), d, strings.NewReader("x")); err == nil || test.put != nil && !errors.Is(err, test.put) {
				t.Errorf("%s: Put: %v, want %v", url, err, test.err)
			}
		}
	}
}

// rotten claims to hold an object whose bytes have changed.
type rotten struct{ memory.Store }

func (*rotten) Get(_ context.Context, d cas.Digest) (cas.Object, error) {
	return cas.Verify(d, io.NopCloser(strings.NewReader("rotten bytes")), 12), nil
}

func TestDamagedObjectIsNotServed(t *testing.T) {
	d := cas.Sum([]byte("fresh bytes!"))
	grpcURL, httpURL := start(t, &rotten{})
	for _, url := range []string{grpcURL, httpURL} {
		if data, err := cas.ReadAll(t.Context(), open(t, url), d, 100); err == nil || errors.Is(err, cas.ErrNotFound) {
			t.Errorf("%s: %q, %v", url, data, err)
		}
	}
}

// stuck never finishes a read.
type stuck struct{ memory.Store }

func (*stuck) Get(ctx context.Context, _ cas.Digest) (cas.Object, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestShutdownIsBounded(t *testing.T) {
	s := server.New(&stuck{}, server.Options{})
	grpcURL := "jolt://" + listen(t, s.GRPC().Serve)
	httpURL := "http://" + listen(t, s.HTTP().Serve)
	failed := make(chan error, 2)
	for _, url := range []string{grpcURL, httpURL} {
		far := open(t, url)
		go func() {
			_, err := far.Get(t.Context(), cas.Sum(nil))
			failed <- err
		}()
	}
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
	for range 2 {
		if err := <-failed; err == nil {
			t.Error("a cut call succeeded")
		}
	}
}

func TestIdleServerShutsDownAtOnce(t *testing.T) {
	s := server.New(&memory.Store{}, server.Options{})
	url := "jolt://" + listen(t, s.GRPC().Serve)
	if _, err := open(t, url).Has(t.Context(), []cas.Digest{cas.Sum(nil)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	s := server.New(&memory.Store{}, server.Options{})
	s.HTTP().ReadHeaderTimeout = 100 * time.Millisecond
	conn, err := net.Dial("tcp", listen(t, s.HTTP().Serve))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: ")
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("still open: %v", err)
	}
}
