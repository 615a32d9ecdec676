// Package control lets a user's other processes find his mounts, ask them what
// they do, and have them read ahead: a mount has the connection and the
// credentials that they lack.
//
// Every mount listens on a Unix socket in a directory that belongs to the user
// alone; the socket's name is the device number of the mount. It speaks HTTP:
//
//	GET  /v1/status                 one JSON object, a Status
//	POST /v1/prefetch?path=PATH     a JSON object a line, each an Update
//
// There is a line every second at least. With "&wait=1" they go on until all is
// read, and reading ahead ends with the connection; without, they end when the
// path is found, and reading goes on. A path /v2/ would be another protocol.
package control

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// Mount is what a socket is the way to.
type Mount interface {
	// Status tells what the mount does.
	Status() Status
	// Prefetch reads ahead what is at path, from the root of the mount. It
	// calls report once path is found, and then every moment, from one
	// goroutine at a time.
	Prefetch(ctx context.Context, path string, report func(Progress)) error
}

// Status tells what a mount does, and what it did so far.
type Status struct {
	Dir     string    `json:"directory"` // at first; bytes that are not UTF-8 are replaced
	Tree    string    `json:"tree"`      // as it was named to mount; "" for all trees
	Mode    string    `json:"mode"`
	Remote  string    `json:"remote"`
	PID     int       `json:"pid,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Device  string    `json:"device,omitempty"` // MAJOR:MINOR; the socket's name tells it, not the mount

	FilesRead      int64 `json:"files_read"`      // opened, by readers or ahead of them
	BytesRead      int64 `json:"bytes_read"`      // handed to readers
	ObjectsFetched int64 `json:"objects_fetched"` // whole
	RangesFetched  int64 `json:"ranges_fetched"`  // of others
	BytesFetched   int64 `json:"bytes_fetched"`
	CacheHits      int64 `json:"cache_hits"` // objects and ranges that were here when they were asked for
	Entries        int64 `json:"entries"`    // of the directories that were looked into
	Requests       int64 `json:"requests"`   // of the kernel
	Errors         int64 `json:"errors"`
	Waiting        int64 `json:"waiting"` // readers that wait for a fetch
	Prefetching    bool  `json:"prefetching"`
}

// Progress tells how far reading ahead has come. Totals grow until all
// directories are read.
type Progress struct {
	Trees      int64 `json:"trees"`
	Files      int64 `json:"files"`
	Bytes      int64 `json:"bytes"`
	TotalFiles int64 `json:"total_files"`
	TotalBytes int64 `json:"total_bytes"`
}

// Update is a line of the answer to a prefetch.
type Update struct {
	Progress
	Done    bool   `json:"done,omitempty"`    // this is the last line
	Error   string `json:"error,omitempty"`   // why it is, if all could not be read
	Missing bool   `json:"missing,omitempty"` // that is because there is no such path
}

// err is the error that the line tells of.
func (u Update) err() error {
	switch {
	case u.Missing:
		return &missingError{u.Error}
	case u.Error != "":
		return errors.New(u.Error)
	}
	return nil
}

type missingError struct{ text string }

func (m *missingError) Error() string { return m.text }
func (m *missingError) Unwrap() error { return fs.ErrNotExist }
