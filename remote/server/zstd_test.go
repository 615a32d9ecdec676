package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/klauspost/compress/zstd"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/cas/tree/treetest"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/remote"
	"github.com/fstree/fstree/remote/server"
)

// far makes clients look as if they were on another machine, behind a link of
// 10 MB/s.
type far struct {
	net.Listener
	sent atomic.Int64 // bytes
}

func (f *far) Accept() (net.Conn, error) {
	conn, err := f.Listener.Accept()
	return &farConn{conn, f}, err
}

type farConn struct {
	net.Conn
	link *far
}

func (c *farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func (c *farConn) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(len(p)) * 100)
	c.link.sent.Add(int64(len(p)))
	return c.Conn.Write(p)
}

func serveFar(t *testing.T, store cas.Store) (remote.Store, *far) {
	t.Helper()
	link := &far{}
	address := listen(t, func(l net.Listener) error {
		link.Listener = l
		return server.New(store, server.Options{}).GRPC().Serve(link)
	})
	return open(t, "jolt://"+address), link
}

func TestSlowLinkCarriesLessThanIsRead(t *testing.T) {
	store := &memory.Store{}
	text := func(n int) []byte { return bytes.Repeat(fmt.Appendf(nil, "line %d of many\n", n), 64<<10) }
	var ds []cas.Digest
	for i := range 20 {
		d, _, _ := store.Add(t.Context(), bytes.NewReader(text(i)))
		ds = append(ds, d)
	}
	s, link := serveFar(t, store)
	total, i := 0, 0
	err := cas.GetMany(t.Context(), s, ds, 4, func(d cas.Digest, o cas.Object, err error) error {
		if err != nil {
			return err
		}
		got, err := io.ReadAll(o)
		if err == nil && !d.Names(got) {
			t.Errorf("object %d is another one", i)
		}
		i, total = i+1, total+len(got)
		return err
	})
	if err != nil || i != len(ds) {
		t.Fatal(i, err)
	}
	if sent := int(link.sent.Load()); sent > total/2 {
		t.Errorf("%d bytes were sent for %d", sent, total)
	}
}

func TestSlicesShrinkOnASlowLink(t *testing.T) {
	store := &memory.Store{}
	data := bytes.Repeat([]byte("always the same\n"), 1<<20)
	d, size, _ := store.Add(t.Context(), bytes.NewReader(data))
	s, link := serveFar(t, store)
	slice := bao.Slice{Size: size, Len: size, ProveSize: true}
	r, err := s.(bao.Slicer).Slice(t.Context(), d, slice)
	if err != nil {
		t.Fatal(err)
	}
	near, err := (&memory.Store{}).OpenPartial(t.Context(), d, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := near.Add(t.Context(), slice, r); err != nil {
		t.Error(err)
	}
	if sent := link.sent.Load(); sent > size/2 {
		t.Errorf("%d bytes were sent for %d", sent, size)
	}
}

func TestTreesShrinkOnASlowLink(t *testing.T) {
	store := &memory.Store{}
	var dirs []tree.Entry
	for i := range 300 {
		var files []tree.Entry
		for k := range 100 {
			name := fmt.Sprintf("file %d in %d", k, i)
			files = append(files, tree.Entry{Name: name, Type: tree.File, Perm: 0o644, Digest: cas.Sum([]byte(name))})
		}
		dirs = append(dirs, treetest.Dir(t, store, fmt.Sprint("dir ", i), files...))
	}
	root := treetest.Dir(t, store, "", dirs...).Digest
	s, link := serveFar(t, store)
	read := func() (trees, bytes int) {
		err := tree.WalkSized(t.Context(), s, []cas.Digest{root}, nil, 4, func(s tree.Sized) error {
			trees, bytes = trees+1, bytes+len(s.Data)
			return s.Err
		})
		if err != nil || trees != 301 {
			t.Fatal(trees, err)
		}
		return trees, bytes
	}
	// As long as the walk is slower than the link, the link does not look slow.
	for range 20 {
		link.sent.Store(0)
		if _, n := read(); int(link.sent.Load()) <= 2*n/3 {
			return
		}
	}
	t.Error("trees are never compressed")
}

func TestRandomBytesComeThroughASlowLink(t *testing.T) {
	store := &memory.Store{}
	data := castest.Bytes(8<<20, 1)
	d, _, _ := store.Add(t.Context(), bytes.NewReader(data))
	s, _ := serveFar(t, store)
	if got, err := cas.ReadAll(t.Context(), s, d, 1<<30); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// upload sends one message of WriteObjects.
func upload(t *testing.T, client pb.StoreServiceClient, message *pb.WriteObjectsRequest) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := client.WriteObjects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(message)
	stream.CloseSend()
	for {
		answer, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for _, result := range answer.Result {
			if result.Failure != nil {
				return status.Error(codes.Code(result.Failure.Code), result.Failure.Message)
			}
		}
	}
}

func TestServerTakesCompressedObjects(t *testing.T) {
	store := &memory.Store{}
	client := pb.NewStoreServiceClient(dial(t, store))
	one, two := []byte(strings.Repeat("one ", 1000)), []byte(strings.Repeat("two ", 1000))
	segment := func(number uint64, data []byte) *pb.Segment {
		digest, _ := cas.Sum(data).MarshalBinary()
		return &pb.Segment{Object: number, Digest: digest, Length: uint64(len(data)), Last: true}
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	message := &pb.WriteObjectsRequest{Segment: []*pb.Segment{segment(0, one), segment(1, two)}, Plain: 8000}
	message.Data = encoder.EncodeAll(append(bytes.Clone(one), two...), nil)
	if err := upload(t, client, message); err != nil {
		t.Fatal(err)
	}
	if got, err := cas.ReadAll(t.Context(), store, cas.Sum(two), 10_000); err != nil || !bytes.Equal(got, two) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	message.Plain = 1 << 40
	if err := upload(t, client, message); err == nil || !strings.Contains(err.Error(), "unpacked") {
		t.Errorf("a message of 1 TiB: %v", err)
	}
}
