package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// vector is a tree whose digests the older tool has given.
type vector struct {
	Ignore  *string
	Root    string `json:"root_digest"`
	Objects map[string]string
	TreeHex map[string]string `json:"tree_hex"`
	Entries []struct {
		Content       string
		ContentHex    string `json:"content_hex"`
		ContentRepeat *struct {
			Byte  string
			Count int
		} `json:"content_repeat"`
	}
}

// storeVectors: storeVectors DIR URL stores the trees of all vectors, as they
// were recorded, in the server at URL; writes the contents of their files to
// DIR, for the story to store; and the digests of the trees to DIR/roots.
func storeVectors(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: storeVectors DIR URL")
	}
	text, err := os.ReadFile(os.Getenv(vectorsVariable))
	ts.Check(err)
	var vectors []vector
	ts.Check(json.Unmarshal(text, &vectors))
	contents := [][]byte{{}}
	roots := ""
	for _, v := range vectors {
		roots += v.Root + "\n"
		if v.Ignore != nil {
			contents = append(contents, []byte(*v.Ignore))
		}
		for path, digits := range v.TreeHex {
			tree, err := hex.DecodeString(digits)
			ts.Check(err)
			putObject(ts, args[1]+"/objects/"+v.Objects[path], tree)
		}
		for _, e := range v.Entries {
			content := []byte(e.Content)
			if e.ContentHex != "" {
				content, err = hex.DecodeString(e.ContentHex)
			}
			if r := e.ContentRepeat; r != nil {
				content, err = hex.DecodeString(strings.Repeat(r.Byte, r.Count))
			}
			ts.Check(err)
			contents = append(contents, content)
		}
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	for i, content := range contents {
		ts.Check(os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), content, 0o644))
	}
	ts.Check(os.WriteFile(filepath.Join(dir, "roots"), []byte(roots), 0o644))
}

func putObject(ts *testscript.TestScript, url string, data []byte) {
	request, err := http.NewRequest(http.MethodPut, url, bytes.NewReader(data))
	ts.Check(err)
	answer, err := http.DefaultClient.Do(request)
	ts.Check(err)
	answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		ts.Fatalf("PUT %s: %s", url, answer.Status)
	}
}
