package server

import (
	"io"
	"net/http"
	"time"
)

// patientReader reads the body of a request for as long as it keeps coming.
type patientReader struct {
	r       io.Reader
	control *http.ResponseController
}

func (p *patientReader) Read(b []byte) (int, error) {
	if err := p.control.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

// patientWriter writes a response for as long as somebody takes it.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p *patientWriter) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}
