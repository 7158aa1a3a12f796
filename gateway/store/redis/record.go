package redis

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
	"turnout/gateway/store/seal"
)

// record is a conversation as it stood at one instant. It is never changed: a commit makes a new one.
type record struct {
	ref   store.Ref
	state *conversation.State
	ver   store.Token
	ops   marks
	head  audit.Head
	key   *seal.Content
	// lease is the bot call's, attempt the send's. outbox names the state of the rows.
	lease, attempt store.Lease
	outbox         string
	rows           []form.Out // in order
	// shelf is what of the log is archived, as it was when the record was read.
	shelf shelf
}

// marks stand for the last operations of a conversation, the newest last: names are long and would be most of the row.
type marks []byte

const (
	// keptOps is over how many commits of a conversation a repeated operation is recognised.
	keptOps  = 16
	markSize = 8
)

func markOf(op store.Token) []byte {
	sum := sha256.Sum256([]byte(op))
	return sum[:markSize]
}

// with returns the marks after one more, in memory of their own.
func (m marks) with(op store.Token) marks {
	kept := m[max(0, len(m)-(keptOps-1)*markSize):]
	return append(slices.Clone(kept), markOf(op)...)
}

func (m marks) has(op store.Token) bool {
	mark := markOf(op)
	for ; len(m) >= markSize; m = m[markSize:] {
		if bytes.Equal(m[:markSize], mark) {
			return true
		}
	}
	return false
}

var errRow = errors.New("a row is damaged")

// encodeHead is how the end of a chain is stored: its number and its hash.
func encodeHead(h audit.Head) []byte { return append(be64(make([]byte, 0, 40), h.N), h.Hash[:]...) }

func decodeHead(b []byte) (h audit.Head, err error) {
	if len(b) == 0 {
		return h, nil
	}
	if len(b) != 8+len(h.Hash) {
		return h, fmt.Errorf("the end of an audit chain: %w", errRow)
	}
	h.N = binary.BigEndian.Uint64(b)
	copy(h.Hash[:], b[8:])
	return h, nil
}

// aad is the additional data of a sealed value: its place, and the clear parts that go with it.
func aad(key string, clear ...[]byte) []byte {
	b := append(make([]byte, 0, len(key)+64), key...)
	for _, c := range clear {
		b = append(b, c...)
	}
	return b
}

// load reads a conversation; nil when there is none. What the cache knows of the version in force is not read again.
func (s *Store) load(ctx context.Context, r store.Ref) (*record, error) {
	p, err := home(r)
	if err != nil {
		return nil, err
	}
	t, err := s.tenant(ctx, r.Tenant)
	if t == nil || err != nil {
		return nil, err
	}
	known := s.cache.get(r)
	var cmd *goredis.Cmd
	if err := s.db.run(ctx, reading, func(pipe goredis.Pipeliner) { cmd = s.loading(ctx, pipe, p, r, known) }); err != nil {
		return nil, err
	}
	rec, err := s.loaded(cmd, p, r, t, known)
	if rec != nil && err == nil {
		s.cache.put(rec)
	}
	return rec, err
}

// loadedAtOnce is how many conversations one pipeline reads.
const loadedAtOnce = 64

