package disk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/fstree/fstree/cas"
)

// server answers the questions of other processes.
type server struct {
	engine   *engine
	listener *net.UnixListener
	running  sync.WaitGroup

	mu      sync.Mutex
	closing bool
	guests  map[*guest]struct{}
}

// guest is a connected client.
type guest struct {
	conn net.Conn

	mu sync.Mutex // held while an answer is written
}

const (
	maxAtOnce      = 32               // questions of one guest
	writeTimeout   = 10 * time.Second // for a guest that does not read
	partingTimeout = time.Second      // the same when the owner ends
)

func listen(s *Store, x *engine) (*server, error) {
	l, err := s.listenSocket()
	if err != nil {
		return nil, err
	}
	v := &server{engine: x, listener: l, guests: map[*guest]struct{}{}}
	v.running.Go(v.accept)
	return v, nil
}

func (v *server) accept() {
	for {
		conn, err := v.listener.Accept()
		if err != nil {
			return
		}
		g := &guest{conn: conn}
		v.mu.Lock()
		if v.closing {
			v.mu.Unlock()
			conn.Close()
			return
		}
		v.guests[g] = struct{}{}
		v.running.Go(func() { v.serve(g) })
		v.mu.Unlock()
	}
}

// close takes no more questions, and waits until those that were read are
// answered.
func (v *server) close() {
	v.mu.Lock()
	v.closing = true
	v.listener.Close()
	for g := range v.guests {
		g.conn.SetReadDeadline(time.Now())
		g.conn.SetWriteDeadline(time.Now().Add(partingTimeout))
	}
	v.mu.Unlock()
	v.running.Wait()
	os.Remove(v.engine.store.path(runDir, "socket"))
}

func (v *server) serve(g *guest) {
	ctx, cancel := context.WithCancel(v.engine.lifetime)
	var answering sync.WaitGroup
	defer func() {
		answering.Wait()
		cancel()
		g.conn.Close()
		v.mu.Lock()
		delete(v.guests, g)
		v.mu.Unlock()
	}()
	if v.send(g, frame{code: answerHello, body: []byte{protocolVersion}}) != nil {
		return
	}
	slots := make(chan struct{}, maxAtOnce)
	r := bufio.NewReaderSize(g.conn, 64<<10)
	for {
		f, err := readFrame(r)
		if err != nil {
			if !v.ending() {
				cancel()
			}
			return
		}
		slots <- struct{}{}
		answering.Go(func() {
			defer func() { <-slots }()
			if v.send(g, v.answer(ctx, f)) != nil {
				g.conn.Close()
			}
		})
	}
}

func (v *server) ending() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.closing
}

func (v *server) send(g *guest, f frame) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !v.ending() {
		g.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	_, err := g.conn.Write(appendFrame(nil, f))
	return err
}

// answer does what f asks for.
func (v *server) answer(ctx context.Context, f frame) frame {
	body, err := v.do(ctx, f)
	switch {
	case err == nil:
		return frame{f.number, answerOK, body}
	case v.engine.lifetime.Err() != nil || errors.Is(err, errOwnerGone):
		return frame{f.number, answerEnding, nil}
	default:
		return frame{f.number, answerError, encodeError(err)}
	}
}

func (v *server) do(ctx context.Context, f frame) ([]byte, error) {
	x := v.engine
	switch f.code {
	case opPing:
		return nil, nil
	case opLookup, opCountedLookup:
		ds, err := parseDigests(f.body)
		if err != nil {
			return nil, err
		}
		entries, err := x.lookup(ctx, ds, f.code == opCountedLookup)
		var b []byte
		for i, e := range entries {
			b = appendWireEntry(b, ds[i], e)
		}
		return b, err
	case opRecord:
		keep, body, err := cutLimits(f.body)
		if err != nil {
			return nil, err
		}
		items, err := parseItems(body)
		if err != nil {
			return nil, err
		}
		return nil, x.record(ctx, items, keep)
	case opPublish:
		var p publication
		if err := json.Unmarshal(f.body, &p); err != nil {
			return nil, err
		}
		return nil, x.publish(ctx, p)
	case opForget:
		items, err := parseItems(f.body)
		if err != nil || len(items) != 1 {
			return nil, errBabble
		}
		return nil, x.forget(ctx, items[0])
	case opList:
		ds, err := parseDigests(f.body)
		if err != nil || len(ds) > 1 {
			return nil, errBabble
		}
		items, err := x.list(ctx, append(ds, cas.Digest{})[0])
		return appendItems(nil, items), err
	case opEvict:
		var l limits
		if err := json.Unmarshal(f.body, &l); err != nil {
			return nil, err
		}
		done, err := x.evict(ctx, l)
		b, _ := json.Marshal(done)
		return b, err
	case opStats:
		stats, err := x.stats(ctx)
		b, _ := json.Marshal(stats)
		return b, err
	}
	return nil, errBabble
}
