package redis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/storetest"
)

// heard collects what a store says of other histories.
type heard struct {
	mu  sync.Mutex
	all []redis.Reconciled
}

func (h *heard) add(r redis.Reconciled) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, r)
}

// one returns the only word there was.
func (h *heard) one(t *testing.T) redis.Reconciled {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) != 1 {
		t.Fatalf("the store has told of %d other histories, want 1: %+v", len(h.all), h.all)
	}
	return h.all[0]
}

// pair is a primary with a replica that confirms, behind a wire that a store is connected over.
type pair struct {
	*testing.T
	primary, replica *redistest.Server
	wire             *redistest.Wire
	o                redis.Options
	heard            heard
	s                *redis.Store
	ids              *id.Source
	tenant           store.Tenant
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{T: t, primary: redistest.Start(t, everysec()...)}
	p.replica = redistest.Replica(t, p.primary, everysec()...)
	p.wire = redistest.Before(t, p.primary)
	p.o = options(p.primary, time.Now)
	p.o.Addr, p.o.Wait, p.o.WaitFor, p.o.Patience, p.o.Reconciled = p.wire.Addr(), 1, time.Second, 30*time.Second, p.heard.add
	p.ids = p.o.IDs
	var err error
	if p.tenant, err = store.NewTenant("acme"); err != nil {
		t.Fatal(err)
	}
	p.s = open(t, p.o)
	p.sweep(p.s)
	return p
}

// sweep lets a store look at everything, as it does all the time when a node runs.
func (p *pair) sweep(s *redis.Store) {
	p.Helper()
	if _, _, err := s.Due(p.Context(), time.Now().Add(time.Minute).UnixMilli(), 1); err != nil {
		p.Fatalf("sweeping: %v", err)
	}
}

// older lets the replica begin anew from what it had when it was kept, as the primary.
func (p *pair) older(restore func()) {
	p.Helper()
	p.primary.Kill()
	p.replica.Stop()
	restore()
	p.replica.Restart()
	p.taken()
}

// taken makes the replica the primary, with a replica of its own.
func (p *pair) taken() {
	p.Helper()
	p.primary.Kill()
	p.replica.Promote()
	redistest.Replica(p.T, p.replica, everysec()...)
	p.wire.Lead(p.replica)
}

// keep keeps what the replica has now.
func (p *pair) keep() (restore func()) {
	p.Helper()
	p.replica.Stop()
	restore = p.replica.Keep()
	p.replica.Restart()
	p.primary.Info("replication", func(info string) bool { return strings.Contains(info, "state=online") })
	return restore
}

func (p *pair) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *pair) draft(r store.Ref, snap *store.Snapshot, by conversation.Actor, cmds ...conversation.Command) store.Step {
	p.Helper()
	st := store.Step{Ref: r, Op: store.Token(p.ids.Token())}
	state := new(conversation.State)
	env := conversation.Env{Now: time.Now().UnixMilli(), Op: string(st.Op), Actor: by}
	if snap != nil {
		st.Base, state, env.Outgoing = snap.Version, snap.State, snap.Outgoing
	}
	d := conversation.Begin(state, env)
	for _, c := range cmds {
		p.must(d.Do(c))
	}
	st.Events, st.State = d.Events, &d.State
	return st
}

func (p *pair) do(r store.Ref, by conversation.Actor, cmds ...conversation.Command) {
	p.Helper()
	snap, err := p.s.Load(p.Context(), r)
	p.must(err)
	_, err = p.s.Commit(p.Context(), p.draft(r, snap, by, cmds...))
	p.must(err)
}

var (
	customer = conversation.Actor{Kind: conversation.Customer}
	ann      = conversation.Actor{Kind: conversation.Agent, ID: "ann"}
)

// open opens a conversation over a push channel.
func (p *pair) open(address string) store.Ref {
	p.Helper()
	a := message.Address{Channel: "acme.sms", Address: address}
	r := store.Ref{Tenant: p.tenant, ID: p.ids.New(id.Conversation, id.PartitionOf("acme", a.Channel, a.Address))}
	st := p.draft(r, nil, customer, conversation.Open{ID: r.ID, From: a}, conversation.Receive{ID: p.ids.New(id.Message, 0),
		In: message.Inbound{ID: "m1", From: a, Kind: message.Text, Text: "hello"}})
	st.Dedupe, st.Bind = []store.Dedupe{{From: a, ID: "m1", Seq: 2}}, &store.Bind{Address: a}
	_, err := p.s.Commit(p.Context(), st)
	p.must(err)
	return r
}

