package bench

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
)

// Start starts a program that runs until End.
func Start(name string, args ...string) (*Process, error) {
	c := exec.Command(name, args...)
	if err := c.Start(); err != nil {
		return nil, err
	}
	return Watch(c), nil
}

// Serve starts a program that says on stderr where it listens, as
// grpc://ADDRESS, and runs until End.
func Serve(name string, args ...string) (*Process, string, error) {
	c := exec.Command(name, args...)
	stderr, err := c.StderrPipe()
	if err != nil {
		return nil, "", err
	}
	if err := c.Start(); err != nil {
		return nil, "", err
	}
	p := Watch(c)
	address, err := readAddress(stderr)
	if err != nil {
		p.End()
		return nil, "", fmt.Errorf("%s: %w", c, err)
	}
	// A server that nobody listened to would wait to be heard.
	p.watching.Go(func() { io.Copy(io.Discard, stderr) })
	return p, address, nil
}

var grpcAddress = regexp.MustCompile(`grpc://([0-9.:]+)`)

// readAddress returns where a server says that it listens.
func readAddress(stderr io.Reader) (string, error) {
	var said []string
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if found := grpcAddress.FindStringSubmatch(lines.Text()); found != nil {
			return found[1], nil
		}
		said = append(said, lines.Text())
	}
	return "", fmt.Errorf("it did not say where it listens: %s", strings.Join(said, "; "))
}
