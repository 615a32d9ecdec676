package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/fstree/fstree/cas"
	"github.com/fstree/fstree/cas/memory"
	pb "github.com/fstree/fstree/proto"
)

// slowStore takes its time.
type slowStore struct{ memory.Store }

func (s *slowStore) Get(ctx context.Context, d cas.Digest) (cas.Object, error) {
	time.Sleep(time.Minute)
	return s.Store.Get(ctx, d)
}

// recorder is a stream that keeps what is sent.
type recorder struct {
	grpc.ServerStreamingServer[pb.HasTreeResponse]
	ctx  context.Context
	sent []*pb.HasTreeResponse
}

func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Send(m *pb.HasTreeResponse) error {
	r.sent = append(r.sent, m)
	return nil
}

func TestLongWalkGivesSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{ctx: t.Context()}
		service := &cacheService{server: New(&slowStore{}, Options{})}
		defer service.server.Shutdown(t.Context())
		if err := service.HasTree(&pb.HasTreeRequest{Digest: []string{cas.Sum(nil).String()}}, r); err != nil {
			t.Fatal(err)
		}
		if n := len(r.sent); n < 10 || n > 13 {
			t.Fatalf("%d messages in a minute", n)
		}
		for _, m := range r.sent[:len(r.sent)-1] {
			if len(m.MissingTrees)+len(m.MissingObjects) != 0 {
				t.Errorf("a sign of life says %v", m)
			}
		}
	})
}
