package main

import (
	"flag"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc"

	"github.com/fstree/fstree/internal/oldserver"
	pb "github.com/fstree/fstree/proto"
	"github.com/fstree/fstree/scripts/internal/bench"
)

// peer makes this program one of the servers that it compares with, in a
// process of its own.
var (
	peer     = flag.Bool("peer", false, "serve, for the benchmark itself")
	peerFile = flag.String("peer-file", "", "the file to stream; without it, an old server")
)

func servePeer() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.InitialWindowSize(plainWindow), grpc.InitialConnWindowSize(plainWindow),
		grpc.ReadBufferSize(plainPiece), grpc.WriteBufferSize(plainPiece))
	if *peerFile != "" {
		pb.RegisterCacheServiceServer(server, &plainServer{file: *peerFile})
	} else {
		pb.RegisterCacheServiceServer(server, &oldserver.Server{})
	}
	fmt.Fprintf(os.Stderr, "grpc://%s\n", listener.Addr())
	return server.Serve(listener)
}

// startPeer starts such a server and returns its address behind the network.
func (s *site) startPeer(file string) (*bench.Process, string, error) {
	server, address, err := bench.Serve("/proc/self/exe", "-peer", "-peer-file", file)
	if err != nil {
		return nil, "", err
	}
	if address, _, err = s.behindNetwork(address); err != nil {
		server.End()
		return nil, "", err
	}
	return server, address, nil
}
