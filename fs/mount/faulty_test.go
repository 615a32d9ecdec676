package mount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/bao"
	"github.com/fstree/fstree/cas/cached"
	"github.com/fstree/fstree/cas/memory"
	"github.com/fstree/fstree/cas/tree"
)

// faulty is a far store that misbehaves on command:
//
//	get   good|fail|hang|slow DURATION|wrong|stream|lost
//	sizes good|none|fail|hang|slow DURATION|zero|more|less
//	slice good|fail|hang|wrong|short|unsupported
//
// A word after "files" or "trees" narrows what get means: "get hang files".
type faulty struct {
	objects memory.Store
	trees   map[cas.Digest]bool
	cached  *cached.Store // what is before this store, if anything

	mu         sync.Mutex
	get        string
	delay      time.Duration
	only       string
	sizes      string
	slice      string
	slices     int
	changed    chan struct{} // closed when a command arrives
	gets       map[string]int
	sizesAsked int
}

func newFaulty() *faulty {
	return &faulty{
		trees: map[cas.Digest]bool{}, get: "good", sizes: "good", slice: "good",
		gets: map[string]int{}, changed: make(chan struct{}),
	}
}

func (f *faulty) command(line string) error {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
	f.only = ""
	if last := words[len(words)-1]; last == "files" || last == "trees" {
		f.only, words = last, words[:len(words)-1]
	}
	var err error
	switch {
	case len(words) == 2 && words[0] == "get":
		f.get = words[1]
	case len(words) == 3 && words[0] == "get" && words[1] == "slow":
		f.get = words[1]
		f.delay, err = time.ParseDuration(words[2])
	case len(words) == 3 && words[0] == "sizes" && words[1] == "slow":
		f.sizes = words[1]
		f.delay, err = time.ParseDuration(words[2])
	case len(words) == 2 && words[0] == "sizes":
		f.sizes = words[1]
	case len(words) == 2 && words[0] == "slice":
		f.slice = words[1]
	default:
		err = fmt.Errorf("no such fault: %q", line)
	}
	return err
}

// fault returns what to do about d.
func (f *faulty) fault(d cas.Digest) (get string, delay time.Duration, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gets[d.String()]++
	if f.only == "files" && f.trees[d] || f.only == "trees" && !f.trees[d] {
		return "good", 0, f.changed
	}
	return f.get, f.delay, f.changed
}

var errBroken = errors.New("the far store is broken")

func (f *faulty) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	fault, delay, changed := f.fault(d)
	switch fault {
	case "fail":
		return nil, fmt.Errorf("get %s: %w: %w", d, cas.ErrUnavailable, errBroken)
	case "lost":
		return nil, &cas.NotFoundError{Digest: d}
	case "hang":
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-changed:
		}
	case "slow":
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(delay):
		}
	}
	data, err := cas.ReadAll(ctx, &f.objects, d, 1<<30)
	if err != nil {
		return nil, err
	}
	switch fault {
	case "wrong":
		data = bytes.Clone(data)
		data[len(data)/2] ^= 1
		return cas.Verify(d, io.NopCloser(bytes.NewReader(data)), int64(len(data))), nil
	case "stream":
		return cas.Verify(d, io.NopCloser(bytes.NewReader(data)), -1), nil
	}
	return cas.NewObject(data), nil
}

func (f *faulty) Slice(ctx context.Context, d cas.Digest, s bao.Slice) (io.ReadCloser, error) {
	f.mu.Lock()
	f.slices++
	fault, changed := f.slice, f.changed
	f.mu.Unlock()
	switch fault {
	case "fail":
		return nil, fmt.Errorf("slice of %s: %w: %w", d, cas.ErrUnavailable, errBroken)
	case "unsupported":
		return nil, errors.ErrUnsupported
	case "hang":
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-changed:
		}
	}
	r, err := f.objects.Slice(ctx, d, s)
	if err != nil {
		return nil, err
	}
	sent, err := io.ReadAll(r)
	switch fault {
	case "wrong":
		sent[len(sent)-1] ^= 1
	case "short":
		sent = sent[:len(sent)/2]
	}
	return io.NopCloser(bytes.NewReader(sent)), err
}

