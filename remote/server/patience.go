package server

import (
	"io"
	"net/http"
	"time"
)

// patience bounds how long a request may stand still.
type patience struct {
	limit   time.Duration
	control *http.ResponseController
}

func (h *handler) patience(w http.ResponseWriter) patience {
	return patience{h.server.opt.Timeout, http.NewResponseController(w)}
}

// patientReader reads the body of a request for as long as it keeps coming.
type patientReader struct {
	patience
	r io.Reader
}

func (p *patientReader) Read(b []byte) (int, error) {
	if err := p.control.SetReadDeadline(time.Now().Add(p.limit)); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

// patientWriter writes a response for as long as somebody takes it.
type patientWriter struct {
	patience
	http.ResponseWriter
}

func (p *patientWriter) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(p.limit)); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}
