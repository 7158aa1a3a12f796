package outbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
)

// world is an outbox on a store in memory, with providers that do what the test says and a clock that stands still.
type world struct {
	*testing.T
	fs      vfs.FS
	store   *embedded.Store
	ids     *id.Source
	tenant  store.Tenant
	box     *Outbox
	changed chan struct{} // something durable happened, or a provider was called
	end     func()
	alarms  []Alarm
	faults  fault.Injector
	logs    lines

	mu  sync.Mutex
	now time.Time
}

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, fs: vfs.NewMem(), now: time.UnixMilli(1_700_000_000_000), changed: make(chan struct{}, 1), end: func() {}}
	w.ids = id.NewSource(rand.Reader, w.Now)
	w.tenant = w.tenantNamed("acme")
	w.open()
	t.Cleanup(func() {
		w.end()
		if err := w.store.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
		for _, canary := range []string{canary, "+49-"} {
			if strings.Contains(w.logs.b.String(), canary) {
				t.Errorf("the log holds %q", canary)
			}
		}
	})
	return w
}

// canary is in every text; no log may hold it.
const canary = "canary-text"

func (w *world) tenantNamed(name string) store.Tenant {
	t, err := store.NewTenant(name)
	if err != nil {
		w.Fatal(err)
	}
	return t
}

func (w *world) open() {
	w.Helper()
	s, err := embedded.Open(embedded.Options{Dir: "/store", FS: w.fs, Root: make([]byte, 32), IDs: w.ids, Now: w.Now, Reserve: -1, Ballast: -1})
	if err != nil {
		w.Fatal(err)
	}
	w.store = s
	s.Subscribe(func(store.Hint) { w.change() })
}

func (w *world) change() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// move moves the clock and has the outbox look.
func (w *world) move(d time.Duration) {
	w.mu.Lock()
	w.now = w.now.Add(d)
	w.mu.Unlock()
	w.box.kick()
}

// start lets an outbox with the channels work until stop or the end of the test.
func (w *world) start(channels ...Channel) {
	w.build(nil, channels...)
	w.run()
}

// run lets the outbox work until stop or the end of the test.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.box.Run(ctx)
	}()
	var once sync.Once
	box := w.box
	w.end = func() {
		once.Do(func() {
			cancel()
			<-done
			patience, cut := context.WithTimeout(context.Background(), 30*time.Second)
			defer cut()
			box.Stop(patience)
		})
	}
}