// say puts a message of the bot into the outbox.
func (p *pair) say(r store.Ref) {
	p.Helper()
	snap, err := p.s.Load(p.Context(), r)
	p.must(err)
	turn := p.draft(r, snap, conversation.Actor{Kind: conversation.Bot}, conversation.StartTurn{ID: p.ids.New(id.Turn, 0)})
	say := conversation.Sent{ID: p.ids.New(id.Message, 0), By: message.ByBot, Part: message.Part{Text: "an answer"}, Turn: turn.State.Turn.ID}
	st := p.draft(r, snap, conversation.Actor{Kind: conversation.Bot}, conversation.StartTurn{ID: say.Turn},
		conversation.AnswerTurn{Turn: say.Turn, Decision: conversation.Decision{Kind: conversation.DecisionPass}, Parts: []conversation.Sent{say}})
	at := time.Now().UnixMilli()
	st.Outbox = []store.OutboxRow{{ID: store.RowOf(say.ID), Epoch: snap.State.Epoch, Seq: st.State.Seq, At: at, Due: at,
		Out: message.Outbound{ID: say.ID, To: snap.State.From, Part: say.Part, By: message.ByBot}}}
	_, err = p.s.Commit(p.Context(), st)
	p.must(err)
}

// lease begins to send the head of an outbox.
func (p *pair) lease(r store.Ref) store.LeasedRow {
	p.Helper()
	now := time.Now().UnixMilli()
	row, err := p.s.Lease(p.Context(), r, now, now+60_000)
	p.must(err)
	return row
}

// sound checks a whole store.
func (p *pair) sound(s *redis.Store) {
	p.Helper()
	rep, err := s.Check(p.Context())
	p.must(err)
	for _, f := range rep.Faults {
		p.Errorf("check: %s", f)
	}
}

// losses counts the entries in the tenant's chain that say that something was lost.
func (p *pair) losses(s *redis.Store) (n int) {
	p.Helper()
	entries, err := s.Entries(p.Context(), p.tenant, "", 0, 1000)
	p.must(err)
	for _, b := range entries {
		var e struct {
			Type  string
			Count int
		}
		p.must(json.Unmarshal(b, &e))
		if e.Type == "history.lost" {
			n++
		}
	}
	return n
}

// TestFailoverWithoutLoss: when a replica takes over that has everything, there is nothing to reconcile, and the store says
// so.
func TestFailoverWithoutLoss(t *testing.T) {
	p := newPair(t)
	load := storetest.NewLoad(time.Now)
	reached(t, p.s, load, 60, 1)
	// One that is archived has nothing in the server that a checkpoint vouches for, and is not lost.
	r := p.open("+49111")
	p.do(r, customer, conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionTag, Phase: conversation.Inbound, Tags: []string{"x"}}})
	p.do(r, customer, conversation.Close{Reason: conversation.ReasonIdle})
	signer, err := audit.NewSigner(make([]byte, 32))
	p.must(err)
	f, err := p.s.Frontier(t.Context(), p.tenant, 1000)
	p.must(err)
	sealed, err := signer.Seal(p.tenant.Name(), f.Newest, time.Now().UnixMilli(), f.Heads)
	p.must(err)
	p.must(p.s.Seal(t.Context(), p.tenant, sealed))
	if done, err := p.s.Archive(t.Context(), r); err != nil || done.Entries == 0 {
		t.Fatalf("archiving: %+v, %v", done, err)
	}
	p.sweep(p.s)
	p.taken()
	recovered(t, p.s)
	p.sweep(p.s)
	got := p.heard.one(t)
	if got.Partitions != id.Partitions || got.Views != 1 || got.Mended+got.Uncertain+got.Keys+len(got.Lost) != 0 {
		t.Errorf("a failover without a loss: %+v", got)
	}
	if n := p.losses(p.s); n != 0 {
		t.Errorf("%d entries tell of a loss", n)
	}
	reached(t, p.s, load, 20, 2)
	if lost, faults, err := load.Lost(t.Context(), p.s, load.Acked()); err != nil || lost != 0 || len(faults) != 0 {
		t.Errorf("%d are gone, %v, %v", lost, faults, err)
	}
}

