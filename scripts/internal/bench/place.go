package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Place is a directory in which a binary of fstree is measured.
type Place struct {
	Base, Binary string
	ClientPeak   int // the most memory that a client took, in kB
}

// NewPlace makes a directory in another one. Close removes it.
func NewPlace(where, binary string) (*Place, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	base, err := os.MkdirTemp(where, "bench-")
	if err != nil {
		return nil, err
	}
	return &Place{Base: base, Binary: binary}, nil
}

// Close removes the directory.
func (p *Place) Close() error { return os.RemoveAll(p.Base) }

// Path returns that of a name in the directory.
func (p *Place) Path(name string) string { return filepath.Join(p.Base, name) }

// Empty makes an empty directory of that name, in place of what has it.
func (p *Place) Empty(name string) error {
	if err := os.RemoveAll(p.Path(name)); err != nil {
		return err
	}
	return os.Mkdir(p.Path(name), 0o755)
}

// Serve starts a server of the store of that name, and returns its address.
func (p *Place) Serve(store string) (*Process, string, error) {
	return Serve(p.Binary, "serve", "--path", p.Path(store), "--listen-grpc", "127.0.0.1:0", "--listen-http", "127.0.0.1:0")
}

// nobody is an address at which there is no server.
const nobody = "127.0.0.1:1"

// Client runs fstree with the server at an address, "" for none, and returns
// what it prints.
func (p *Place) Client(address string, args ...string) (string, error) {
	if address == "" {
		address = nobody
	}
	c := exec.Command(p.Binary, append(args, "--remote", "jolt://"+address, "--cache-size", "0")...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Start(); err != nil {
		return "", err
	}
	peak, err := Watch(c).Wait()
	p.ClientPeak = max(p.ClientPeak, peak)
	if err != nil {
		return "", fmt.Errorf("fstree %s: %w: %s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}
