package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Acked is a message that a store has acknowledged: whatever happens after, it must be there.
type Acked struct {
	Conversation string
	Op           string
	From         message.Address
	ClientID     string
	Seq          uint64
}

// Load is many customers, bots and agents at work, for crash suites: it remembers what was acknowledged and compares a
// store with it. It is safe for concurrent use.
type Load struct {
	tenant store.Tenant
	ids    *id.Source
	now    func() time.Time
	signer *audit.Signer
	// OnAck, when set, is called with each acknowledged message before the next is sent.
	OnAck func(Acked)

	mu    sync.Mutex
	acked []Acked
}

// NewLoad returns a load that has done nothing yet.
func NewLoad(now func() time.Time) *Load {
	t, err := store.NewTenant("acme")
	if err != nil {
		panic(err) // a constant
	}
	signer, err := audit.NewSigner(make([]byte, 32))
	if err != nil {
		panic(err) // a length
	}
	return &Load{tenant: t, ids: id.NewSource(rand.Reader, now), now: now, signer: signer}
}

// Acked returns what was acknowledged so far.
func (l *Load) Acked() []Acked {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked[:len(l.acked):len(l.acked)]
}

// Add tells the load of what was acknowledged elsewhere. Reset makes it forget everything else.
func (l *Load) Add(a Acked) {
	l.mu.Lock()
	l.acked = append(l.acked, a)
	l.mu.Unlock()
}

// Reset sets what was acknowledged.
func (l *Load) Reset(acked []Acked) {
	l.mu.Lock()
	l.acked = acked
	l.mu.Unlock()
}

// Run lets workers work on s until the context ends or the store fails; each has a few customers of its own.
func (l *Load) Run(ctx context.Context, s store.Store, workers int, seed uint64) {
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			w := &worker{Load: l, s: s, rng: mathrand.New(mathrand.NewPCG(seed, uint64(n)))}
			for ctx.Err() == nil {
				a := message.Address{Channel: "acme.sms", Address: fmt.Sprintf("+49%d-%d", n, w.rng.IntN(4))}
				err := w.turn(ctx, a)
				if err == nil && w.rng.IntN(24) == 0 {
					err = w.seal(ctx)
				}
				if err != nil && !errors.Is(err, store.ErrStale) {
					return
				}
			}
		})
	}
	wg.Wait()
}

type worker struct {
	*Load
	s   store.Store
	rng *mathrand.Rand
}

// seal makes a checkpoint over a few of the chains that moved; several workers do at once.
func (w *worker) seal(ctx context.Context) error {
	f, err := w.s.Frontier(ctx, w.tenant, 6)
	if err != nil || len(f.Heads) == 0 {
		return err
	}
	c, err := w.signer.Seal(w.tenant.Name(), f.Newest, w.now().UnixMilli(), f.Heads)
	if err != nil {
		return err
	}
	return w.s.Seal(ctx, w.tenant, c)
}

