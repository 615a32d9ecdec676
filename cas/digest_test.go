package cas_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/fstree/fstree/cas"
)

const (
	emptyHex = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
	sha1Hex  = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3"
)

func TestParseDigest(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"blake3:" + emptyHex, "blake3:" + emptyHex},
		{emptyHex, "blake3:" + emptyHex},
		{strings.ToUpper(emptyHex), "blake3:" + emptyHex},
		{"BLAKE3:" + strings.ToUpper(emptyHex), "blake3:" + emptyHex},
		{sha1Hex, "sha1:" + sha1Hex},
		{"sha1:" + sha1Hex, "sha1:" + sha1Hex},
		{"sha256:" + emptyHex, "sha256:" + emptyHex},
	} {
		d, err := cas.ParseDigest(test.in)
		if err != nil || d.String() != test.want {
			t.Errorf("ParseDigest(%q) = %s, %v; want %s", test.in, d, err, test.want)
		}
	}
}

func TestParseDigestRefuses(t *testing.T) {
	for _, in := range []string{
		"", ":", "xyz", "blake3:", "blake3:abc", "blake3" + emptyHex, "md5:d41d8cd98f00b204e9800998ecf8427e",
		"blake3:" + sha1Hex, "sha1:" + emptyHex, "sha256:" + sha1Hex, emptyHex + "0", emptyHex[1:],
		"blake3:" + emptyHex + "\n", " blake3:" + emptyHex, "blake3::" + emptyHex, ":" + emptyHex,
		"g" + emptyHex[1:], "blake3:g" + emptyHex[1:], "none:" + emptyHex,
	} {
		d, err := cas.ParseDigest(in)
		var digestErr *cas.DigestError
		if !errors.As(err, &digestErr) || digestErr.Text != in || !d.IsZero() {
			t.Errorf("ParseDigest(%q) = %s, %v; want a DigestError", in, d, err)
		}
	}
}

func TestSumOfNothingIsTheKnownDigest(t *testing.T) {
	if d := cas.Sum(nil); d.Hex() != emptyHex || !d.Names(nil) || d.Names([]byte{0}) {
		t.Errorf("Sum(nil) = %s", d)
	}
}

func TestDigestMarshals(t *testing.T) {
	type document struct{ D cas.Digest }
	in := document{cas.Sum([]byte("x"))}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out document
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("%s came back as %v, %v", text, out, err)
	}
	for _, d := range []cas.Digest{in.D, cas.MustParseDigest(sha1Hex), {}} {
		b, _ := d.MarshalBinary()
		var back cas.Digest
		if err := back.UnmarshalBinary(b); err != nil || back != d {
			t.Errorf("%v came back as %v, %v", d, back, err)
		}
	}
}

func FuzzDigest(f *testing.F) {
	for _, seed := range []string{"", emptyHex, sha1Hex, "blake3:" + emptyHex, "SHA1:" + sha1Hex, "md5:00", "\x01\x02"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if d, err := cas.ParseDigest(in); err == nil {
			back, err := cas.ParseDigest(d.String())
			if err != nil || back != d || d.IsZero() {
				t.Errorf("%q is %s, which is %s, %v", in, d, back, err)
			}
		}
		if d, err := cas.DigestFromBytes([]byte(in)); err == nil {
			if b, _ := d.MarshalBinary(); string(b) != in {
				t.Errorf("%x is %s, which is %x", in, d, b)
			}
		}
	})
}
