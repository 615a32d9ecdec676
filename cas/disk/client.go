package disk

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/fstree/fstree/cas"
)

// client is the index of another process.
type client struct {
	store   *Store
	conn    net.Conn
	running sync.WaitGroup
	done    chan struct{} // closed with the connection

	writing sync.Mutex // held while a question is written

	mu      sync.Mutex
	number  uint64
	waiting map[uint64]chan frame
	heard   time.Time // when the owner said something last, or began to owe an answer
	err     error     // why there is no connection any more
}

// dial connects to the owner. The error is errNoOwner if nobody listens, or
// says hello.
func dial(s *Store) (*client, error) {
	conn, err := s.dialSocket()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoOwner, err)
	}
	conn.SetReadDeadline(time.Now().Add(s.patience / 2))
	r := bufio.NewReaderSize(conn, 64<<10)
	hello, err := readFrame(r)
	if err != nil || hello.code != answerHello || len(hello.body) != 1 {
		conn.Close()
		return nil, errNoOwner
	}
	if hello.body[0] != protocolVersion {
		conn.Close()
		return nil, fmt.Errorf("cache %s: %w: it is in use by another version of this program", s.dir, ErrUnavailable)
	}
	conn.SetReadDeadline(time.Time{})
	c := &client{store: s, conn: conn, done: make(chan struct{}), waiting: map[uint64]chan frame{}}
	c.running.Go(func() { c.read(r) })
	c.running.Go(c.watch)
	return c, nil
}

func (c *client) read(r *bufio.Reader) {
	for {
		f, err := readFrame(r)
		if err != nil {
			c.fail(errOwnerGone)
			return
		}
		c.mu.Lock()
		c.heard = time.Now()
		answer := c.waiting[f.number]
		delete(c.waiting, f.number)
		c.mu.Unlock()
		if answer != nil {
			answer <- f
		}
	}
}

// watch gives up on an owner that owes an answer and says nothing at all, not
// even to a ping.
func (c *client) watch() {
	tick := time.NewTicker(c.store.patience / 5)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		owes, silence := len(c.waiting) > 0, time.Since(c.heard)
		c.mu.Unlock()
		if owes && silence > c.store.patience {
			c.fail(c.store.silent())
			return
		}
		if owes {
			c.write(frame{code: opPing})
		}
	}
}

// fail ends the connection; everybody who waits gets err.
func (c *client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	c.conn.Close()
	close(c.done)
	for _, answer := range c.waiting {
		close(answer)
	}
	c.waiting = nil
}

func (c *client) interrupt() { c.fail(errClosed) }

func (c *client) close() error {
	c.fail(errOwnerGone)
	c.running.Wait()
	return nil
}

// call puts a question and waits for the answer's body.
func (c *client) call(ctx context.Context, op byte, body []byte) ([]byte, error) {
	answer := make(chan frame, 1)
	number, err := c.expect(answer)
	if err != nil {
		return nil, err
	}
	if err := c.write(frame{number, op, body}); err != nil {
		c.fail(errOwnerGone)
	}
	select {
	case f, ok := <-answer:
		if !ok {
			return nil, c.cause()
		}
		return c.open(f)
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, number)
		c.mu.Unlock()
		return nil, context.Cause(ctx)
	}
}

// expect prepares for an answer.
func (c *client) expect(answer chan frame) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if len(c.waiting) == 0 {
		c.heard = time.Now()
	}
	c.number++
	c.waiting[c.number] = answer
	return c.number, nil
}

func (c *client) write(f frame) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(c.store.patience))
	_, err := c.conn.Write(appendFrame(nil, f))
	return err
}

func (c *client) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *client) open(f frame) ([]byte, error) {
	switch f.code {
	case answerOK:
		return f.body, nil
	case answerError:
		return nil, decodeError(f.body)
	case answerEnding:
		return nil, errOwnerGone
	}
	return nil, errBabble
}

func (c *client) lookup(ctx context.Context, ds []cas.Digest, counted bool) ([]entry, error) {
	op := byte(opLookup)
	if counted {
		op = opCountedLookup
	}
	b, err := c.call(ctx, op, appendDigests(nil, ds))
	if err != nil {
		return nil, err
	}
	entries := make([]entry, len(ds))
	for i, d := range ds {
		if entries[i], b, err = cutEntry(b, d); err != nil {
			return nil, errBabble
		}
	}
	return entries, nil
}

func (c *client) record(ctx context.Context, items []item, keep limits) error {
	_, err := c.call(ctx, opRecord, appendItems(appendLimits(nil, keep), items))
	return err
}

func (c *client) publish(ctx context.Context, p publication) error {
	return c.exchange(ctx, opPublish, p, nil)
}

func (c *client) forget(ctx context.Context, it item) error {
	_, err := c.call(ctx, opForget, appendItems(nil, []item{it}))
	return err
}

func (c *client) list(ctx context.Context, after cas.Digest) ([]item, error) {
	var question []byte
	if !after.IsZero() {
		question = appendDigests(nil, []cas.Digest{after})
	}
	b, err := c.call(ctx, opList, question)
	if err != nil {
		return nil, err
	}
	return parseItems(b)
}

func (c *client) evict(ctx context.Context, keep limits) (done evicted, err error) {
	err = c.exchange(ctx, opEvict, keep, &done)
	return done, err
}

func (c *client) stats(ctx context.Context) (stats Stats, err error) {
	err = c.exchange(ctx, opStats, nil, &stats)
	return stats, err
}

// exchange is call in JSON. A nil answer is not looked at.
func (c *client) exchange(ctx context.Context, op byte, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	b, err := c.call(ctx, op, body)
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(b, answer)
}
