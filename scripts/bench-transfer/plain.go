package main

import (
	"io"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/scripts/internal/bench"
)

// plainServer streams a file, and hashes and stores nothing: what gRPC can do
// on this network.
type plainServer struct {
	pb.UnimplementedCacheServiceServer
	file string
}

const (
	plainPiece  = 256 << 10
	plainWindow = 48 << 20 // our largest
)

func (p *plainServer) ReadObject(_ *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	return eachPiece(p.file, func(data []byte) error { return stream.Send(&pb.ReadObjectResponse{Data: data}) })
}

func (p *plainServer) WriteObject(stream grpc.ClientStreamingServer[pb.WriteObjectRequest, pb.WriteObjectResponse]) error {
	for {
		if _, err := stream.Recv(); err == io.EOF {
			return stream.SendAndClose(&pb.WriteObjectResponse{})
		} else if err != nil {
			return err
		}
	}
}

func eachPiece(file string, do func(data []byte) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	data := make([]byte, plainPiece)
	for {
		n, err := io.ReadFull(f, data)
		if n > 0 {
			if err := do(data[:n]); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}

// dialPlain returns a client of a plainServer.
func dialPlain(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(plainWindow), grpc.WithInitialConnWindowSize(plainWindow),
		grpc.WithReadBufferSize(plainPiece), grpc.WithWriteBufferSize(plainPiece))
}

// plainGoal is how much longer than plain streaming of the same bytes we may
// take: 0.7 times its speed.
const plainGoal = 1 / 0.7

// plain compares with gRPC that does nothing else.
func (s *site) plain(input) error {
	file := filepath.Join(s.Path("tree"), "big")
	server, address, err := s.startPeer(file)
	if err != nil {
		return err
	}
	defer server.End()
	conn, err := dialPlain(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := pb.NewCacheServiceClient(conn)
	err = s.race("pull", plainGoal, "plain gRPC",
		bench.Contestant{Prepare: s.emptyOther, Work: s.pull},
		bench.Contestant{Work: func() error { return plainRead(client) }})
	if err != nil {
		return err
	}
	if err := os.Rename(s.Path("other"), s.Path("cache")); err != nil {
		return err
	}
	return s.race("push", plainGoal, "plain gRPC",
		bench.Contestant{Prepare: s.startServer, Work: s.push},
		bench.Contestant{Work: func() error { return plainWrite(client, file) }})
}

func plainRead(client pb.CacheServiceClient) error {
	stream, err := client.ReadObject(ctx, &pb.ReadObjectRequest{})
	if err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func plainWrite(client pb.CacheServiceClient, file string) error {
	stream, err := client.WriteObject(ctx)
	if err != nil {
		return err
	}
	if err := eachPiece(file, func(data []byte) error { return stream.Send(&pb.WriteObjectRequest{Data: data}) }); err != nil {
		return err
	}
	_, err = stream.CloseAndRecv()
	return err
}
