package embedded

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// tampered returns a store with one conversation that waits in a queue, has a tag, a timer and a row to send.
func tampered(t *testing.T) (*Store, store.Ref) {
	t.Helper()
	s, err := Open(Options{
		Dir: "/store", FS: vfs.NewMem(), Root: make([]byte, seal.KeySize), Now: time.Now,
		IDs: id.NewSource(rand.Reader, time.Now), Reserve: -1, Ballast: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	ten := testRef(t).Tenant
	from := message.Address{Channel: "c", Address: "a"}
	r := store.Ref{Tenant: ten, ID: s.o.IDs.New(id.Conversation, id.PartitionOf(ten.Name(), from.Channel, from.Address))}
	now := new(conversation.State)
	for i, cmds := range [][]conversation.Command{
		{conversation.Open{ID: r.ID, From: from}},
		{conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{"vip"}}}},
		{conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionHandoff, Phase: conversation.Inbound}}},
		{conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}}},
		{conversation.Receive{ID: "m", In: message.Inbound{ID: "1", From: from, Kind: message.Text, Text: "x"}}},
		{conversation.SetTimer{Timer: conversation.Timer{Name: "idle", At: 99}}},
		{
			conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{"one"}}},
			conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{"two"}}},
		},
	} {
		op := fmt.Sprint("op-", i)
		d := conversation.Begin(now, conversation.Env{Now: 5, Op: op, Actor: conversation.Actor{Kind: conversation.System}})
		for _, c := range cmds {
			if err := d.Do(c); err != nil {
				t.Fatal(err)
			}
		}
		st := store.Step{Ref: r, Op: store.Token(op), Events: d.Events, State: &d.State}
		if i == 0 {
			st.Bind = &store.Bind{Address: from}
			st.Outbox = []store.OutboxRow{{ID: "r_1", Due: 7}}
			st.Attach = []store.Attachment{{Attachment: message.Attachment{ID: "a_1"}}}
		} else {
			st.Base = store.Token(fmt.Sprint("op-", i-1))
		}
		if _, err := s.Commit(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		now = &d.State
	}
	if err := s.Append(t.Context(), ten, audit.Entry{Type: "login"}); err != nil {
		t.Fatal(err)
	}
	sealAll(t, s, ten)
	if err := s.Append(t.Context(), ten, audit.Entry{Type: "logout"}); err != nil {
		t.Fatal(err)
	}
	sealAll(t, s, ten)
	if rep, err := s.Check(t.Context()); err != nil || len(rep.Faults) != 0 || rep.Conversations != 1 {
		t.Fatalf("before: %+v, %v", rep, err)
	}
	return s, r
}

