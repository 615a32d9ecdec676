package bulk

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/stats"
)

const (
	// slowLink is the speed, in bytes a second, below which compressing takes
	// less time than it saves: half of what one core compresses.
	slowLink = 100e6

	// A speed is judged by what the last so many bytes took.
	leastSample = 1 << 20
	mostSample  = 8 << 20
)

// Link is one connection as its sender sees it. It measures how fast the
// connection takes what is sent, by the time in which anybody waits for that.
// It is safe for concurrent use.
type Link struct {
	mu      sync.Mutex
	near    bool // both ends are on this machine
	waiting int  // senders
	since   time.Time
	waited  time.Duration
	bytes   int
}

// connect begins anew with a connection between two addresses.
func (l *Link) connect(local, remote net.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.near = sameMachine(local, remote)
	l.waited, l.bytes = 0, 0
}

func sameMachine(local, remote net.Addr) bool {
	l, ok := local.(*net.TCPAddr)
	r, ok2 := remote.(*net.TCPAddr)
	return !ok || !ok2 || r.IP.IsLoopback() || l.IP.Equal(r.IP)
}

// Send calls do, which sends n bytes. A nil l measures nothing.
func (l *Link) Send(n int, do func() error) error {
	if l == nil {
		return do()
	}
	l.begin()
	defer l.end(n)
	return do()
}

func (l *Link) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == 0 {
		l.since = time.Now()
	}
	l.waiting++
}

func (l *Link) end(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.waited += now.Sub(l.since)
	l.since = now
	l.waiting--
	l.bytes += n
	if l.bytes > mostSample {
		l.waited, l.bytes = l.waited/2, l.bytes/2
	}
}

// slow tells whether compressing pays.
func (l *Link) slow() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.near && l.bytes >= leastSample && float64(l.bytes) < slowLink*l.waited.Seconds()
}

// Handler tells l of the connections of a client.
func (l *Link) Handler() stats.Handler {
	return handler{tag: func(ctx context.Context, info *stats.ConnTagInfo) context.Context {
		l.connect(info.LocalAddr, info.RemoteAddr)
		return ctx
	}}
}

type linkKey struct{}

// Links gives each connection of a server a Link: see LinkOf.
func Links() stats.Handler {
	return handler{tag: func(ctx context.Context, info *stats.ConnTagInfo) context.Context {
		l := &Link{}
		l.connect(info.LocalAddr, info.RemoteAddr)
		return context.WithValue(ctx, linkKey{}, l)
	}}
}

// LinkOf returns the Link of the connection that a server's call came by.
func LinkOf(ctx context.Context) *Link {
	l, _ := ctx.Value(linkKey{}).(*Link)
	return l
}

// handler hears of connections.
type handler struct {
	tag func(context.Context, *stats.ConnTagInfo) context.Context
}

func (h handler) TagConn(ctx context.Context, info *stats.ConnTagInfo) context.Context {
	return h.tag(ctx, info)
}
func (h handler) HandleConn(context.Context, stats.ConnStats)                     {}
func (h handler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (h handler) HandleRPC(context.Context, stats.RPCStats)                       {}