// turn is one message of a customer and something that comes of it.
func (w *worker) turn(ctx context.Context, a message.Address) error {
	clientID := w.ids.Token()
	found, err := w.s.Find(ctx, w.tenant, a, []string{clientID})
	if err != nil {
		return err
	}
	if snap := found.Snapshot; snap != nil && snap.State.Owner.Kind == message.OwnerClosed && w.rng.IntN(3) == 0 {
		return w.erase(ctx, snap)
	}
	st := store.Step{Op: store.Token(w.ids.Token())}
	state := new(conversation.State)
	var cmds []conversation.Command
	switch snap := found.Snapshot; {
	case snap == nil || snap.State.Owner.Kind == message.OwnerClosed:
		st.Ref = store.Ref{Tenant: w.tenant, ID: w.ids.New(id.Conversation, id.PartitionOf(w.tenant.Name(), a.Channel, a.Address))}
		st.Bind = &store.Bind{Address: a}
		if snap != nil {
			st.Bind.From = snap.Ref.ID
		}
		cmds = append(cmds, conversation.Open{ID: st.Ref.ID, From: a})
	default:
		st.Ref, st.Base, state = snap.Ref, snap.Version, snap.State
	}
	cmds = append(cmds, conversation.Receive{
		ID: w.ids.New(id.Message, 0),
		In: message.Inbound{ID: clientID, From: a, Kind: message.Text, Text: "what about my order " + clientID},
	}, conversation.SetTimer{Timer: conversation.Timer{Name: conversation.TimerIdle, At: w.now().UnixMilli() + 1000}})
	d := w.draft(&st, state, nil, conversation.Actor{Kind: conversation.Customer}, cmds)
	for _, e := range d.Events {
		if e.Type == conversation.MessageReceived {
			st.Dedupe = []store.Dedupe{{From: a, ID: clientID, Seq: e.Seq}}
		}
	}
	if _, err := w.s.Commit(ctx, st); err != nil {
		return err
	}
	ack := Acked{Conversation: st.Ref.ID, Op: string(st.Op), From: a, ClientID: clientID, Seq: st.Dedupe[0].Seq}
	w.Add(ack)
	if w.OnAck != nil {
		w.OnAck(ack)
	}
	return w.follow(ctx, st)
}

// erase destroys a conversation that is closed.
func (w *worker) erase(ctx context.Context, snap *store.Snapshot) error {
	st := store.Step{Ref: snap.Ref, Base: snap.Version, Op: store.Token(w.ids.Token())}
	w.draft(&st, snap.State, snap.Outgoing, conversation.Actor{Kind: conversation.System}, []conversation.Command{conversation.Wipe{}})
	_, err := w.s.Commit(ctx, st)
	return err
}

// follow lets the bot answer, diverts, lets an agent take the conversation and end it, or sends something.
func (w *worker) follow(ctx context.Context, last store.Step) error {
	bot, human := conversation.Actor{Kind: conversation.Bot}, conversation.Actor{Kind: conversation.Agent, ID: "ann"}
	say := conversation.Sent{ID: w.ids.New(id.Message, 0), By: message.ByBot, Part: message.Part{Text: "an answer"}}
	next := store.Step{Ref: last.Ref, Base: last.Op, Op: store.Token(w.ids.Token())}
	var by conversation.Actor
	var cmds []conversation.Command
	snap, err := w.s.Load(ctx, last.Ref)
	if err != nil {
		return err
	}
	if snap.Version != last.Op {
		return store.ErrStale
	}
	s := last.State
	switch kind := s.Owner.Kind; {
	case kind == message.OwnerBot && w.rng.IntN(8) == 0:
		by = conversation.Actor{Kind: conversation.System}
		cmds = append(cmds, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "support", Priority: 1 + w.rng.IntN(9)}})
	case kind == message.OwnerBot && s.Turn == nil:
		by = bot
		cmds = append(cmds, conversation.StartTurn{ID: w.ids.New(id.Turn, 0)})
		d := w.draft(&next, s, nil, by, cmds)
		say.Turn = d.State.Turn.ID
		cmds = append(cmds, conversation.AnswerTurn{Turn: say.Turn, Decision: conversation.Decision{Kind: conversation.DecisionPass}, Parts: []conversation.Sent{say}})
		next.Outbox = []store.OutboxRow{{
			ID: store.RowOf(say.ID), Epoch: s.Epoch, Seq: s.Seq + 3, At: w.now().UnixMilli(), Due: w.now().UnixMilli(),
			Out: message.Outbound{ID: say.ID, To: s.From, Part: say.Part, By: message.ByBot},
		}}
	case kind == message.OwnerQueued:
		by = human
		cmds = append(cmds, conversation.Claim{Name: "Ann"})
	case kind == message.OwnerAgent && w.rng.IntN(2) == 0:
		by = human
		cmds = append(cmds, conversation.AddNote{ID: w.ids.New(id.Message, 0), Text: "done"}, conversation.Resolve{})
	default:
		return nil
	}
	w.draft(&next, s, snap.Outgoing, by, cmds)
	if _, err := w.s.Commit(ctx, next); err != nil {
		return err
	}
	return w.send(ctx, last.Ref)
}