// TestCheckFinds changes rows behind the store's back, one kind after the other: each is found.
func TestCheckFinds(t *testing.T) {
	type rows struct {
		s *Store
		r store.Ref
		t *testing.T
	}
	del := func(key []byte) func(rows) {
		return func(w rows) {
			if err := w.s.db.Delete(key, pebble.Sync); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	set := func(w rows, key, value []byte) {
		if err := w.s.db.Set(key, value, pebble.Sync); err != nil {
			w.t.Fatal(err)
		}
	}
	get := func(w rows, key []byte) []byte {
		v, err := w.s.get(key)
		if err != nil || v == nil {
			w.t.Fatalf("no row %x: %v", key, err)
		}
		return v
	}
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)-1] ^= 1
		return b
	}
	for name, tamper := range map[string]func(rows){
		"event lost":      func(w rows) { del(rowKey(conversationKey(w.r), kindLog, 2))(w) },
		"last event lost": func(w rows) { del(rowKey(conversationKey(w.r), kindLog, 8))(w) },
		"a row's span changed": func(w rows) {
			k := rowKey(conversationKey(w.r), kindLog, 8)
			v := get(w, k)
			v[0]--
			set(w, k, v)
		},
		"a row's visible sequence changed": func(w rows) {
			k := rowKey(conversationKey(w.r), kindLog, 2)
			v := get(w, k)
			v[1]++
			set(w, k, v)
		},
		"entry cut off a row": func(w rows) {
			k := rowKey(conversationKey(w.r), kindAudit, 5)
			v := get(w, k)
			set(w, k, v[:len(v)/2])
		},
		"event changed": func(w rows) {
			k := rowKey(conversationKey(w.r), kindLog, 3)
			set(w, k, flip(get(w, k)))
		},
		"events exchanged": func(w rows) {
			a, b := rowKey(conversationKey(w.r), kindLog, 3), rowKey(conversationKey(w.r), kindLog, 4)
			va, vb := get(w, a), get(w, b)
			set(w, a, vb)
			set(w, b, va)
		},
		"state changed": func(w rows) {
			k := kindKey(conversationKey(w.r), kindState)
			set(w, k, flip(get(w, k)))
		},
		"state header changed": func(w rows) {
			k := kindKey(conversationKey(w.r), kindState)
			v := get(w, k)
			v[3] ^= 1
			set(w, k, v)
		},
		"audit entry lost": func(w rows) { del(rowKey(conversationKey(w.r), kindAudit, 2))(w) },
		"audit entry changed": func(w rows) {
			k := rowKey(conversationKey(w.r), kindAudit, 1)
			set(w, k, flip(get(w, k)))
		},
		"attachment changed": func(w rows) {
			k := append(kindKey(conversationKey(w.r), kindAttachment), "a_1"...)
			set(w, k, flip(get(w, k)))
		},
		"state lost":        func(w rows) { del(kindKey(conversationKey(w.r), kindState))(w) },
		"key lost":          func(w rows) { del(dataKeyKey(w.r))(w) },
		"not in the queue":  func(w rows) { del(indexKey(dueQueue, 0, w.r, ""))(w) },
		"timer lost":        func(w rows) { del(indexKey(dueTimer, 99, w.r, "idle"))(w) },
		"outbox index lost": func(w rows) { del(indexKey(dueOutbox, 7, w.r, "c"))(w) },
		"a timer too many":  func(w rows) { set(w, indexKey(dueTimer, 98, w.r, "idle"), nil) },
		"work that is none": func(w rows) { set(w, indexKey(dueWork, 0, w.r, ""), nil) },
		"index row of none": func(w rows) { set(w, []byte("x?"), nil) },
		"checkpoint lost":   func(w rows) { del(checkpointKey(w.r.Tenant, 1))(w) },
		"checkpoint cut":    func(w rows) { set(w, checkpointKey(w.r.Tenant, 2), get(w, checkpointKey(w.r.Tenant, 2))[:50]) },
		"checkpoint changed": func(w rows) {
			k := checkpointKey(w.r.Tenant, 1)
			set(w, k, bytes.Replace(get(w, k), []byte("heads 2"), []byte("heads 3"), 1))
		},
		"mark lost": func(w rows) {
			if err := w.s.Append(w.t.Context(), w.r.Tenant, audit.Entry{Type: "login"}); err != nil {
				w.t.Fatal(err)
			}
			del(movedKey(w.r.Tenant, "acme"))(w)
		},
		"head changed": func(w rows) {
			k := checkpointKey(w.r.Tenant, 1)
			set(w, k, flip(get(w, k)))
		},
		"tenant's chain made anew": func(w rows) {
			link, err := audit.Append("acme", audit.Head{}, audit.Entry{Type: "login", Actor: "agent:eve"})
			if err != nil {
				w.t.Fatal(err)
			}
			next, err := audit.Append("acme", link.Head, audit.Entry{Type: "logout"})
			if err != nil {
				w.t.Fatal(err)
			}
			set(w, be64(tenantKey("acme", 'u'), 1), link.Bytes)
			set(w, be64(tenantKey("acme", 'u'), 2), next.Bytes)
			set(w, tenantKey("acme", 'h'), encodeHead(next.Head))
		},
		"tenant's entry":     func(w rows) { del(be64(tenantKey("acme", 'u'), 1))(w) },
		"identity of no one": func(w rows) { set(w, append(tenantKey("acme", 'i'), "0123456789abcdef"...), []byte("c_none")) },
		"access path lost": func(w rows) {
			keys, err := w.s.tenant(w.r.Tenant)
			if err != nil {
				w.t.Fatal(err)
			}
			del(pathKey(keys, path{store.ByTag, "vip"}, w.r.ID))(w)
		},
		"access path too many": func(w rows) {
			keys, err := w.s.tenant(w.r.Tenant)
			if err != nil {
				w.t.Fatal(err)
			}
			set(w, pathKey(keys, path{store.ByTag, "other"}, w.r.ID), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := tampered(t)
			tamper(rows{s, r, t})
			rep, err := s.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(rep.Faults) == 0 {
				t.Error("not found")
			}
			for _, f := range rep.Faults {
				if strings.Contains(f, "\x00") {
					t.Errorf("a raw key in %q", f)
				}
			}
		})
	}
}
