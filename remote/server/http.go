package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/remote/internal/wire"
)

// maxQuestion bounds the body of POST /objects, in bytes: some 50,000 digests.
const maxQuestion = 4 << 20

// maxDrained bounds what is read of an upload that nobody needs, in bytes.
const maxDrained = 64 << 20

// handler answers HTTP:
//
//	/bl/ake3:0/:0ec8…        objects as file servers keep them
//	/files/bl/ake3:0/:0ec8…  the same
//	/objects/blake3:0ec8…    the same
//	/objects?missing&present presence of many, by POST
//	/metrics
//
// Everything else is not found.
type handler struct {
	server *Server
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/metrics":
		if allow(w, r, http.MethodGet, http.MethodHead) {
			h.server.metrics.serve(w)
		}
		return
	case "/objects":
		if allow(w, r, http.MethodPost) {
			h.presence(w, r)
		}
		return
	}
	d, ok := objectOf(r.URL.Path)
	if !ok {
		http.Error(w, "no object has this path", http.StatusNotFound)
		return
	}
	if !allow(w, r, http.MethodGet, http.MethodHead, http.MethodPut) {
		return
	}
	switch r.Method {
	case http.MethodGet:
		h.get(w, r, d)
	case http.MethodHead:
		h.head(w, r, d)
	case http.MethodPut:
		h.put(w, r, d)
	}
}

// objectOf returns the object that a path names.
func objectOf(path string) (cas.Digest, bool) {
	if text, ok := strings.CutPrefix(path, "/objects/"); ok {
		d, err := cas.ParseDigest(text)
		return d, err == nil
	}
	path = strings.TrimPrefix(path, "/files")
	return wire.ParseObjectPath(strings.TrimPrefix(path, "/"))
}

func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, method := range methods {
		if r.Method == method {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	return false
}

func fail(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), classify(err).http)
}

// describe sets the headers of what never changes.
func describe(w http.ResponseWriter, d cas.Digest) {
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "public, max-age=31536000, immutable")
	header.Set("ETag", `"`+d.String()+`"`)
}

func (h *handler) get(w http.ResponseWriter, r *http.Request, d cas.Digest) {
	o, err := h.server.open(r.Context(), d)
	if err != nil {
		fail(w, damaged(err))
		return
	}
	defer o.Close()
	describe(w, d)
	patient := &patientWriter{h.patience(w), w}
	if random, ok := o.(cas.RandomObject); ok && o.Size() >= 0 {
		http.ServeContent(patient, r, "", time.Time{}, io.NewSectionReader(random, 0, o.Size()))
		return
	}
	stream(patient, o)
}

// stream sends an object whose last bytes decide about all of them. It must
// look cut off to the client if they are wrong.
func stream(w http.ResponseWriter, o cas.Object) {
	if size := o.Size(); size >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	if _, err := io.Copy(w, wire.HoldBack(o)); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// head answers without opening the object, which could mean to fetch it.
func (h *handler) head(w http.ResponseWriter, r *http.Request, d cas.Digest) {
	sizes, err := cas.SizesOf(r.Context(), h.server.store, []cas.Digest{d})
	if err != nil {
		fail(w, err)
		return
	}
	if sizes[0] < 0 {
		present, err := h.server.store.Has(r.Context(), []cas.Digest{d})
		if err == nil && !present[0] {
			err = &cas.NotFoundError{Digest: d}
		}
		if err != nil {
			fail(w, err)
			return
		}
	}
	describe(w, d)
	if sizes[0] >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(sizes[0], 10))
	}
	w.WriteHeader(http.StatusOK)
}

func (h *handler) put(w http.ResponseWriter, r *http.Request, d cas.Digest) {
	body := &patientReader{h.patience(w), r.Body}
	err := h.server.store.Put(r.Context(), d, body)
	if err == nil {
		// An object that was here already leaves the body unread, and a client
		// that is still sending it could miss the answer.
		_, err = io.Copy(io.Discard, io.LimitReader(body, maxDrained))
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// presence answers which of many objects are here.
func (h *handler) presence(w http.ResponseWriter, r *http.Request) {
	var question struct {
		Blobs []cas.Digest `json:"blobs"`
	}
	body := http.MaxBytesReader(w, r.Body, maxQuestion)
	if err := json.NewDecoder(&patientReader{h.patience(w), body}).Decode(&question); err != nil {
		code := http.StatusBadRequest
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			code = http.StatusRequestEntityTooLarge
		}
		http.Error(w, err.Error(), code)
		return
	}
	present, err := h.server.store.Has(r.Context(), question.Blobs)
	if err != nil {
		fail(w, err)
		return
	}
	answer := map[bool][]cas.Digest{true: {}, false: {}}
	for i, d := range question.Blobs {
		answer[present[i]] = append(answer[present[i]], d)
	}
	wanted := map[string][]cas.Digest{}
	for name, present := range map[string]bool{"missing": false, "present": true} {
		if r.URL.Query().Has(name) {
			wanted[name] = answer[present]
		}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(wanted)
}
