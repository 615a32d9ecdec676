// Command genproto writes the Go code of proto/*.proto. It needs no protoc: it
// compiles the files itself and hands the result to the plugins whose versions
// go.mod pins. Run it in the root of the repository:
//
//	go run ./scripts/genproto         write the code
//	go run ./scripts/genproto -check  fail if the committed code is stale
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

func main() {
	check := flag.Bool("check", false, "compare with the committed code instead of writing it")
	flag.Parse()
	if err := run(context.Background(), ".", *check); err != nil {
		fmt.Fprintln(os.Stderr, "genproto:", err)
		os.Exit(1)
	}
}

// run works in the repository whose root is root.
func run(ctx context.Context, root string, check bool) error {
	files, err := generate(ctx, root)
	if err != nil {
		return err
	}
	act := write
	if check {
		act = compare
	}
	var errs []error
	for name, content := range files {
		errs = append(errs, act(filepath.Join(root, name), content))
	}
	return errors.Join(errs...)
}

func write(name string, content []byte) error { return os.WriteFile(name, content, 0o644) }

func compare(name string, content []byte) error {
	committed, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(committed, content) {
		return fmt.Errorf("%s is stale: run go run ./scripts/genproto", name)
	}
	return nil
}

// generate returns the content of every generated file by its name.
func generate(ctx context.Context, root string) (map[string][]byte, error) {
	sources, err := fs.Glob(os.DirFS(root), "proto/*.proto")
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, errors.New("there is no proto/*.proto here")
	}
	request, err := compile(ctx, root, sources)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, plugin := range plugins {
		if err := drive(ctx, root, plugin, request, files); err != nil {
			return nil, fmt.Errorf("%s: %w", plugin, err)
		}
	}
	return files, nil
}

// compile returns what protoc would send to a plugin.
func compile(ctx context.Context, root string, sources []string) ([]byte, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(ctx, sources...)
	if err != nil {
		return nil, err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: sources,
		Parameter:      proto.String("paths=source_relative"),
	}
	for _, file := range compiled {
		request.ProtoFile = appendFile(request.ProtoFile, file)
	}
	return proto.Marshal(request)
}

// appendFile adds file behind everything that it imports.
func appendFile(files []*descriptorpb.FileDescriptorProto, file protoreflect.FileDescriptor) []*descriptorpb.FileDescriptorProto {
	if slices.ContainsFunc(files, func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == file.Path() }) {
		return files
	}
	for i := range file.Imports().Len() {
		files = appendFile(files, file.Imports().Get(i).FileDescriptor)
	}
	return append(files, protoutil.ProtoFromFileDescriptor(file))
}

func drive(ctx context.Context, root, plugin string, request []byte, files map[string][]byte) error {
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Dir = root
	cmd.Stdin = bytes.NewReader(request)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, f := range response.File {
		files[f.GetName()] = []byte(f.GetContent())
	}
	return nil
}
