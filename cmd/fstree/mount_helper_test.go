package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestMountHelperSpeaksAsMountDoes(t *testing.T) {
	t.Setenv("FSTREE_CACHE", "/somewhere")
	for _, test := range []struct{ in, want string }{
		{"DIGEST /mnt -o rw", "mount --source=DIGEST -- DIGEST /mnt"},
		{"fstree:DIGEST/sub /mnt", "mount --source=fstree:DIGEST/sub -- DIGEST/sub /mnt"},
		{"DIGEST /mnt -sn -o rw,remote=http://host,cache=/c,allow_other,uid=7", "mount --remote=http://host --cache=/c --allow-other --uid=7 --source=DIGEST -- DIGEST /mnt"},
		{"-v -t fuse.fstree -onoexec,_netdev,x-systemd.automount,nofail DIGEST /mnt", "mount --noexec --source=DIGEST -- DIGEST /mnt"},
		{"none /all -o namespace,prefetch=none", "mount --namespace --prefetch=none --source=none -- /all"},
		{"-o xattrs -- DIGEST -dir", "mount --xattrs --source=DIGEST -- DIGEST -dir"},
		{"DIGEST /mnt -s -o unheard_of", "mount --source=DIGEST -- DIGEST /mnt"},
	} {
		h, err := parseHelper(strings.Fields(test.in))
		if err != nil {
			t.Errorf("%s: %v", test.in, err)
			continue
		}
		if got, err := h.arguments(); err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("%s became %q, %v; want %q", test.in, strings.Join(got, " "), err, test.want)
		}
	}
}

func TestMountHelperRefusesWhatItDoesNotKnow(t *testing.T) {
	for in, want := range map[string]string{
		"DIGEST":                       "expected SOURCE DIR",
		"DIGEST /mnt more":             "expected SOURCE DIR",
		"DIGEST /mnt -o unheard_of":    `unknown option "unheard_of"`,
		"DIGEST /mnt -o foreground":    `unknown option "foreground"`,
		"DIGEST /mnt -o source=other":  `unknown option "source"`,
		"DIGEST /mnt -o remote":        "option remote: it takes a value",
		"DIGEST /mnt -o allow_other=1": "option allow_other: it takes no value",
		"DIGEST /mnt -o":               "-o takes a value",
		"DIGEST /mnt -z":               "unknown flag -z",
	} {
		var stderr bytes.Buffer
		if code := runHelper(strings.Fields(in), os.Stdout, &stderr); code != helperUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: %d, %s; want %s", in, code, &stderr, want)
		}
	}
	if code := runHelper([]string{"DIGEST", "/nowhere", "-f"}, os.Stdout, os.Stderr); code != exitOK {
		t.Errorf("a pretended mount: %d", code)
	}
}

func TestSystemMountsHaveACacheOfTheSystem(t *testing.T) {
	t.Setenv("FSTREE_CACHE", "")
	got, err := helperCall{operands: []string{"DIGEST", "/mnt"}}.arguments()
	if want := os.Geteuid() == 0; err != nil || slices.Contains(got, "--cache="+systemCache) != want {
		t.Errorf("%q, %v", got, err)
	}
}