// TestHistoryLost: a replica confirms, and then an older state of it is promoted. The store notices, says so everywhere,
// marks what may have been sent, and everybody works on.
func TestHistoryLost(t *testing.T) {
	p := newPair(t)
	load := storetest.NewLoad(time.Now)
	reached(t, p.s, load, 60, 1)
	sent, asked := p.open("+49111"), p.open("+49222")
	p.say(sent)
	p.do(asked, customer, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}})
	p.sweep(p.s)
	restore := p.keep()
	recovered(t, p.s)

	row := p.lease(sent)
	snap, err := p.s.Load(t.Context(), sent)
	p.must(err)
	st := p.draft(sent, snap, conversation.Actor{Kind: conversation.System}, conversation.SetStatus{ID: row.Row.Out.ID, Status: message.Sent})
	st.Settle = &store.Settlement{Row: row.Row.ID, Token: row.Token}
	_, err = p.s.Commit(t.Context(), st)
	p.must(err)
	p.do(asked, ann, conversation.Claim{Name: "Ann"})
	gone := p.open("+49333")
	reached(t, p.s, load, 30, 2)

	p.older(restore)
	recovered(t, p.s)
	p.sweep(p.s)
	got := p.heard.one(t)
	if len(got.Lost) != 1 || got.Lost[0].Tenant != p.tenant || got.Lost[0].Conversations < 3 || got.Lost[0].Events < 3 || got.Uncertain < 1 {
		t.Errorf("an older state: %+v", got)
	}
	if h := p.s.Health(t.Context()); !h.OK || !strings.Contains(h.Level, "history was lost") {
		t.Errorf("health: %+v", h)
	}
	if n := p.losses(p.s); n != 1 {
		t.Errorf("%d entries tell of the loss, want 1", n)
	}
	if _, err := p.s.Load(t.Context(), gone); err == nil {
		t.Error("what was opened after is there: the state is not older")
	}
	if row := p.lease(sent); row.Unsure != 1 || row.Tries < 2 || !row.Row.Out.Retry {
		t.Errorf("what was sent already is handed out as %+v", row)
	}
	if w, err := p.s.Waiting(t.Context(), p.tenant, "q", 10); err != nil || len(w) != 1 || w[0].Ref != asked {
		t.Errorf("waiting: %+v, %v", w, err)
	}
	p.sound(p.s)
	p.do(asked, ann, conversation.Claim{Name: "Ann"})
	acked := len(load.Acked())
	reached(t, p.s, load, 30, 3)
	lost, faults, err := load.Lost(t.Context(), p.s, load.Acked()[acked:])
	if err != nil || lost != 0 || len(faults) != 0 {
		t.Errorf("of what came after %d are gone, %v, %v", lost, faults, err)
	}
	p.sweep(p.s)
	p.heard.one(t) // it is told once
}

// TestViewsAfterLoss: when a view and its conversations come out of different instants, as they do when they lie on
// different servers, the view is made to say what the conversations say; one of several nodes does it.
func TestViewsAfterLoss(t *testing.T) {
	p := newPair(t)
	var refs []store.Ref
	for i := range 4 {
		r := p.open(fmt.Sprintf("+49%d", i))
		p.do(r, customer, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}})
		refs = append(refs, r)
	}
	p.do(refs[3], ann, conversation.Claim{Name: "Ann"})
	other := &heard{}
	o := p.o
	o.Reconciled = other.add
	second := open(t, o)
	p.sweep(second)
	_, position, err := p.s.Feed(t.Context(), p.tenant, "", 10)
	p.must(err)

	// The view has missed a handoff and a claim, holds a place of another queue, and is ahead of a partition by its clock.
	c, desk := p.primary.Client(), func(name string) string { return p.o.Prefix + "{q:acme}" + name }
	part, err := id.Partition(id.Conversation, refs[2].ID)
	p.must(err)
	ctx := context.Background()
	for _, cmd := range [][]any{
		{"ZREM", desk("w"), refs[0].ID}, {"ZREM", desk("w:q"), refs[0].ID}, {"HDEL", desk("k"), refs[0].ID},
		{"HDEL", desk("h:ann"), refs[3].ID}, {"ZADD", desk("w"), 7, refs[3].ID}, {"ZADD", desk("w:q"), 7, refs[3].ID},
		{"SADD", desk("qs"), "x"}, {"ZADD", desk("w:x"), 9, refs[1].ID},
		{"HSET", desk("m"), fmt.Sprint("wm", part), "99999999999999-5"},
		{"HSET", desk("h:eve"), refs[1].ID, "1"}, {"SADD", desk("as"), "eve"},
	} {
		p.must(c.Do(ctx, cmd...).Err())
	}
	p.primary.Stop()
	p.primary.Restart()
	p.primary.Info("replication", func(info string) bool { return strings.Contains(info, "state=online") })
	recovered(t, p.s)
	recovered(t, second)
	p.sweep(p.s)
	p.sweep(second)
	one, two := p.heard.one(t), other.one(t)
	if one.Mended != 3 || two.Mended != 0 || len(one.Lost)+len(two.Lost) != 0 {
		t.Errorf("one node %+v, the other %+v; want 3 mended by one", one, two)
	}
	p.sound(p.s)
	if _, _, err := p.s.Feed(t.Context(), p.tenant, position, 10); err != store.ErrGap {
		t.Errorf("a position of the view's old life: %v, want a gap", err)
	}
	p.do(refs[2], ann, conversation.Claim{Name: "Ann"})
	if w, err := p.s.Waiting(t.Context(), p.tenant, "q", 10); err != nil || len(w) != 2 {
		t.Errorf("%d wait, %v; the view has not heard of a claim", len(w), err)
	}
	p.sound(p.s)
}