// send sends the head of a conversation's outbox, or dies over it.
func (w *worker) send(ctx context.Context, r store.Ref) error {
	now := w.now().UnixMilli()
	row, err := w.s.Lease(ctx, r, now, now+1000)
	var lapsed *store.LapsedError
	if errors.As(err, &lapsed) {
		row = lapsed.Row
	} else if err != nil || w.rng.IntN(4) == 0 { // a sender that dies
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	}
	snap, err := w.s.Load(ctx, r)
	if err != nil {
		return err
	}
	st := store.Step{Ref: r, Base: snap.Version, Op: store.Token(w.ids.Token())}
	st.Settle = &store.Settlement{Row: row.Row.ID, Token: row.Token}
	status := conversation.SetStatus{ID: row.Row.Out.ID, Status: message.Sent}
	if lapsed == nil && w.rng.IntN(10) == 0 {
		st.Settle.End, st.Settle.Code, status.Status = store.Bury, "refused", message.Failed
	}
	w.draft(&st, snap.State, nil, conversation.Actor{Kind: conversation.System}, []conversation.Command{status})
	_, err = w.s.Commit(ctx, st)
	return err
}

// draft fills in what cmds make of state. Commands that the state does not allow leave it as it is.
func (w *worker) draft(st *store.Step, state *conversation.State, out []conversation.Outgoing, by conversation.Actor, cmds []conversation.Command) *conversation.Draft {
	d := conversation.Begin(state, conversation.Env{Now: w.now().UnixMilli(), Op: string(st.Op), Actor: by, Outgoing: out})
	for _, c := range cmds {
		_ = d.Do(c)
	}
	st.Events, st.State = d.Events, &d.State
	return d
}

// Lost compares a store with what was acknowledged and returns how many messages are not in it, and everything else that
// is wrong.
func (l *Load) Lost(ctx context.Context, s store.Store, acked []Acked) (lost int, faults []string, err error) {
	rep, err := s.Check(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("checking: %w", err)
	}
	faults = rep.Faults
	logs, erased := map[string][]conversation.Event{}, map[string]bool{}
	for _, a := range acked {
		r := store.Ref{Tenant: l.tenant, ID: a.Conversation}
		log, ok := logs[a.Conversation]
		if !ok {
			log, err = s.Log(ctx, r, 0, 1<<20)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return lost, faults, fmt.Errorf("reading a log: %w", err)
			}
			logs[a.Conversation], erased[a.Conversation] = log, errors.Is(err, store.ErrErased)
		}
		if erased[a.Conversation] { // by somebody who was told so, or not; what came to it is still known by its id
		} else if a.Seq > uint64(len(log)) || log[a.Seq-1].Op != a.Op {
			lost++
			continue
		}
		found, err := s.Find(ctx, l.tenant, a.From, []string{a.ClientID})
		if err != nil {
			return lost, faults, fmt.Errorf("finding: %w", err)
		}
		if k := found.Known[a.ClientID]; k.Conversation != a.Conversation || k.Seq != a.Seq {
			faults = append(faults, fmt.Sprintf("message %d of %s is in the log, but its id is not known", a.Seq, a.Conversation))
		}
	}
	effects := map[string]int{}
	for _, log := range logs {
		for _, e := range log {
			if m, ok := e.Data.(*conversation.Received); ok {
				effects[m.In.From.Address+" "+m.In.ID]++
			}
		}
	}
	for which, n := range effects {
		if n > 1 {
			faults = append(faults, fmt.Sprintf("a message has %d effects: %s", n, which))
		}
	}
	return lost, faults, nil
}
