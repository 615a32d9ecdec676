package http_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/castest"
	"github.com/fstree/fstree/remote/internal/wire"
)

// nginxConf serves one directory twice: writable at /dav, and as plain files
// at /static.
const nginxConf = `
daemon off;
master_process off;
worker_processes 1;
pid %[1]s/pid;
error_log stderr error;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  client_max_body_size 16m;
  server {
    listen unix:%[1]s/socket;
    listen %[2]s;
    location /dav/ {
      alias %[1]s/www/;
      dav_methods PUT;
      create_full_put_path on;
    }
    location /static/ { alias %[1]s/www/; }
  }
}
`

// startNginx returns the base URL of an nginx and the directory it serves.
func startNginx(t *testing.T) (base, www string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, address), 0o644); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(nginxPath(t), "-p", dir, "-c", conf, "-e", "stderr")
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("nginx: %s", stderr.String())
		}
	})
	waitFor(t, address)
	return "http://" + address, filepath.Join(dir, "www")
}

// nginxPath finds nginx also where an ordinary user's PATH does not lead.
func nginxPath(t *testing.T) string {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("nginx is not installed; this test needs it")
	return ""
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func waitFor(t *testing.T, address string) {
	for range 100 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("nothing listens on %s", address)
}

func TestStoreOnNginx(t *testing.T) {
	base, www := startNginx(t)
	castest.Run(t, func(t *testing.T) cas.Store {
		if err := os.RemoveAll(www); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(www, 0o777); err != nil {
			t.Fatal(err)
		}
		return open(t, base+"/dav/")
	})
}

func TestNginxWithoutUploads(t *testing.T) {
	base, www := startNginx(t)
	data := castest.Bytes(3<<20, 1)
	d := cas.Sum(data)
	file := filepath.Join(www, wire.ObjectPath(d))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	s := open(t, base+"/static")
	if got, err := cas.ReadAll(t.Context(), s, d, 4<<20); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("Get: %d bytes, %v", len(got), err)
	}
	if sizes, err := s.Sizes(t.Context(), []cas.Digest{d, cas.Sum(nil)}); err != nil || sizes[0] != 3<<20 || sizes[1] != -1 {
		t.Errorf("Sizes: %v, %v", sizes, err)
	}
	// A large upload is refused while it is still being sent.
	for _, n := range []int{0, 1000, 12 << 20} {
		data := castest.Bytes(n, 2)
		err := s.Put(t.Context(), cas.Sum(data), bytes.NewReader(data))
		if !errors.Is(err, cas.ErrReadOnly) || !strings.Contains(err.Error(), "405") {
			t.Errorf("Put of %d bytes: %v", n, err)
		}
	}
	data[100] ^= 1
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	var mismatch *cas.MismatchError
	if _, err := cas.ReadAll(t.Context(), s, d, 4<<20); !errors.As(err, &mismatch) || !strings.Contains(err.Error(), base) {
		t.Errorf("damaged file: %v", err)
	}
}

func TestNginxRefusesWhatIsTooLarge(t *testing.T) {
	base, _ := startNginx(t)
	data := make([]byte, 17<<20)
	err := open(t, base+"/dav").Put(t.Context(), cas.Sum(data), io.MultiReader(bytes.NewReader(data)))
	if err == nil || !strings.Contains(err.Error(), "413") {
		t.Errorf("%v", err)
	}
}
