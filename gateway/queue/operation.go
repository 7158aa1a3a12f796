package queue

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// logPage is how many events are read at a time when a log is looked through.
const logPage = 128

// operation is the identity of one act over its repeats. Its token is "<key>.<digest>", both keyed hashes, and behind a
// second dot the number of the attempt where each attempt needs an operation of its own.
type operation struct {
	token string
	key   string // with the dot; empty: no idempotency key, every request is another operation
	seed  [32]byte
	ids   *id.Source
}

// operation derives the identity of an act by an agent on a conversation. body is what was asked for.
func (q *Queue) operation(a Agent, act, conv, key string, body any) (operation, error) {
	if key == "" {
		return operation{token: q.IDs.Token(), ids: q.IDs}, nil
	}
	b, err := json.Marshal(body)
	if err != nil {
		return operation{}, fmt.Errorf("digesting the request: %w", err)
	}
	scope := q.mac("operation", a.Tenant.Name(), a.ID, act, conv, key)
	digest := q.mac("body", string(b))
	op := operation{seed: scope, key: base64.RawURLEncoding.EncodeToString(scope[:16]) + "."}
	op.token = op.key + base64.RawURLEncoding.EncodeToString(digest[:8])
	return op, nil
}

func (q *Queue) mac(purpose string, fields ...string) (sum [32]byte) {
	h := hmac.New(sha256.New, q.Key)
	for _, f := range append([]string{purpose}, fields...) {
		h.Write([]byte(strconv.Itoa(len(f)) + ":" + f))
	}
	h.Sum(sum[:0])
	return sum
}

// attempt returns the token of the nth attempt, which is an operation of its own but found as the same request.
func (o operation) attempt(n int) store.Token {
	if o.key == "" {
		return store.Token(o.ids.Token())
	}
	return store.Token(o.token + "." + strconv.Itoa(n))
}

// message returns the id of the message that the operation says in a conversation: the same for every repeat.
func (o operation) message(s *conversation.State) (string, error) {
	part, err := id.Partition(id.Conversation, s.ID)
	if err != nil {
		return "", fmt.Errorf("placing a message: %w", err)
	}
	if o.key == "" {
		return o.ids.New(id.Message, part), nil
	}
	// A repeat must not depend on when it comes, so the id carries the time of the conversation instead of now.
	opened := time.UnixMilli(s.OpenedAt)
	return id.NewSource(rand.NewChaCha8(o.seed), func() time.Time { return opened }).New(id.Message, part), nil
}

// gate lets one request per idempotency key through at a time, so that a repeat that overtakes the first finds its
// traces. The caller calls leave.
func (q *Queue) gate(ctx context.Context, o operation) (leave func(), err error) {
	if o.key == "" {
		return func() {}, nil
	}
	g := q.gates[int(o.seed[0])%len(q.gates)]
	select {
	case g <- struct{}{}:
		return func() { <-g }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// done looks in the log for what the operation did before. nil: nothing that is known.
func (q *Queue) done(ctx context.Context, snap *store.Snapshot, o operation) (*Result, error) {
	if o.key == "" {
		return nil, nil
	}
	oldest := q.Now().Add(-KeyLife).UnixMilli()
	for end := snap.State.Seq; end > 0; {
		from := end - min(end, logPage)
		events, err := q.Store.Log(ctx, snap.Ref, from, int(end-from))
		if err != nil {
			return nil, fmt.Errorf("looking for the first request: %w", err)
		}
		for i := range events {
			if events[i].At < oldest || !strings.HasPrefix(events[i].Op, o.key) {
				continue
			}
			if events[i].Op != o.token && !strings.HasPrefix(events[i].Op, o.token+".") {
				return nil, ErrMismatch
			}
			r := result(snap.State)
			r.Repeated = true
			r.note(events[i:])
			return &r, nil
		}
		if len(events) == 0 || events[0].At < oldest {
			break
		}
		end = from
	}
	return nil, nil
}

// note fills in what the events of one operation, the first of events, said.
func (r *Result) note(events []conversation.Event) {
	for i := range events {
		if events[i].Op != events[0].Op {
			return
		}
		switch d := events[i].Data.(type) {
		case *conversation.Sent:
			r.Message = d.ID
		case *conversation.Held:
			r.Message, r.HeldUntil = d.ID, instant(d.Until)
		case *conversation.StatusChanged:
			r.Message = d.ID
		case *conversation.Note:
			r.Note = d.ID
		}
	}
}

// instant converts milliseconds since 1970; 0 is nil.
func instant(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := time.UnixMilli(ms).UTC()
	return &t
}
