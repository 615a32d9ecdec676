package main

import (
	"reflect"
	"strings"
	"unicode"
)

// commands are all commands, in the order in which --help lists them.
type commands struct {
	WriteTree     writeTreeCommand     `cmd:"" help:"Store a directory in the cache and print its digest."`
	WriteTreePush writeTreePushCommand `cmd:"" help:"Store a directory, push it, and print its digest."`
	Push          pushCommand          `cmd:"" help:"Send the remote what it lacks of a tree."`
	Pull          pullCommand          `cmd:"" help:"Fetch what the cache lacks of a tree."`
	Checkout      checkoutCommand      `cmd:"" help:"Make a directory equal to a tree in the cache."`
	PullCheckout  pullCheckoutCommand  `cmd:"" help:"Fetch a tree and make a directory equal to it."`
	Mount         mountCommand         `cmd:"" help:"Show a tree as a read-only directory; files arrive when they are read."`
	Umount        umountCommand        `cmd:"" aliases:"unmount" help:"End a mount."`
	Mounts        mountsCommand        `cmd:"" help:"List your mounts and what they did (with --json one JSON object a line)."`
	Prefetch      prefetchCommand      `cmd:"" help:"Have the process behind a mount fetch files and directories ahead."`
	LsTree        lsTreeCommand        `cmd:"" help:"List a tree."`
	LsIndex       lsIndexCommand       `cmd:"" help:"List the index of a directory."`
	Evict         evictCommand         `cmd:"" help:"Shrink the cache to its size, least recently used objects first."`
	Verify        verifyCommand        `cmd:"" help:"Check the objects in the cache, or those of a tree."`
	CacheCmd      cacheCommand         `cmd:"" name:"cache" help:"Look at the cache."`
	Serve         serveCommand         `cmd:"" help:"Serve trees to others over gRPC and HTTP."`
	VersionCmd    versionCommand       `cmd:"" name:"version" help:"Print the version."`
}

// commandsFor returns the commands that the parser has to know in order to read
// args: that one alone, if they begin with its name. To describe all of them
// takes the better part of a millisecond.
func commandsFor(args []string) any {
	if len(args) > 0 {
		for f := range reflect.TypeFor[commands]().Fields() {
			if commandName(f) == args[0] {
				return reflect.New(reflect.StructOf([]reflect.StructField{f})).Interface()
			}
		}
	}
	return new(commands)
}

// commandName returns the name of a command, as the parser makes it of f.
func commandName(f reflect.StructField) string {
	if name := f.Tag.Get("name"); name != "" {
		return name
	}
	var name strings.Builder
	for i, c := range f.Name {
		if i > 0 && unicode.IsUpper(c) {
			name.WriteByte('-')
		}
		name.WriteRune(unicode.ToLower(c))
	}
	return name.String()
}
