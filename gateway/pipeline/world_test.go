package pipeline_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/alarm"
	"turnout/gateway/conversation"
	"turnout/gateway/fair"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/pipeline"
	"turnout/gateway/rulebook"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/rules"
	"turnout/rules/signal"
)

// world is a pipeline on a store in memory with a bot that does what the test says.
type world struct {
	t      *testing.T
	fs     vfs.FS
	clock  *clock
	ids    *id.Source
	store  *embedded.Store
	p      *pipeline.Pipeline
	edge   *pipeline.Edge
	tenant store.Tenant
	bot    *scripted
	ladder *pipeline.Bot
	faults atomic.Pointer[fault.Injector]
	stop   func()
	notes  chan pipeline.Notice
	logs   lines
}

// clock is time that a test may move; it also runs by itself, so that leases and deadlines of real calls make sense.
type clock struct {
	mu    sync.Mutex
	shift time.Duration
	still time.Time // set: the clock runs no more by itself
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.still.IsZero() {
		return c.still.Add(c.shift)
	}
	return time.Now().Add(c.shift)
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shift += d
}

// scripted is a bot whose answers a test gives. It records what it was asked and whether two calls of one conversation
// overlapped.
type scripted struct {
	mu      sync.Mutex
	answer  func(ctx context.Context, t adapters.Turn) (adapters.Answer, error)
	asked   []adapters.Turn
	running map[string]int
	overlap bool
	called  chan adapters.Turn
}

func newScripted() *scripted {
	return &scripted{running: map[string]int{}, called: make(chan adapters.Turn, 1024), answer: echo}
}

func echo(_ context.Context, t adapters.Turn) (adapters.Answer, error) {
	text := ""
	for i, m := range t.Messages {
		if i > 0 {
			text += " + "
		}
		text += m.Text
	}
	return says("you said: " + text), nil
}

func says(texts ...string) adapters.Answer {
	var a adapters.Answer
	for _, t := range texts {
		a.Parts = append(a.Parts, message.Part{Text: t})
	}
	return a
}

func (b *scripted) does(f func(ctx context.Context, t adapters.Turn) (adapters.Answer, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = f
}

func (b *scripted) Reply(ctx context.Context, t adapters.Turn) (adapters.Answer, error) {
	b.mu.Lock()
	b.asked = append(b.asked, t)
	b.running[t.Conversation]++
	if b.running[t.Conversation] > 1 {
		b.overlap = true
	}
	f := b.answer
	b.mu.Unlock()
	select {
	case b.called <- t:
	default:
	}
	a, err := f(ctx, t)
	b.mu.Lock()
	b.running[t.Conversation]--
	b.mu.Unlock()
	return a, err
}

func (b *scripted) Close() error { return nil }

// prompt is the scripted bot for scripts that honour their context.
type prompt struct{ *scripted }

func (prompt) Prompt() {}

func (b *scripted) turns() []adapters.Turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]adapters.Turn(nil), b.asked...)
}

type setup struct {
	push        bool // the channel goes through the outbox
	rules       string
	bot         *pipeline.Bot
	captureOver int
	idle        time.Duration
	limits      pipeline.Limits
	prompt      bool          // the caller that waits runs the call itself
	second      *pipeline.Bot // of a second channel
	noBare      bool          // a bare word for a person is none
	page        int           // the most that the views of people hand out at a time
	calls       int           // the bot calls of the node at a time
	share       fair.Share
	lookup      pipeline.Lookup
	after       func(time.Duration) <-chan time.Time
	clock       *clock          // nil: one that runs
	still       bool            // it stands from now on
	others      []*pipeline.Bot // further bots of the tenant
	byLanguage  map[string]*pipeline.Bot
	adjust      func(*world) func(*pipeline.Bot) // changes the bot before it is used
}

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{t: t, fs: vfs.NewMem(), clock: &clock{}, bot: newScripted(), notes: make(chan pipeline.Notice, 100)}
	if s.clock != nil {
		w.clock = s.clock
	}
	if s.still {
		w.clock.still = time.Now().Truncate(time.Millisecond)
	}
	w.ids = id.NewSource(rand.Reader, w.clock.Now)
	var err error
	if w.tenant, err = store.NewTenant("acme"); err != nil {
		t.Fatal(err)
	}
	w.ladder = s.bot
	if w.ladder == nil {
		w.ladder = &pipeline.Bot{}
	}
	b := w.ladder
	b.Name, b.Bot = "legacy", w.bot
	if s.prompt {
		b.Bot = prompt{w.bot}
	}
	if b.Deadline == 0 {
		b.Deadline = 20 * time.Second
	}
	if b.Concurrency == 0 {
		b.Concurrency = 64
	}
	if b.Breaker.Failures == 0 {
		b.Breaker = pipeline.BreakerSettings{Failures: 1000, Window: time.Minute, OpenFor: time.Minute}
	}
	if s.adjust != nil {
		s.adjust(w)(b)
	}
	w.start(s)
	t.Cleanup(func() { w.stop() })
	return w
}

