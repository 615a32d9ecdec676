package grpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	googlegrpc "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fstree/fstree/cas"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote/grpc"
)

// calls returns every kind of call, by name.
func calls(s *grpc.Store) map[string]func(context.Context) error {
	data := bytes.Repeat([]byte("a lot of data"), 1<<20)
	d := cas.Sum(data)
	return map[string]func(context.Context) error{
		"Get": func(ctx context.Context) error {
			_, err := cas.ReadAll(ctx, s, d, 1<<30)
			return err
		},
		"Put": func(ctx context.Context) error { return s.Put(ctx, d, bytes.NewReader(data)) },
		"Has": func(ctx context.Context) error {
			_, err := s.Has(ctx, []cas.Digest{d})
			return err
		},
		"FindMissing": func(ctx context.Context) error {
			return s.FindMissing(ctx, []cas.Digest{d}, func(_, _ []cas.Digest) error { return nil })
		},
	}
}

// expectUnavailable makes every kind of call, which must fail within limit for
// one of reasons.
func expectUnavailable(t *testing.T, s *grpc.Store, address string, limit time.Duration, reasons ...string) {
	t.Helper()
	for name, call := range calls(s) {
		start := time.Now()
		err := call(t.Context())
		if !errors.Is(err, cas.ErrUnavailable) || !slices.ContainsFunc(reasons, func(reason string) bool { return strings.Contains(err.Error(), reason) }) ||
			!strings.Contains(err.Error(), "jolt://"+address) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Count(err.Error(), "jolt://") > 1 {
			t.Errorf("%s: the server is named twice: %v", name, err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", name, err)
		}
		if took := time.Since(start); took > limit {
			t.Errorf("%s took %s", name, took)
		}
	}
}

func TestRefusedConnectionIsToldAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	expectUnavailable(t, open(t, address, 30*time.Second), address, 3*time.Second, "connection refused")
}

func TestServerThatAcceptsAndSaysNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address := l.Addr().String()
	expectUnavailable(t, open(t, address, 300*time.Millisecond), address, 3*time.Second, "no answer for 300ms", "does not greet")
}

// silent takes calls and answers none of them.
type silent struct {
	pb.UnimplementedCacheServiceServer
}