// loadAll is load for many of one tenant, in their order. What got returns ends it.
func (s *Store) loadAll(ctx context.Context, t store.Tenant, convs []string, got func(r store.Ref, rec *record, err error) error) error {
	keys, err := s.tenant(ctx, t)
	if keys == nil || err != nil {
		return err
	}
	for page := range slices.Chunk(convs, loadedAtOnce) {
		cmds, known := make([]*goredis.Cmd, len(page)), make([]*record, len(page))
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
			for i, conv := range page {
				r := store.Ref{Tenant: t, ID: conv}
				part, _ := home(r)
				known[i] = s.cache.get(r)
				cmds[i] = s.loading(ctx, p, part, r, known[i])
			}
		}); err != nil {
			return err
		}
		for i, conv := range page {
			r := store.Ref{Tenant: t, ID: conv}
			part, _ := home(r)
			rec, err := s.loaded(cmds[i], part, r, keys, known[i])
			if err := got(r, rec, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// loading adds the call of the load script to a pipeline; loaded reads its answer.
func (s *Store) loading(ctx context.Context, pipe goredis.Pipeliner, p int, r store.Ref, known *record) *goredis.Cmd {
	var ver store.Token
	if known != nil {
		ver = known.ver
	}
	keys := []string{s.keys.conversation(p, r, "s"), s.keys.ofTenant(p, r.Tenant, "k"), s.keys.conversation(p, r, "o")}
	return pipe.EvalSha(ctx, s.db.scripts.load.Hash(), keys, r.ID, string(ver))
}

// fields of the load script's answer, in its order.
const (
	fVer = iota
	fOps
	fHead
	fLease
	fLeaseEnd
	fAttempt
	fAttemptEnd
	fOutbox
	fShelf
	fState
	fKey
	fRows
)

func (s *Store) loaded(cmd *goredis.Cmd, p int, r store.Ref, t *seal.Tenant, known *record) (*record, error) {
	fields, err := cmd.StringSlice()
	if err != nil {
		return nil, fmt.Errorf("reading a conversation: %w", err)
	}
	if len(fields) == 0 {
		return nil, nil
	}
	if len(fields) < fRows || (len(fields)-fRows)%2 != 0 {
		return nil, fmt.Errorf("reading a conversation: %w", errRow)
	}
	rec := &record{ref: r, ver: store.Token(fields[fVer]), ops: marks(fields[fOps]), outbox: fields[fOutbox]}
	if rec.lease, err = leaseOf(fields[fLease], fields[fLeaseEnd]); err != nil {
		return nil, err
	}
	if rec.attempt, err = leaseOf(fields[fAttempt], fields[fAttemptEnd]); err != nil {
		return nil, err
	}
	if rec.head, err = decodeHead([]byte(fields[fHead])); err != nil {
		return nil, err
	}
	if rec.shelf, err = decodeShelf([]byte(fields[fShelf])); err != nil {
		return nil, err
	}
	if known != nil && known.ver == rec.ver && fields[fState] == "" {
		rec.state, rec.key = known.state, known.key
	} else {
		if fields[fKey] == "" {
			return nil, fmt.Errorf("reading state: %w", seal.ErrOpen)
		}
		if rec.key, err = t.OpenContent(r.ID, []byte(fields[fKey])); err != nil {
			return nil, err
		}
		plain, err := rec.key.Open(nil, aad(s.keys.conversation(p, r, "s"), rec.ops, []byte(fields[fHead])), []byte(fields[fState]))
		if err != nil {
			return nil, fmt.Errorf("reading state: %w", err)
		}
		rec.state = new(conversation.State)
		if err := json.Unmarshal(plain, rec.state); err != nil {
			return nil, fmt.Errorf("decoding state: %w", err)
		}
	}
	rec.rows, err = s.readRows(rec, p, fields[fRows:])
	return rec, err
}

func leaseOf(token, until string) (l store.Lease, err error) {
	if token == "" {
		return l, nil
	}
	l.Token = store.Token(token)
	if l.Until, err = strconv.ParseInt(until, 10, 64); err != nil {
		return l, fmt.Errorf("reading a lease: %w", errRow)
	}
	return l, nil
}

// existing is load with store.ErrNotFound in place of nil.
func (s *Store) existing(ctx context.Context, r store.Ref) (*record, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	rec, err := s.load(ctx, r)
	if err == nil && rec == nil {
		err = s.gone(ctx, r)
	}
	return rec, err
}

// snapshot shows a record to the outside.
func (r *record) snapshot() *store.Snapshot {
	return &store.Snapshot{Ref: r.ref, Version: r.ver, State: r.state, Lease: r.lease, Outgoing: r.outgoing()}
}

// outgoing are the bot's messages that wait.
func (r *record) outgoing() (out []conversation.Outgoing) {
	for _, row := range r.rows {
		if row.Row.Out.By == message.ByBot {
			out = append(out, conversation.Outgoing{Message: row.Row.Out.ID, InFlight: row.Token != "", Unsure: row.Unsure > 0})
		}
	}
	return out
}

// flying names the bot's messages whose send is under way.
func (r *record) flying() (ids []string) {
	for _, o := range r.outgoing() {
		if o.InFlight {
			ids = append(ids, o.Message)
		}
	}
	return ids
}