// start opens the store and runs a pipeline on it, as a process would.
func (w *world) start(s setup) {
	w.t.Helper()
	st, err := embedded.Open(embedded.Options{
		Dir: "data", FS: w.fs, Root: make([]byte, 32), IDs: w.ids, Now: w.clock.Now, Faults: w.inject,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		w.t.Fatalf("opening the store: %v", err)
	}
	w.store = st
	var sources []rules.Source
	if s.rules != "" {
		sources = []rules.Source{{Name: "rules.yaml", Data: []byte(s.rules)}}
	}
	ctx, cancel := context.WithCancel(context.Background())
	book, err := rulesOf(ctx, st, w.tenant, sources, w.clock.Now)
	if err != nil {
		w.t.Fatalf("publishing rules: %v", err)
	}
	detector, err := signal.NewLexical()
	if err != nil {
		w.t.Fatal(err)
	}
	tenant := &pipeline.Tenant{
		Handle: w.tenant, Rules: book, Queue: "support", Queues: map[string]bool{"support": true, "emergency": true},
		BareRequests: !s.noBare, IdleNew: s.idle, CaptureOver: s.captureOver, Limits: s.limits, Share: s.share,
	}
	bots := map[string]*pipeline.Bot{w.ladder.Name: w.ladder}
	for _, b := range s.others {
		bots[b.Name] = b
	}
	channels := []*pipeline.Channel{{Key: "acme.web", Tenant: tenant, Bot: w.ladder, Bots: bots, ByLanguage: s.byLanguage, ReopenWithin: 30 * time.Minute, Push: s.push}}
	if s.lookup != nil {
		channels[0].Lookup, channels[0].LateWait, channels[0].AccountFor = s.lookup, 300*time.Millisecond, time.Hour
	}
	if s.second != nil {
		channels = append(channels, &pipeline.Channel{Key: "acme.second", Tenant: tenant, Bot: s.second, ReopenWithin: 30 * time.Minute})
	}
	w.p = pipeline.New(ctx, pipeline.Options{
		Store: paged{st, s.page}, IDs: w.ids, Now: w.clock.Now, Detector: detector, Log: slog.New(slog.NewTextHandler(&w.logs, nil)),
		Channels: channels, BotCalls: s.calls, After: s.after,
		Faults: w.inject,
		Notify: func(n pipeline.Notice) { w.notes <- n },
	})
	if w.edge, err = w.p.Edge("acme.web"); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); w.p.Run(ctx) }()
	w.stop = func() {
		cancel()
		<-done
		end, no := context.WithCancel(context.Background())
		no()
		w.p.Stop(end)
		if err := st.Close(); err != nil {
			w.t.Errorf("closing the store: %v", err)
		}
	}
}

// rulesOf is the book of rules that a configuration manages.
func rulesOf(ctx context.Context, v store.Versions, t store.Tenant, sources []rules.Source, now func() time.Time) (*rulebook.Book, error) {
	detector, err := signal.NewLexical()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	b := rulebook.New(rulebook.Options{
		Versions: v, Tenant: t, Nodes: rulebook.Alone{}, Detector: detector, Board: alarm.New(now, log, nil), Now: now, Log: log,
	})
	return b, b.Configure(ctx, rulebook.Config{Managed: "rules.yaml", Sources: sources})
}