func (silent) HasObject(ctx context.Context, _ *pb.HasObjectRequest) (*pb.HasObjectResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (silent) HasTree(_ *pb.HasTreeRequest, s googlegrpc.ServerStreamingServer[pb.HasTreeResponse]) error {
	<-s.Context().Done()
	return nil
}

func (silent) ReadObject(_ *pb.ReadObjectRequest, s googlegrpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	s.Send(&pb.ReadObjectResponse{Data: []byte("a first piece")})
	<-s.Context().Done()
	return nil
}

func (silent) WriteObject(s googlegrpc.ClientStreamingServer[pb.WriteObjectRequest, pb.WriteObjectResponse]) error {
	<-s.Context().Done()
	return nil
}

func TestServerThatFallsSilentInACall(t *testing.T) {
	s := serve(t, silent{}, 300*time.Millisecond)
	expectUnavailable(t, s, "127.0.0.1:", 3*time.Second, "no answer for 300ms")
}

func TestCancelledCallEndsAtOnceWithItsCause(t *testing.T) {
	s := serve(t, silent{}, time.Minute)
	gaveUp := errors.New("gave up")
	for name, call := range calls(s) {
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(50*time.Millisecond, func() { cancel(gaveUp) })
		start := time.Now()
		if err := call(ctx); !errors.Is(err, gaveUp) || time.Since(start) > 2*time.Second {
			t.Errorf("%s: %v after %s", name, err, time.Since(start))
		}
		timer.Stop()
	}
}

// slow answers in small steps.
type slow struct {
	pb.UnimplementedCacheServiceServer
	data []byte
}

func (s slow) ReadObject(_ *pb.ReadObjectRequest, stream googlegrpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	for i := range s.data {
		time.Sleep(50 * time.Millisecond)
		stream.Send(&pb.ReadObjectResponse{Data: s.data[i : i+1]})
	}
	return nil
}

func TestSlowIsNotSilent(t *testing.T) {
	data := []byte("a dozen bytes")
	s := serve(t, slow{data: data}, 400*time.Millisecond)
	got, err := cas.ReadAll(t.Context(), s, cas.Sum(data), 100)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestReaderMayPause(t *testing.T) {
	data := []byte("patience")
	s := serve(t, slow{data: data}, 300*time.Millisecond)
	o, err := s.Get(t.Context(), cas.Sum(data))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	time.Sleep(time.Second)
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%q, %v", got, err)
	}
}

// scripted answers as its functions say.
type scripted struct {
	pb.UnimplementedCacheServiceServer
	read    func(send func(string) error) error
	write   func(recv func() error) error
	missing []string
	present []bool
}

func (s scripted) ReadObject(_ *pb.ReadObjectRequest, stream googlegrpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	return s.read(func(data string) error { return stream.Send(&pb.ReadObjectResponse{Data: []byte(data)}) })
}

func (s scripted) WriteObject(stream googlegrpc.ClientStreamingServer[pb.WriteObjectRequest, pb.WriteObjectResponse]) error {
	return s.write(func() error {
		_, err := stream.Recv()
		return err
	})
}

func (s scripted) HasTree(_ *pb.HasTreeRequest, stream googlegrpc.ServerStreamingServer[pb.HasTreeResponse]) error {
	return stream.Send(&pb.HasTreeResponse{MissingTrees: s.missing})
}

func (s scripted) HasObject(context.Context, *pb.HasObjectRequest) (*pb.HasObjectResponse, error) {
	return &pb.HasObjectResponse{Present: s.present}, nil
}

func TestBytesThatAreNotTheObject(t *testing.T) {
	for name, read := range map[string]func(func(string) error) error{
		"wrong":     func(send func(string) error) error { return send("wrong bytes") },
		"truncated": func(send func(string) error) error { return send("right") },
		"longer":    func(send func(string) error) error { send("right bytes"); return send("!") },
		"none":      func(func(string) error) error { return nil },
	} {
		s := serve(t, scripted{read: read}, 5*time.Second)
		d := cas.Sum([]byte("right bytes"))
		_, err := cas.ReadAll(t.Context(), s, d, 1000)
		var mismatch *cas.MismatchError
		if !errors.As(err, &mismatch) || mismatch.Want != d || !strings.Contains(err.Error(), "jolt://") || !strings.Contains(err.Error(), d.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEndlessObjectEndsAtTheReadersBound(t *testing.T) {
	s := serve(t, scripted{read: func(send func(string) error) error {
		for send(strings.Repeat("x", 1<<20)) == nil {
		}
		return nil
	}}, 5*time.Second)
	if _, err := cas.ReadAll(t.Context(), s, cas.Sum(nil), 10<<20); !errors.Is(err, cas.ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

func TestUploadThatEndsEarlyIsNoSuccess(t *testing.T) {
	s := serve(t, scripted{write: func(recv func() error) error { return recv() }}, 5*time.Second)
	data := make([]byte, 64<<20) // more than fits into windows and buffers
	if err := s.Put(t.Context(), cas.Sum(data), bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), "before its end") {
		t.Errorf("%v", err)
	}
}

func TestObjectThatIsThereIsSuccess(t *testing.T) {
	s := serve(t, scripted{write: func(recv func() error) error {
		recv()
		return status.Error(codes.AlreadyExists, "here")
	}}, 5*time.Second)
	for _, n := range []int{0, 10, 64 << 20} {
		data := make([]byte, n)
		if err := s.Put(t.Context(), cas.Sum(data), bytes.NewReader(data)); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestSourceFailureIsNotTheRemotes(t *testing.T) {
	s := serve(t, &jolt{objects: map[string][]byte{}}, 5*time.Second)
	truncated := io.MultiReader(strings.NewReader("half"), errReader{io.ErrUnexpectedEOF})
	err := s.Put(t.Context(), cas.Sum([]byte("half and half")), truncated)
	if err != io.ErrUnexpectedEOF {
		t.Errorf("%v", err)
	}
	if present, err := s.Has(t.Context(), []cas.Digest{cas.Sum([]byte("half"))}); err != nil || present[0] {
		t.Errorf("%v, %v", present, err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestNonsenseAnswersAreErrors(t *testing.T) {
	s := serve(t, scripted{missing: []string{"xyz"}, present: []bool{true, true}}, 5*time.Second)
	d := cas.Sum(nil)
	err := s.FindMissing(t.Context(), []cas.Digest{d}, func(_, _ []cas.Digest) error { return nil })
	if err == nil || !strings.Contains(err.Error(), `"xyz"`) || !strings.Contains(err.Error(), "jolt://") {
		t.Errorf("FindMissing: %v", err)
	}
	if _, err := s.Has(t.Context(), []cas.Digest{d}); err == nil || !strings.Contains(err.Error(), "2 answers to 1") {
		t.Errorf("Has: %v", err)
	}
}

func TestReportMayEndTheSearch(t *testing.T) {
	s := serve(t, scripted{missing: []string{cas.Sum(nil).String()}}, 5*time.Second)
	enough := errors.New("enough")
	err := s.FindMissing(t.Context(), []cas.Digest{cas.Sum(nil)}, func(_, _ []cas.Digest) error { return enough })
	if err != enough {
		t.Errorf("%v", err)
	}
}

func TestServerOfSomethingElse(t *testing.T) {
	s := serve(t, pb.UnimplementedCacheServiceServer{}, 5*time.Second)
	for name, call := range calls(s) {
		if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), "no fstree server") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServerThatComesBackIsFound(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s := open(t, address, 5*time.Second)
	if _, err := s.Has(t.Context(), []cas.Digest{cas.Sum(nil)}); !errors.Is(err, cas.ErrUnavailable) {
		t.Fatal(err)
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	server := googlegrpc.NewServer()
	pb.RegisterCacheServiceServer(server, &jolt{objects: map[string][]byte{}})
	go server.Serve(l)
	defer server.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err = s.Has(t.Context(), []cas.Digest{cas.Sum(nil)}); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
