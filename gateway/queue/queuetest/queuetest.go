// Package queuetest builds what tests of the human side need: a store in memory, a pipeline, a clock that stands still,
// and conversations that wait for people.
package queuetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/outbox"
	"turnout/gateway/pipeline"
	"turnout/gateway/queue"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
)

// Clock is a clock that moves when it is told to.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the time of the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock forward.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Kit is a store and a pipeline without channels. Faults, when a test sets it, is hit by the queues that Queue builds.
type Kit struct {
	Store    *embedded.Store
	Pipeline *pipeline.Pipeline
	IDs      *id.Source
	Clock    *Clock
	Logger   *slog.Logger
	Logged   *Buffer
	Faults   fault.Injector

	n int
}

// Buffer is a bytes.Buffer for several goroutines.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Tenants are those that a kit knows.
var Tenants = []store.Tenant{Tenant("acme"), Tenant("other")}

// Tenant returns the handle of a name that is valid.
func Tenant(name string) store.Tenant {
	t, err := store.NewTenant(name)
	if err != nil {
		panic(err)
	}
	return t
}

// New builds a kit, which ends with the test.
func New(t testing.TB) *Kit {
	t.Helper()
	k := &Kit{Clock: &Clock{now: time.Date(2026, 5, 4, 9, 0, 0, 0, time.UTC)}, Logged: &Buffer{}}
	k.IDs = id.NewSource(rand.Reader, k.Clock.Now)
	k.Logger = slog.New(slog.NewTextHandler(k.Logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	root := bytes.Repeat([]byte{7}, 32)
	s, err := embedded.Open(embedded.Options{
		Dir: "store", FS: vfs.NewMem(), Root: root, IDs: k.IDs, Now: k.Clock.Now, Reserve: -1, Ballast: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	k.Store = s
	ctx, cancel := context.WithCancel(context.Background())
	k.Pipeline = pipeline.New(ctx, pipeline.Options{Store: s, IDs: k.IDs, Now: k.Clock.Now, Log: k.Logger})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := k.Pipeline.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		k.Pipeline.Stop(ctx)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// Directory is a queue.Directory of fixed people, all tenants having the same queues.
type Directory struct {
	People []queue.Agent
	Desks  []string
}

// Agent implements queue.Directory.
func (d *Directory) Agent(t store.Tenant, id string) (queue.Agent, bool) {
	for _, a := range d.People {
		if a.Tenant == t && a.ID == id {
			return a, true
		}
	}
	return queue.Agent{}, false
}

// HasQueue implements queue.Directory.
func (d *Directory) HasQueue(_ store.Tenant, name string) bool {
	return slices.Contains(d.Desks, name)
}

// Agents implements queue.Directory.
func (d *Directory) Agents(t store.Tenant) (out []queue.Agent) {
	for _, a := range d.People {
		if a.Tenant == t {
			out = append(out, a)
		}
	}
	return out
}

// Queues implements queue.Directory.
func (d *Directory) Queues(store.Tenant) []string { return d.Desks }

// Queue builds a queue upon the kit.
func (k *Kit) Queue(t testing.TB, d queue.Directory) *queue.Queue {
	t.Helper()
	q, err := queue.New(queue.Options{
		Pipeline: k.Pipeline, Store: k.Store, Directory: d, IDs: k.IDs, Now: k.Clock.Now, Key: bytes.Repeat([]byte{9}, 32),
		Blobs: k.Store.Blobs(), Log: k.Logger, Dead: &outbox.Dead{Store: k.Store, IDs: k.IDs, Now: k.Clock.Now},
		Faults: func(ctx context.Context, p fault.Point) error { return k.Faults.Hit(ctx, p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// Open opens a conversation with the bot in which a customer wrote texts. Each call is another customer.
func (k *Kit) Open(t testing.TB, tenant store.Tenant, texts ...string) store.Ref {
	t.Helper()
	k.n++
	from := message.Address{Channel: tenant.Name() + ".web", Address: "v_" + string(rune('a'+k.n%26)) + k.IDs.Token()}
	return k.OpenFrom(t, tenant, from, texts...)
}

// OpenFrom is Open for a given address.
func (k *Kit) OpenFrom(t testing.TB, tenant store.Tenant, from message.Address, texts ...string) store.Ref {
	t.Helper()
	part := id.PartitionOf(tenant.Name(), from.Channel, from.Address)
	ref := store.Ref{Tenant: tenant, ID: k.IDs.New(id.Conversation, part)}
	op := k.IDs.Token()
	d := conversation.Begin(&conversation.State{}, conversation.Env{Now: k.ms(), Op: op, Actor: conversation.Actor{Kind: conversation.System}})
	must(t, d.Do(conversation.Open{ID: ref.ID, From: from}))
	for _, text := range texts {
		in := message.Inbound{ID: k.IDs.Token(), From: from, Kind: message.Text, Text: text}
		must(t, d.Do(conversation.Receive{ID: k.IDs.New(id.Message, part), In: in}))
	}
	found, err := k.Store.Find(context.Background(), tenant, from, nil)
	must(t, err)
	bind := store.Bind{Address: from}
	if found.Snapshot != nil {
		bind.From = found.Snapshot.Ref.ID
	}
	_, err = k.Store.Commit(context.Background(), store.Step{
		Ref: ref, Op: store.Token(op), Events: d.Events, State: &d.State, Bind: &bind,
	})
	must(t, err)
	return ref
}

// Queued opens a conversation and diverts it to a queue.
func (k *Kit) Queued(t testing.TB, tenant store.Tenant, queueName string, texts ...string) store.Ref {
	t.Helper()
	ref := k.Open(t, tenant, texts...)
	k.Do(t, ref, conversation.Divert{Handoff: conversation.Handoff{
		Rule: "test.rule", Reason: "Because a test wants it.", Queue: queueName, Priority: conversation.PriorityNormal,
	}})
	return ref
}

// Do carries a command out as the system.
func (k *Kit) Do(t testing.TB, ref store.Ref, c conversation.Command) {
	t.Helper()
	_, err := k.Pipeline.Act(context.Background(), ref, conversation.Actor{Kind: conversation.System}, store.Token(k.IDs.Token()),
		func(d *conversation.Draft) error { return d.Do(c) })
	must(t, err)
}

// Dead makes a dead letter of something said in a conversation, as if its provider had refused it.
func (k *Kit) Dead(t testing.TB, ref store.Ref, by message.By, text string) store.DeadLetter {
	t.Helper()
	ctx := context.Background()
	commit := func(fill func(d *conversation.Draft, s *store.Step)) {
		t.Helper()
		snap, err := k.Store.Load(ctx, ref)
		must(t, err)
		op := k.IDs.Token()
		d := conversation.Begin(snap.State, conversation.Env{Now: k.ms(), Op: op, Actor: conversation.Actor{Kind: conversation.System}})
		s := store.Step{Ref: ref, Op: store.Token(op), Base: snap.Version}
		fill(d, &s)
		s.Events, s.State = d.Events, d.Result()
		_, err = k.Store.Commit(ctx, s)
		must(t, err)
	}
	m := k.IDs.New(id.Message, 0)
	commit(func(d *conversation.Draft, s *store.Step) {
		must(t, d.Do(conversation.Say{Sent: conversation.Sent{ID: m, Part: message.Part{Text: text}}}))
		row := store.OutboxRow{ID: store.RowOf(m), Epoch: d.State.Epoch, Seq: d.State.Seq, At: d.Now(), Due: d.Now()}
		row.Out = message.Outbound{ID: m, To: d.State.From, Part: message.Part{Text: text}, By: by}
		s.Outbox = []store.OutboxRow{row}
	})
	row, err := k.Store.Lease(ctx, ref, k.ms(), k.ms()+1000)
	must(t, err)
	commit(func(_ *conversation.Draft, s *store.Step) {
		s.Settle = &store.Settlement{Row: row.Row.ID, Token: row.Token, End: store.Bury, Code: "blocked"}
	})
	dead, err := k.Store.DeadLetter(ctx, ref.Tenant, store.RowOf(m))
	must(t, err)
	return dead
}

// Observe shows the pipeline what a channel has seen of a customer. The channel is there for as long as that takes.
func (k *Kit) Observe(t testing.TB, o message.Observation) {
	t.Helper()
	name, _, _ := strings.Cut(o.From.Channel, ".")
	k.Pipeline.Replace([]*pipeline.Channel{{Key: o.From.Channel, Tenant: &pipeline.Tenant{Handle: Tenant(name)}}})
	defer k.Pipeline.Replace(nil)
	edge, err := k.Pipeline.Edge(o.From.Channel)
	must(t, err)
	edge.Observe(o)
}

// State returns a conversation's state.
func (k *Kit) State(t testing.TB, ref store.Ref) *conversation.State {
	t.Helper()
	snap, err := k.Store.Load(context.Background(), ref)
	must(t, err)
	return snap.State
}

// Log returns a conversation's whole log.
func (k *Kit) Log(t testing.TB, ref store.Ref) []conversation.Event {
	t.Helper()
	events, err := k.Store.Log(context.Background(), ref, 0, 1<<20)
	must(t, err)
	return events
}

func (k *Kit) ms() int64 { return k.Clock.Now().UnixMilli() }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