func (w *world) build(s Store, channels ...Channel) {
	if s == nil {
		s = w.store
	}
	w.box = New(context.Background(), Options{
		Store: s, IDs: w.ids, Now: w.Now, Channels: channels, Faults: w.faults,
		Log:    slog.New(slog.NewTextHandler(&w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Random: func(n int64) int64 { return n / 2 },
		Alarm: func(a Alarm) {
			w.mu.Lock()
			w.alarms = append(w.alarms, a)
			w.mu.Unlock()
			w.change()
		},
	})
}

// until waits for what cond looks for, looking again whenever something has changed, and from time to time: cond may move
// the clock.
func (w *world) until(what string, cond func() bool) {
	w.Helper()
	late := time.NewTimer(5 * time.Minute)
	defer late.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !cond() {
		select {
		case <-w.changed:
		case <-again.C:
		case <-late.C:
			w.Fatalf("waited in vain until %s", what)
		}
	}
}

// channel is a channel of the tenant with its provider.
func (w *world) channel(t store.Tenant, key string, p *provider) Channel {
	p.changed = w.change
	return Channel{Key: key, Tenant: t, Sender: p}
}

// provider takes messages, or does what its script says, and remembers what was on the wire.
type provider struct {
	policy  adapters.SendPolicy
	changed func()

	mu      sync.Mutex
	script  func(ctx context.Context, out message.Outbound) (message.Receipt, error)
	wire    []message.Outbound
	running map[string]int
	overlap bool
}

func (p *provider) Policy() adapters.SendPolicy { return p.policy }

func (p *provider) does(f func(ctx context.Context, out message.Outbound) (message.Receipt, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = f
}

func (p *provider) Send(ctx context.Context, out message.Outbound) (message.Receipt, error) {
	p.mu.Lock()
	p.wire = append(p.wire, out)
	if p.running == nil {
		p.running = map[string]int{}
	}
	p.running[out.To.Address]++
	p.overlap = p.overlap || p.running[out.To.Address] > 1
	f := p.script
	p.mu.Unlock()
	p.changed()
	var rec message.Receipt
	var err error
	if f != nil {
		rec, err = f(ctx, out)
	}
	p.mu.Lock()
	p.running[out.To.Address]--
	p.mu.Unlock()
	return rec, err
}

func (p *provider) sends() []message.Outbound {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]message.Outbound(nil), p.wire...)
}

// texts are what was on the wire, without the canary.
func (p *provider) texts() (out []string) {
	for _, s := range p.sends() {
		out = append(out, strings.TrimPrefix(s.Part.Text, canary+" "))
	}
	return out
}

func fails(e adapters.SendError) func(context.Context, message.Outbound) (message.Receipt, error) {
	return func(context.Context, message.Outbound) (message.Receipt, error) { return message.Receipt{}, &e }
}

// opened opens a conversation on a channel.
func (w *world) opened(t store.Tenant, channel string, n int) store.Ref {
	w.Helper()
	from := message.Address{Channel: channel, Address: fmt.Sprint("+49-", n)}
	r := store.Ref{Tenant: t, ID: w.ids.New(id.Conversation, id.PartitionOf(t.Name(), channel, from.Address))}
	op := w.ids.Token()
	d := conversation.Begin(new(conversation.State), conversation.Env{Now: w.Now().UnixMilli(), Op: op, Actor: system})
	if err := d.Do(conversation.Open{ID: r.ID, From: from}); err != nil {
		w.Fatal(err)
	}
	s := store.Step{Ref: r, Op: store.Token(op), Bind: &store.Bind{Address: from}, Events: d.Events, State: d.Result()}
	if _, err := w.store.Commit(context.Background(), s); err != nil {
		w.Fatal(err)
	}
	return r
}

// act commits what cmds make of a conversation, with the rows of what they say, as the pipeline does.
func (w *world) act(r store.Ref, by conversation.Actor, cmds ...conversation.Command) *conversation.State {
	w.Helper()
	op := w.ids.Token()
	for {
		snap, err := w.store.Load(context.Background(), r)
		if err != nil {
			w.Fatal(err)
		}
		d := conversation.Begin(snap.State, conversation.Env{Now: w.Now().UnixMilli(), Op: op, Actor: by, Outgoing: snap.Outgoing})
		for _, c := range cmds {
			if err := d.Do(c); err != nil {
				w.Fatalf("%T: %v", c, err)
			}
		}
		s := store.Step{Ref: r, Op: store.Token(op), Base: snap.Version, Events: d.Events, State: d.Result()}
		for i := range d.Events {
			if sent, ok := d.Events[i].Data.(*conversation.Sent); ok {
				row := rowOf(sent, s.State, d.Events[i].Seq, d.Now())
				s.Outbox = append(s.Outbox, row)
				s.Dedupe = append(s.Dedupe, store.Dedupe{From: s.State.From, ID: store.OutID(sent.ID), Seq: row.Seq})
			}
		}
		if _, err = w.store.Commit(context.Background(), s); err == nil {
			return s.State
		}
		if !errors.Is(err, store.ErrStale) {
			w.Fatal(err)
		}
	}
}

// bot lets the bot say texts, as one answer, and returns the messages' ids.
func (w *world) bot(r store.Ref, texts ...string) (ids []string) {
	w.Helper()
	turn := w.ids.New(id.Turn, 0)
	in := message.Inbound{ID: turn, Kind: message.Text, Text: "x"}
	cmd := conversation.AnswerTurn{Turn: turn, Decision: conversation.Decision{Kind: conversation.DecisionPass}}
	for _, t := range texts {
		m := w.ids.New(id.Message, 0)
		ids = append(ids, m)
		cmd.Parts = append(cmd.Parts, conversation.Sent{ID: m, By: message.ByBot, Turn: turn, Part: message.Part{Text: canary + " " + t}})
	}
	w.act(r, system, conversation.Receive{ID: w.ids.New(id.Message, 0), In: in}, conversation.StartTurn{ID: turn}, cmd)
	return ids
}

func (w *world) handoff(r store.Ref) {
	w.Helper()
	w.act(r, system, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}})
}

var ann = conversation.Actor{Kind: conversation.Agent, ID: "ann"}

// agent lets an agent, who claims the conversation first, say something.
func (w *world) agent(r store.Ref, text string) string {
	w.Helper()
	m := w.ids.New(id.Message, 0)
	if snap, err := w.store.Load(context.Background(), r); err == nil && snap.State.Owner.Agent != "ann" {
		w.act(r, ann, conversation.Claim{Name: "Ann"})
	}
	w.act(r, ann, conversation.Reply{ID: m, Name: "Ann", Part: message.Part{Text: canary + " " + text}})
	return m
}

// statuses are what the log says of a message's delivery, in order, each with its code.
func (w *world) statuses(r store.Ref, m string) (out []string) {
	events, err := w.store.Log(context.Background(), r, 0, 100_000)
	if err != nil {
		w.Fatal(err)
	}
	for _, e := range events {
		if s, ok := e.Data.(*conversation.StatusChanged); ok && s.ID == m {
			out = append(out, strings.TrimSuffix(string(s.Status)+":"+s.Code, ":"))
		}
	}
	return out
}

func (w *world) says(r store.Ref, m string, want ...string) func() bool {
	return func() bool { return fmt.Sprint(w.statuses(r, m)) == fmt.Sprint(want) }
}

func (w *world) dead() []store.DeadLetter {
	dead, _, err := w.store.DeadLetters(context.Background(), w.tenant, "", 100_000)
	if err != nil {
		w.Fatal(err)
	}
	return dead
}

// sound looks that the store agrees with itself.
func (w *world) sound() {
	w.Helper()
	rep, err := w.store.Check(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	for _, f := range rep.Faults {
		w.Errorf("check: %s", f)
	}
}