func (f *faulty) Has(ctx context.Context, ds []cas.Digest) ([]bool, error) {
	return f.objects.Has(ctx, ds)
}

func (f *faulty) Sizes(ctx context.Context, ds []cas.Digest) ([]int64, error) {
	f.mu.Lock()
	f.sizesAsked++
	fault, delay, changed := f.sizes, f.delay, f.changed
	f.mu.Unlock()
	sizes, err := f.objects.Sizes(ctx, ds)
	if err != nil {
		return nil, err
	}
	switch fault {
	case "fail":
		return nil, fmt.Errorf("sizes: %w", errBroken)
	case "slow":
		time.Sleep(delay)
	case "hang":
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-changed:
		}
	}
	for i := range sizes {
		switch fault {
		case "none":
			sizes[i] = -1
		case "zero":
			sizes[i] = 0
		case "more":
			sizes[i]++
		case "less":
			sizes[i] = max(sizes[i]-1, 1)
		}
	}
	return sizes, nil
}

func (f *faulty) report(server *Server) report {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	fetched := int64(0)
	if f.cached != nil {
		fetched = f.cached.Stats().Bytes
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return report{Stats: server.Stats(), Fetched: fetched, Gets: maps.Clone(f.gets), SizesAsked: f.sizesAsked, Slices: f.slices, HeapBytes: m.HeapAlloc}
}

// store keeps the directory dir as a tree.
func (f *faulty) store(dir string) (cas.Digest, error) {
	children, err := os.ReadDir(dir)
	if err != nil {
		return cas.Digest{}, err
	}
	var entries []tree.Entry
	for _, child := range children {
		e, err := f.entry(filepath.Join(dir, child.Name()), child)
		if err != nil {
			return cas.Digest{}, err
		}
		entries = append(entries, e)
	}
	return f.storeTree(entries)
}

// storeDoubled keeps an empty tree, a tree that names it twice, and so on, n
// times.
func (f *faulty) storeDoubled(n int) (cas.Digest, error) {
	d, err := f.storeTree(nil)
	for range n {
		if err == nil {
			d, err = f.storeTree([]tree.Entry{
				{Name: "left", Type: tree.Dir, Perm: 0o755, Digest: d},
				{Name: "right", Type: tree.Dir, Perm: 0o755, Digest: d},
			})
		}
	}
	return d, err
}

func (f *faulty) storeTree(entries []tree.Entry) (cas.Digest, error) {
	t, err := tree.New(entries)
	if err != nil {
		return cas.Digest{}, err
	}
	d, err := f.add(t.Encode())
	f.trees[d] = true
	return d, err
}

func (f *faulty) add(data []byte) (cas.Digest, error) {
	d, _, err := f.objects.Add(context.Background(), bytes.NewReader(data))
	return d, err
}

func (f *faulty) entry(path string, child fs.DirEntry) (e tree.Entry, err error) {
	info, err := child.Info()
	if err != nil {
		return e, err
	}
	e = tree.Entry{Name: child.Name(), Perm: uint32(info.Mode().Perm())}
	switch info.Mode().Type() {
	case fs.ModeDir:
		e.Type = tree.Dir
		e.Digest, err = f.store(path)
	case fs.ModeSymlink:
		e.Type = tree.Symlink
		e.Target, err = os.Readlink(path)
	default:
		var data []byte
		e.Type = tree.File
		if data, err = os.ReadFile(path); err == nil {
			e.Digest, err = f.add(data)
		}
	}
	return e, err
}

// digestOf returns the digest of a file's content.
func digestOf(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return strconv.Quote(err.Error())
	}
	return cas.Sum(data).String()
}
