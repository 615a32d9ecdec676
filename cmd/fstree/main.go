// Command fstree shares directory trees by content digest, and mounts them
// before they are downloaded.
//
// One file per command. Everything that a user reads is written here; the
// packages below know nothing of flags, terminals or exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// Exit codes. A command that a signal ended exits with 128 and its number, as
// shells have it.
const (
	exitOK    = 0
	exitError = 1 // the command was understood and failed
	exitUsage = 2 // the command was not understood
)

func main() {
	untouched := limitGarbage()
	program := run
	if isHelper(os.Args[0]) {
		program = runHelper
	}
	code := program(os.Args[1:], os.Stdout, os.Stderr)
	runtime.KeepAlive(untouched)
	os.Exit(code)
}

// run is the program: it returns the exit code.
func run(args []string, stdout, stderr io.Writer) (code int) {
	a := &app{args: args, stdout: stdout, stderr: stderr}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case earlyExit:
			code = int(e)
		default:
			panic(e)
		}
	}()
	ctx, stop := untilSignal()
	defer stop()

	forgetEmptyVariables()
	parser, err := newParser(a)
	if err != nil {
		panic(err) // the struct tags are wrong: no user can cause it
	}
	command, err := parser.Parse(disambiguate(args))
	if err != nil {
		a.JSON = slices.Contains(args, "--json") || slices.Contains(args, "-J")
		return a.fail(err, exitUsage)
	}
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(a); err != nil {
		return a.fail(err, exitCode(ctx, err))
	}
	return exitOK
}

// forgetEmptyVariables makes a variable that is set to nothing mean the default,
// as scripts expect that pass an option of their own on.
func forgetEmptyVariables() {
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "FSTREE_") && value == "" {
			os.Unsetenv(name)
		}
	}
}

// earlyExit is how --help and --version leave the parser.
type earlyExit int

func newParser(a *app) (*kong.Kong, error) {
	a.Plugins = kong.Plugins{commandsFor(a.args)}
	options := append(bytesMappers,
		kong.Name("fstree"),
		kong.Description("Share directory trees by content digest, and use them before they are downloaded."),
		kong.Vars{"version": versionText(), "home": home()},
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(code int) { panic(earlyExit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.ShortUsageOnError(),
	)
	return kong.New(a, options...)
}

// home is the user's home directory: $HOME, else what the system says, which
// is what the option parser makes of "~".
func home() string {
	if dir, err := os.UserHomeDir(); err == nil {
		return dir
	}
	return "~"
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal syscall.Signal }

func (e signalError) Error() string { return fmt.Sprintf("stopped by signal: %s", e.signal) }

// secondSignal is when a further signal counts as one of its own: wrappers such
// as timeout(1) send each signal twice.
const secondSignal = time.Second

// untilSignal returns a context that ends at the first signal that asks the
// program to stop. A second one ends the program at once.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			cancel(signalError{s.(syscall.Signal)})
		case <-done:
			return
		}
		select {
		case <-time.After(secondSignal):
			signal.Stop(signals)
		case <-done:
		}
	}()
	return ctx, func() { signal.Stop(signals); close(done); cancel(context.Canceled) }
}

func exitCode(ctx context.Context, err error) int {
	var stopped signalError
	if errors.As(context.Cause(ctx), &stopped) {
		return 128 + int(stopped.signal)
	}
	return exitError
}
