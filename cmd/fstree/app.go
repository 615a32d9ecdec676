package main

import (
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strconv"
	"time"

	"github.com/alecthomas/kong"
	"github.com/dustin/go-humanize"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/cached"
	"github.com/fstree/fstree/cas/disk"
	"github.com/fstree/fstree/fs/worktree"
	"github.com/fstree/fstree/remote"
	"github.com/fstree/fstree/remote/transfer"
)

// app is the command line: the options that all commands share, and the
// commands. Its methods are what commands need to do their work.
type app struct {
	Cache          string        `short:"c" env:"FSTREE_CACHE" default:"${home}/.cache/fstree" type:"path" placeholder:"DIR" help:"Directory of the local cache (~/.cache/fstree)."`
	CacheSize      byteSize      `env:"FSTREE_CACHE_SIZE" default:"10GiB" placeholder:"SIZE" help:"Bytes to keep in the cache, for example 500MB or 10GiB; 0 keeps everything (${default})."`
	CacheRetention seconds       `env:"FSTREE_CACHE_RETENTION" default:"3600" placeholder:"SECONDS" help:"Keep objects that were used within this time (${default})."`
	Ignore         string        `short:"i" env:"FSTREE_IGNORE" default:".fstreeignore" placeholder:"FILE" help:"File with ignore rules, in .gitignore syntax, relative to the directory (${default})."`
	Index          string        `short:"x" env:"FSTREE_INDEX" default:".fstree/index" placeholder:"FILE" help:"Index of the directory, relative to it or absolute (${default})."`
	Remote         string        `short:"r" env:"FSTREE_REMOTE" default:"jolt://localhost:9090" placeholder:"URL" help:"Remote to push to and to fetch from: jolt://HOST:PORT, jolts://… with TLS, tcp://…, http://… or https://… (${default})."`
	Threads        int           `short:"j" env:"FSTREE_THREADS" default:"0" placeholder:"N" help:"Threads for hashing and checking out; default is one per processor core."`
	Timeout        time.Duration `env:"FSTREE_TIMEOUT" default:"30s" placeholder:"TIME" help:"Give up on a remote that is silent for so long (${default})."`
	credentials
	JSON    bool             `short:"J" name:"json" help:"Report events on stderr, one JSON object a line."`
	Version kong.VersionFlag `short:"V" help:"Print the version."`

	kong.Plugins // the commands, or as many of them as the parser has to know

	args           []string
	stdout, stderr io.Writer
}

// parallelTransfers is how many objects are under way at once. It hides the
// latency of a remote, so it does not depend on the number of cores.
const parallelTransfers = 64

// withCache lends the local store to do. What do meets there stays for as long,
// however small the cache shall be: a command must not lose what it has just
// fetched, nor a mount what it shows.
func (a *app) withCache(do func(cache *disk.Store) error) error {
	return a.withCacheThat(true, do)
}

// withCacheThat does so; what do meets stays only if holds says so.
func (a *app) withCacheThat(holds bool, do func(cache *disk.Store) error) error {
	options := a.diskOptions(slog.New(slog.DiscardHandler))
	options.Hold = holds
	cache, err := disk.Open(a.Cache, options)
	if err != nil {
		return err
	}
	defer cache.Close()
	return do(cache)
}

func (a *app) diskOptions(log *slog.Logger) disk.Options {
	return disk.Options{Size: int64(a.CacheSize), Retention: time.Duration(a.CacheRetention), Log: log}
}

// withRemote lends the remote to do. Nothing is connected before the first use.
func (a *app) withRemote(do func(far remote.Store) error) error {
	config, err := a.tls()
	if err != nil {
		return err
	}
	token, err := a.token()
	if err != nil {
		return err
	}
	far, err := remote.Open(a.Remote, remote.Options{Timeout: a.Timeout, Parallel: parallelTransfers, TLS: config, Token: token})
	if err != nil {
		return err
	}
	defer far.Close()
	return do(far)
}

// withReach lends a store to do that has all objects of the cache, and those of
// the remote as well.
func (a *app) withReach(do func(reach *cached.Store) error) error {
	return a.withCache(func(cache *disk.Store) error {
		return a.withRemote(func(far remote.Store) error {
			reach := a.reach(cache, far)
			defer reach.Close()
			return do(reach)
		})
	})
}

func (a *app) reach(cache *disk.Store, far cached.Far) *cached.Store {
	reach := cached.New(cache, far)
	reach.Silence = a.Timeout
	return reach
}

func (a *app) threads() int {
	if a.Threads > 0 {
		return a.Threads
	}
	return runtime.NumCPU()
}

func (a *app) worktreeOptions() worktree.Options {
	return worktree.Options{Ignore: a.Ignore, Index: a.Index, Threads: a.threads(), Observer: worktreeEvents{a}}
}

// transferOptions are those of a transfer to somebody who probably has the tree
// have, if that is not zero. One silence is no reason to give up, two are.
func (a *app) transferOptions(observer transfer.Observer, have cas.Digest) transfer.Options {
	opt := transfer.Options{Parallel: parallelTransfers, Patience: 2 * a.Timeout, Observer: observer}
	if !have.IsZero() {
		opt.Have = []cas.Digest{have}
	}
	return opt
}

// answer prints the one thing that a script wants.
func (a *app) answer(v fmt.Stringer) error {
	_, err := fmt.Fprintln(a.stdout, v)
	return err
}

// byteSize is a number of bytes, given as 1048576, 1MiB or 1MB.
type byteSize int64

// UnmarshalText reads a size.
func (b *byteSize) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a size such as 500MB or 10GiB", text)
	}
	*b = byteSize(n)
	return nil
}

// seconds is a time given as a number of seconds, or with a unit.
type seconds time.Duration

// UnmarshalText reads a time.
func (s *seconds) UnmarshalText(text []byte) error {
	if n, err := strconv.ParseUint(string(text), 10, 32); err == nil {
		*s = seconds(time.Duration(n) * time.Second)
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a time such as 3600 (seconds) or 1h", text)
	}
	*s = seconds(d)
	return nil
}