func (w *world) inject(ctx context.Context, p fault.Point) error {
	if f := w.faults.Load(); f != nil {
		return (*f)(ctx, p)
	}
	return nil
}

// paged is a store whose view of the queue is handed out in pages of at most the given size; 0: as the store likes.
type paged struct {
	*embedded.Store
	most int
}

func (p paged) Waiting(ctx context.Context, t store.Tenant, queue string, limit int) ([]store.Waiting, error) {
	if p.most > 0 {
		limit = p.most
	}
	return p.Store.Waiting(ctx, t, queue, limit)
}

// lines keeps what the pipeline logs.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// logged counts in the log.
func (w *world) logged(s string) int {
	w.logs.mu.Lock()
	defer w.logs.mu.Unlock()
	return bytes.Count(w.logs.b.Bytes(), []byte(s))
}

func visitor(n string) message.Address { return message.Address{Channel: "acme.web", Address: n} }

func text(from, id, s string) message.Inbound {
	return message.Inbound{ID: id, From: visitor(from), Kind: message.Text, Text: s}
}

func ctxT(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// accept hands a message in and fails the test on an error.
func (w *world) accept(in message.Inbound) adapters.Receipt {
	w.t.Helper()
	r, err := w.edge.Accept(ctxT(w.t), in)
	if err != nil {
		w.t.Fatalf("accept %s: %v", in.ID, err)
	}
	return r
}

// ask hands a message in and waits for its outcome.
func (w *world) ask(in message.Inbound) adapters.Outcome {
	w.t.Helper()
	out, err := w.edge.Outcome(ctxT(w.t), w.accept(in))
	if err != nil {
		w.t.Fatalf("outcome of %s: %v", in.ID, err)
	}
	return out
}

func (w *world) ref(conv string) store.Ref { return store.Ref{Tenant: w.tenant, ID: conv} }

// log returns the whole log of a conversation.
func (w *world) log(conv string) []conversation.Event {
	w.t.Helper()
	events, err := w.store.Log(ctxT(w.t), w.ref(conv), 0, 100_000)
	if err != nil {
		w.t.Fatal(err)
	}
	return events
}

func (w *world) state(conv string) *conversation.State {
	w.t.Helper()
	snap, err := w.store.Load(ctxT(w.t), w.ref(conv))
	if err != nil {
		w.t.Fatal(err)
	}
	return snap.State
}

// until waits for the conversation to satisfy ok, woken by its commits.
func (w *world) until(conv, what string, ok func(*conversation.State) bool) *conversation.State {
	w.t.Helper()
	grown := make(chan struct{}, 1)
	watch := w.p.Follow(w.ref(conv), func() {
		select {
		case grown <- struct{}{}:
		default:
		}
	})
	defer watch.Close()
	ctx := ctxT(w.t)
	for {
		if s := w.state(conv); ok(s) {
			return s
		}
		select {
		case <-grown:
		case <-ctx.Done():
			w.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// agent acts as the named agent.
func (w *world) agent(conv, name string, cmds ...conversation.Command) (*conversation.State, error) {
	return w.p.Act(ctxT(w.t), w.ref(conv), conversation.Actor{Kind: conversation.Agent, ID: name}, store.Token(w.ids.Token()),
		func(d *conversation.Draft) error {
			for _, c := range cmds {
				if err := d.Do(c); err != nil {
					return err
				}
			}
			return nil
		})
}

func texts(out adapters.Outcome) []string {
	var s []string
	for _, m := range out.Messages {
		if m.Part != nil {
			s = append(s, string(m.By)+": "+m.Part.Text)
		}
	}
	return s
}

func sentBy(events []conversation.Event, by message.By) []string {
	var s []string
	for _, e := range events {
		if d, ok := e.Data.(*conversation.Sent); ok && d.By == by {
			s = append(s, d.Part.Text)
		}
	}
	return s
}

func count[D conversation.Data](events []conversation.Event) int {
	n := 0
	for _, e := range events {
		if _, ok := e.Data.(D); ok {
			n++
		}
	}
	return n
}

var errBot = errors.New("scripted")

func key(n int) string { return fmt.Sprintf("m%d", n) }
