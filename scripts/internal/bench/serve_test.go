package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServerThatSaysMuchGoesOn: also when it has said where it listens.
func TestServerThatSaysMuchGoesOn(t *testing.T) {
	done := filepath.Join(t.TempDir(), "done")
	p, address, err := Serve("sh", "-c", "echo it listens on grpc://127.0.0.1:1234 now >&2; head -c 300000 /dev/zero >&2; touch "+done+"; sleep 10")
	if err != nil {
		t.Fatal(err)
	}
	defer p.End()
	if address != "127.0.0.1:1234" {
		t.Errorf("it listens on %q", address)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(done); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody reads what it says")
		}
	}
}

func TestServerThatFailsIsHeard(t *testing.T) {
	if _, _, err := Serve("sh", "-c", "echo no such port >&2"); err == nil || !strings.Contains(err.Error(), "no such port") {
		t.Errorf("%v", err)
	}
}