// TestCheckpointAhead: a node that has begun anew has nothing in mind; that a chain ends before what a signed checkpoint
// vouches for it finds all the same. What a node has in mind of keys and of generations serves it on.
func TestCheckpointAhead(t *testing.T) {
	p := newPair(t)
	r, other := p.open("+49111"), p.open("+49222")
	c, ctx := p.primary.Client(), context.Background()
	tag := ""
	all, err := c.Keys(ctx, p.o.Prefix+"*").Result()
	p.must(err)
	for _, key := range all {
		if strings.HasSuffix(key, "/"+r.ID+":s") {
			tag = key[:strings.Index(key, "}")+1]
		}
	}
	dump := map[string]string{}
	for _, key := range all {
		if strings.HasPrefix(key, tag) {
			dump[key], err = c.Dump(ctx, key).Result()
			p.must(err)
		}
	}
	for _, to := range []store.Ref{r, other} {
		p.do(to, customer, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}})
	}
	signer, err := audit.NewSigner(make([]byte, 32))
	p.must(err)
	f, err := p.s.Frontier(t.Context(), p.tenant, 10)
	p.must(err)
	sealed, err := signer.Seal(p.tenant.Name(), f.Newest, time.Now().UnixMilli(), f.Heads)
	p.must(err)
	p.must(p.s.Seal(t.Context(), p.tenant, sealed))

	for key, value := range dump {
		p.must(c.RestoreReplace(ctx, key, 0, value).Err())
	}
	part, err := id.Partition(id.Conversation, other.ID)
	p.must(err)
	for _, key := range all {
		if strings.HasSuffix(key, "/"+other.ID+":s") {
			p.must(c.HDel(ctx, key[:strings.Index(key, "}")+1]+"g", "gen").Err())
		}
	}
	p.must(c.Del(ctx, p.o.Prefix+"{g}t").Err())
	p.primary.Stop()
	p.primary.Restart()
	p.primary.Info("replication", func(info string) bool { return strings.Contains(info, "state=online") })
	recovered(t, p.s)
	p.sweep(p.s)
	if got := p.heard.one(t); got.Keys != 1 || len(got.Lost) != 1 || got.Lost[0].Conversations != 1 || got.Lost[0].Example != r.ID {
		t.Errorf("the node that was there: %+v", got)
	}
	again := message.Address{Channel: "acme.sms", Address: "+49222"}
	if known, err := p.s.Find(t.Context(), p.tenant, again, []string{"m1"}); err != nil || known.Snapshot == nil || len(known.Known) != 1 {
		t.Errorf("partition %d without its generation: %+v, %v", part, known, err)
	}

	// The same once more, for a node that begins after it.
	for key := range dump {
		if strings.HasSuffix(key, "}g") {
			p.must(p.primary.Client().HSet(ctx, key, "line", "another").Err())
		}
	}
	fresh := &heard{}
	o := p.o
	o.Reconciled = fresh.add
	s := open(t, o)
	p.sweep(s)
	if got := fresh.one(t); len(got.Lost) != 1 || got.Lost[0].Conversations != 1 || got.Lost[0].Example != r.ID {
		t.Errorf("a node that has begun since: %+v", got)
	}
	if n := p.losses(s); n != 2 {
		t.Errorf("%d entries tell of the loss, want one of each node", n)
	}
}
