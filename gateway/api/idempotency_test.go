package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters/problem"
	"turnout/gateway/store"
)

// remembered is a Memory.
type remembered struct {
	mu  sync.Mutex
	all map[[32]byte]store.Answer
}

func (m *remembered) Remember(_ context.Context, _ store.Tenant, a store.Answer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all[a.Key] = a
	return nil
}

func (m *remembered) Recall(_ context.Context, _ store.Tenant, key [32]byte) (store.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.all[key]
	if !ok {
		return a, store.ErrNotFound
	}
	return a, nil
}

// What a request asks for is its query, too.
func TestKeyCoversTheQuery(t *testing.T) {
	var done []string
	b := start(t, func(o *Options) {
		o.Memory = &remembered{all: map[[32]byte]store.Answer{}}
		o.Admin = []Route{{
			Method: "POST", Path: "/v1/admin/things", Access: People, Roles: []Role{RoleAdmin},
			Handle: func(c *Call) (any, error) {
				done = append(done, c.Query("dry_run"))
				return map[string]string{"dry_run": c.Query("dry_run")}, nil
			},
		}}
	})
	b.document = nil // the route is none of the product's
	post := func(query string) answer {
		return b.as("acme/admin", http.MethodPost, "/v1/admin/things"+query, `{}`, keyHeader, "key-1")
	}
	first := b.want(200, "", post("?dry_run=1"))
	if again := b.want(200, "", post("?dry_run=1")); string(again.body) != string(first.body) {
		t.Errorf("a repeat is answered %s, was %s", again.body, first.body)
	}
	for _, other := range []string{"", "?dry_run=0", "?dry_run=1&force=1"} {
		b.want(422, problem.CodeIdempotencyMismatch, post(other))
	}
	if len(done) != 1 {
		t.Errorf("carried out with %q", done)
	}
}

// Who waits for the first request of a key until their own time is over is told that it is not known what came of it.
func TestRepeatThatWaitsInVain(t *testing.T) {
	r := newRepeats(nil, nil, time.Now)
	leave, err := r.enter(t.Context(), [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"its time is over":   func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, 0) },
		"the server is down": context.WithCancel,
	} {
		ctx, cancel := end(t.Context())
		cancel()
		_, err := r.enter(ctx, [32]byte{1})
		if d := details(err); d.Status != fasthttp.StatusServiceUnavailable || d.Code != problem.CodeUnknownOutcome {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// A source of random bytes may give fewer at a time than it is asked for.
func TestOperationsAreRandomToTheEnd(t *testing.T) {
	const random = "0123456789abcdef"
	s := &Server{o: Options{Rand: iotest.OneByteReader(strings.NewReader(random))}}
	op, err := s.op(nil)
	if got, _ := base64.RawURLEncoding.DecodeString(op); err != nil || string(got) != random {
		t.Errorf("the operation is %q, %v", got, err)
	}
	if op, err := s.op(nil); err == nil {
		t.Errorf("without random bytes the operation is %q", op)
	}
}
