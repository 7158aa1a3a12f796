package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// keyHeader names the header with which a client repeats a request safely, maxKey is its longest value.
const (
	keyHeader = "Idempotency-Key"
	maxKey    = 256
)

// Memory keeps the answers to requests of administration that came with an Idempotency-Key. An act on a conversation keeps
// its own in the conversation's log (package queue).
type Memory interface {
	Remember(ctx context.Context, t store.Tenant, a store.Answer) error
	Recall(ctx context.Context, t store.Tenant, key [32]byte) (store.Answer, error)
}

// Kept is what an answer may implement that must not be kept as it is: it holds what is shown once. A repeat is answered
// with what Kept returns.
type Kept interface {
	Kept() any
}

// repeats carries out requests with a key once.
type repeats struct {
	memory Memory
	mac    []byte
	now    func() time.Time

	mu      sync.Mutex
	running map[[32]byte]chan struct{} // closed when the request has ended
}

func newRepeats(m Memory, key []byte, now func() time.Time) *repeats {
	return &repeats{memory: m, mac: key, now: now, running: map[[32]byte]chan struct{}{}}
}

func (r *repeats) digest(parts ...string) (sum [32]byte) {
	h := hmac.New(sha256.New, r.mac)
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	h.Sum(sum[:0])
	return sum
}

// keyOf names the request of a call: who, the route, and the key that it came with.
func (r *repeats) keyOf(c *Call) [32]byte {
	return r.digest("request", c.Tenant().Name(), c.Actor(), c.route.Method, string(c.ctx.Path()), c.key())
}

// key is the Idempotency-Key of a call; "" for none.
func (c *Call) key() string { return string(c.ctx.Request.Header.Peek(keyHeader)) }

// once carries out a call of administration, or returns what it was answered with before.
func (r *repeats) once(c *Call, h Handler) (any, error) {
	switch key := c.key(); {
	case len(key) > maxKey:
		return nil, badRequest("Idempotency-Key has at most 256 bytes.")
	case key == "" || r.memory == nil || !c.route.keyed() || !strings.HasPrefix(c.route.Path, adminPath):
		return h(c)
	}
	key := r.keyOf(c)
	leave, err := r.enter(c.work, key)
	if err != nil {
		return nil, err
	}
	defer leave()
	body, err := c.Body()
	if err != nil {
		return nil, err
	}
	digest := r.digest("body", string(body))
	if query := string(c.ctx.QueryArgs().QueryString()); query != "" {
		digest = r.digest("request", query, string(body))
	}
	tenant := c.Tenant()
	if tenant == (store.Tenant{}) {
		tenant = store.Operator
	}
	before, err := r.memory.Recall(c.work, tenant, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return nil, err
	case before.Digest != digest:
		return nil, queue.ErrMismatch
	case len(before.Body) == 0:
		return nil, nil
	default:
		return json.RawMessage(before.Body), nil
	}
	v, err := h(c)
	if _, file := v.(*Stream); err != nil || file {
		return v, err
	}
	answer := store.Answer{Key: key, Digest: digest, Until: r.now().Add(queue.KeyLife).UnixMilli()}
	kept := v
	if k, ok := v.(Kept); ok {
		kept = k.Kept()
	}
	if kept != nil {
		if answer.Body, err = json.Marshal(kept); err != nil {
			return nil, err
		}
	}
	if err := r.memory.Remember(c.work, tenant, answer); err != nil {
		c.s.o.Log.Error("remembering an answer: its request would be carried out again", "route", c.route.Path, "err", err)
	}
	return v, nil
}

// enter lets one request with a key through at a time.
func (r *repeats) enter(ctx context.Context, key [32]byte) (leave func(), err error) {
	for {
		r.mu.Lock()
		other := r.running[key]
		if other == nil {
			mine := make(chan struct{})
			r.running[key] = mine
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				delete(r.running, key)
				r.mu.Unlock()
				close(mine)
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// op is the operation that a call stands for: the same for each repeat of a request with a key, else a new one.
func (s *Server) op(c *Call) (string, error) {
	if c != nil && c.key() != "" {
		sum := s.repeats.digest("op", c.Tenant().Name(), c.Actor(), c.route.Method, string(c.ctx.Path()), c.key())
		return encodeToken(sum[:16]), nil
	}
	op := make([]byte, 16)
	if _, err := io.ReadFull(s.o.Rand, op); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(op), nil
}
