package main

import (
	"bytes"
	"fmt"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
	"github.com/fstree/fstree/remote"
	"github.com/fstree/fstree/remote/transfer"
	"github.com/fstree/fstree/scripts/internal/bench"
)

// basicGoal is how much of the time of single calls we may take.
const basicGoal = 1.0 / 4

// basicFiles is how many files are moved; fewer over a slow network, where each
// single call takes a while.
func (s *site) basicFiles() int {
	if s.delay > 0 {
		return 200
	}
	return 5000
}

// basic compares with one call at a time, against a server that knows no other
// calls.
func (s *site) basic(input) error {
	near := &memory.Store{}
	root, all, err := manyObjects(near, s.basicFiles())
	if err != nil {
		return err
	}
	var server *bench.Process
	var far remote.Store
	stop := func() {
		if server != nil {
			far.Close()
			server.End()
		}
	}
	forget := func() (err error) {
		stop()
		var address string
		if server, address, err = s.startPeer(""); err == nil {
			far, err = remote.Open("jolt://"+address, remote.Options{Timeout: 30 * time.Second})
		}
		return err
	}
	defer func() { stop() }()
	options := transfer.Options{Parallel: parallel}
	err = s.race("push, basic calls", basicGoal, "one at a time",
		bench.Contestant{Prepare: forget, Work: func() error { return transfer.Push(ctx, near, far, root, options) }},
		bench.Contestant{Prepare: forget, Work: func() error { return copyOneByOne(far, near, all) }})
	if err != nil {
		return err
	}
	return s.race("pull, basic calls", basicGoal, "one at a time",
		bench.Contestant{Work: func() error { return transfer.Pull(ctx, far, &memory.Store{}, root, options) }},
		bench.Contestant{Work: func() error { return copyOneByOne(&memory.Store{}, far, all) }})
}

// parallel is what fstree itself uses.
const parallel = 64

// manyObjects stores a tree with so many files of 4 KiB.
func manyObjects(store *memory.Store, files int) (root cas.Digest, all []cas.Digest, err error) {
	add := func(data []byte) cas.Digest {
		d, _, _ := store.Add(ctx, bytes.NewReader(data)) // a map takes everything
		all = append(all, d)
		return d
	}
	var entries []tree.Entry
	for i := range files {
		data := bytes.Repeat(fmt.Appendf(nil, "%08d", i), 512)
		entries = append(entries, tree.Entry{Name: fmt.Sprint("file", i), Type: tree.File, Perm: 0o644, Digest: add(data)})
	}
	top, err := tree.New(entries)
	if err != nil {
		return root, nil, err
	}
	return add(top.Encode()), all, nil
}

// copyOneByOne makes one call after the other.
func copyOneByOne(to cas.Putter, from cas.Getter, ds []cas.Digest) error {
	for _, d := range ds {
		o, err := from.Get(ctx, d)
		if err != nil {
			return err
		}
		err = to.Put(ctx, d, o)
		o.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
