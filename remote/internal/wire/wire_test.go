package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/fstree/fstree/cas"
)

func TestSilenceEndsTheContextWithItsCause(t *testing.T) {
	ctx, dog := Watch(t.Context(), 10*time.Millisecond)
	defer dog.Stop()
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, cas.ErrUnavailable) || err.Error() != "no answer for 10ms" {
		t.Errorf("cause is %v", err)
	}
}

func TestSleepingWatchdogWaits(t *testing.T) {
	ctx, dog := Watch(t.Context(), 20*time.Millisecond)
	dog.Sleep()
	time.Sleep(60 * time.Millisecond)
	if ctx.Err() != nil {
		t.Errorf("ended in its sleep: %v", context.Cause(ctx))
	}
	dog.Stop()
	if err := context.Cause(ctx); err != context.Canceled {
		t.Errorf("cause after Stop is %v", err)
	}
}

func TestObjectPathIsTheCapturedLayout(t *testing.T) {
	d := cas.Sum([]byte("captured"))
	path := ObjectPath(d)
	hex := d.Hex()
	if want := "bl/ake3:" + hex[:1] + "/:" + hex; path != want {
		t.Fatalf("path is %s, want %s", path, want)
	}
	if got, ok := ParseObjectPath(path); !ok || got != d {
		t.Errorf("parsed %s, %v", got, ok)
	}
}

func TestOtherPathsAreNoObjects(t *testing.T) {
	good := ObjectPath(cas.Sum(nil))
	for _, path := range []string{
		"", "/", "a", "//", good + "/", "/" + good, "bl/ake3:0/:0", "xx" + good[2:],
		good[:len(good)-1], good + "0", "bl/ake3:b/" + good[10:], "../..../....",
		"BL" + good[2:], good[:3] + "AKE3" + good[7:],
	} {
		if d, ok := ParseObjectPath(path); ok {
			t.Errorf("%q is taken for %s", path, d)
		}
	}
	for _, text := range []string{
		"sha1:a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
		"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	} {
		d := cas.MustParseDigest(text)
		if got, ok := ParseObjectPath(ObjectPath(d)); !ok || got != d {
			t.Errorf("%s came back as %s", d, got)
		}
	}
}

func TestHoldBackDeliversWhatEndsWell(t *testing.T) {
	for n := range 70 {
		want := bytes.Repeat([]byte("abcdefg"), 10)[:n]
		if err := iotest.TestReader(HoldBack(bytes.NewReader(want)), want); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		got, err := io.ReadAll(HoldBack(iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(want)))))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes in halves: %q, %v", n, got, err)
		}
	}
}

func TestHoldBackKeepsTheLastByteOfWhatDoesNot(t *testing.T) {
	broken := errors.New("broken")
	for n := range 10 {
		want := make([]byte, n)
		got, err := io.ReadAll(HoldBack(io.MultiReader(bytes.NewReader(want), iotest.ErrReader(broken))))
		if err != broken || len(got) != max(n-1, 0) {
			t.Errorf("%d bytes: %d delivered, %v", n, len(got), err)
		}
	}
}
