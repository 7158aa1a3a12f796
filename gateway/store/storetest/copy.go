package storetest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/transfer"
)

// Place is where a store can be: under test are that it can be copied from there and to there.
type Place struct {
	// Open opens the store, or makes it, as a gateway does. It is closed before it is opened otherwise.
	Open func() (store.Store, error)
	// Blobs are those of a store that Open returned.
	Blobs func(store.Store) Blobs
	// Source opens it to be copied.
	Source func(ctx context.Context) (transfer.Source, error)
	// Target is the place for a copy; root is the root key, nil for that of the stores.
	Target func(root []byte) transfer.Target
}

// Blobs keeps the bytes of attachments.
type Blobs interface {
	Put(ctx context.Context, r store.Ref, body io.Reader, max int64) (name string, size int64, err error)
	Open(ctx context.Context, r store.Ref, name string) (io.ReadCloser, error)
}

// Copy runs the suite of copies from places that from makes to places that to makes.
func Copy(t *testing.T, from, to func(t *testing.T, c *Clock) Place) {
	for _, tc := range []struct {
		name string
		test func(t *testing.T, m *moving)
	}{
		{"there and back", testThereAndBack},
		{"interrupted", testInterrupted},
		{"refused", testRefused},
		{"empty", testEmptyCopy},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.test(t, newMoving(t, from, to)) })
	}
}

// ThereAndBack is the heart of Copy.
func ThereAndBack(t *testing.T, from, to func(t *testing.T, c *Clock) Place) {
	testThereAndBack(t, newMoving(t, from, to))
}

func newMoving(t *testing.T, from, to func(t *testing.T, c *Clock) Place) *moving {
	c := NewClock()
	m := &moving{world: &world{T: t, clock: c, ids: id.NewSource(rand.Reader, c.Now)}, from: from, to: to}
	m.tenant = m.newTenant("acme")
	return m
}

// moving is a world whose store moves.
type moving struct {
	*world
	from, to func(t *testing.T, c *Clock) Place
	held     store.Ref
	queued   store.Ref
	sending  store.Ref
	working  store.Ref
	erased   store.Ref
	last     store.Step
}

// in runs f on the store of a place, and closes it.
func (m *moving) in(p Place, f func()) {
	m.Helper()
	s, err := p.Open()
	m.noErr(err, "opening the store")
	m.Store = s
	f()
	m.noErr(s.Close(), "closing the store")
}

// copy copies what is in one place to another, and closes both.
func (m *moving) copy(a, b Place, through func(transfer.Target) transfer.Target) (transfer.Report, error) {
	m.Helper()
	src, err := a.Source(m.Context())
	m.noErr(err, "opening the source")
	target := b.Target(nil)
	if through != nil {
		target = through(target)
	}
	rep, err := transfer.Copy(m.Context(), src, target, m.clock.Now, nil)
	m.noErr(errors.Join(target.Close(), src.Close()), "closing both")
	return rep, err
}

// whole is copy that has to succeed.
func (m *moving) whole(a, b Place) transfer.Report {
	m.Helper()
	rep, err := m.copy(a, b, nil)
	m.noErr(err, "copying")
	for _, d := range append(rep.Differences, rep.Check.Faults...) {
		m.Errorf("copying: %s", d)
	}
	return rep
}

// fill puts something of every kind into the store, in more than one tenant and generation.
func (m *moving) fill(blobs Blobs) {
	ctx := m.Context()
	for n := range 3 {
		m.do(m.full(address(10+n), fmt.Sprint("full-", n)), system, conversation.Say{Sent: conversation.Sent{ID: m.ids.New(id.Message, 0), Part: message.Part{Text: "so it is"}}})
	}
	m.clock.Move(80 * time.Hour) // into the next generation
	m.queued = m.open(address(1))
	m.divert(m.queued, "support", 5)
	m.held = m.open(address(2))
	m.divert(m.held, "sales", 7)
	m.claim(m.held, "ann")
	m.working = m.open(address(3))
	st := m.step(m.working, m.load(m.working), system, conversation.StartTurn{ID: m.ids.New(id.Turn, 0)})
	st.Take = store.Lease{Token: store.Token(m.ids.Token()), Until: m.clock.Milli() + 60_000}
	m.commit(st)
	m.sending = m.open(address(4))
	m.push(m.sending, m.rowFor(m.sending, "one"), m.rowFor(m.sending, "two"))
	if _, err := m.lease(m.sending); err != nil { // whose result nobody will know
		m.Fatal(err)
	}
	m.erased = m.open(address(5))
	gone := m.step(m.erased, m.load(m.erased), agent("own"), conversation.Wipe{})
	gone.Keep = []byte("figures")
	m.commit(gone)
	if a, ok := m.Store.(store.Archive); ok { // it is copied as if it were not archived
		past := m.talkedWith(address(8), 3, "")
		left := m.talkedWith(address(9), 3, "")
		for _, r := range []store.Ref{past, left} {
			_, err := a.Archive(ctx, r)
			m.noErr(err, "archiving")
		}
		m.do(past, customer, conversation.Reopen{}, m.inbound(address(8), "back", "one more thing"))
		m.do(past, system, conversation.Close{Reason: conversation.ReasonIdle})
		m.do(left, agent("own"), conversation.Wipe{})
	}

	// Files: of a conversation, one that is to be destroyed, and one that came before its conversation.
	with := m.open(address(6))
	attach := store.Step{Ref: with, Base: m.load(with).Version, Op: store.Token(m.ids.Token()), State: m.load(with).State}
	var ids []string
	for n := range 2 {
		name, size, err := blobs.Put(ctx, with, strings.NewReader(strings.Repeat(fmt.Sprint("file ", n), 20_000)), 1<<20)
		m.noErr(err, "putting a file")
		ids = append(ids, m.ids.New(id.Attachment, 0))
		attach.Attach = append(attach.Attach, store.Attachment{Attachment: message.Attachment{ID: ids[n], Name: "scan.pdf", Size: size}, Blob: name})
	}
	m.commit(attach)
	detach := store.Step{Ref: with, Base: attach.Op, Op: store.Token(m.ids.Token()), State: attach.State, Detach: ids[1:]}
	m.commit(detach)
	m.last = detach
	early := store.Ref{Tenant: m.tenant, ID: m.newID(address(7))}
	_, _, err := blobs.Put(ctx, early, strings.NewReader("early"), 1<<20)
	m.noErr(err, "putting a file before its conversation")

	until := m.clock.Milli() + 3_600_000
	m.noErr(m.Store.Remember(ctx, m.tenant, store.Answer{Key: [32]byte{1}, Body: []byte("answered"), Until: until}), "remembering")
	m.noErr(m.Store.Remember(ctx, m.tenant, store.Answer{Key: [32]byte{2}, Until: m.clock.Milli() + 1}), "remembering for a moment")
	for n := range 12 {
		m.noErr(m.Store.Publish(ctx, m.tenant, "rules", n, store.VersionedDoc{Digest: fmt.Sprint("d", n), Body: []byte{byte(n)}, At: 5}), "publishing")
	}
	for _, r := range []store.Record{{Kind: "hold", ID: "h1", Body: []byte("legal")}, {Kind: "hold", ID: "h2"}, {Kind: "job", ID: "x", Body: []byte("state")}} {
		r.Version, err = m.Store.PutRecord(ctx, m.tenant, r, &audit.Entry{Type: "hold.set", Op: "op-" + r.ID, Actor: "owner:ana"})
		m.noErr(err, "putting a record")
		if r.ID == "h2" {
			m.noErr(m.Store.DeleteRecord(ctx, m.tenant, r, nil), "deleting a record")
		}
	}
	first := m.checkpoint(m.frontier())
	m.noErr(m.Store.Seal(ctx, m.tenant, first), "sealing")
	m.noErr(m.Store.Sent(ctx, m.tenant, 1), "noting what was sent")
	m.tag(m.queued, "later") // moved since the checkpoint
	m.noErr(m.Store.Append(ctx, store.Operator, audit.Entry{Type: "node.started", Op: "op", Actor: "system"}), "appending")
	m.tenant = m.newTenant("beta")
	m.divert(m.open(address(1)), "support", 3)
	m.tenant = m.newTenant("acme")
	m.clock.Move(2 * time.Millisecond)
}

// all are the kinds of items that fill leads to.
var all = []transfer.Kind{
	transfer.Tenants, transfer.Entries, transfer.Checkpoints, transfer.Versions, transfer.Records, transfer.Answers,
	transfer.Conversations, transfer.Erasures, transfer.LogRows, transfer.Attachments, transfer.Sendings, transfer.Blobs,
	transfer.Keys, transfer.DeadLetters, transfer.Identities, transfer.MessageIDs,
}

// testThereAndBack copies a store that has something of everything, and back, and asks each what a gateway asks.
func testThereAndBack(t *testing.T, m *moving) {
	home, away, back := m.from(t, m.clock), m.to(t, m.clock), m.from(t, m.clock)
	var want string
	m.in(home, func() {
		m.fill(home.Blobs(m.Store))
		want = m.told(home.Blobs(m.Store))
	})
	rep := m.whole(home, away)
	for _, k := range all {
		if rep.Counts[k] == 0 {
			t.Errorf("no %s were copied", k)
		}
	}
	m.in(away, func() { m.wantTold(want, away.Blobs(m.Store), "there") })
	again := m.whole(away, back)
	for k, n := range rep.Counts {
		if got := again.Counts[k]; got != n && (k != transfer.Blobs || got < n) { // a place of files may be that of both
			t.Errorf("%d %s came back of %d", again.Counts[k], k, n)
		}
	}
	m.in(back, func() { m.wantTold(want, back.Blobs(m.Store), "back") })
	m.equal(home, back)
	// Either goes on where the source stopped, and what it has added moves too.
	m.in(away, m.goOn)
	third := m.from(t, m.clock)
	var grown string
	m.in(away, func() { grown = m.told(away.Blobs(m.Store)) })
	m.whole(away, third)
	m.in(third, func() { m.wantTold(grown, third.Blobs(m.Store), "after it has gone on") })
	m.equal(away, third)
	m.in(back, m.goOn)
}

// equal compares two places item by item.
func (m *moving) equal(a, b Place) {
	m.Helper()
	x, err := a.Source(m.Context())
	m.noErr(err, "opening the first")
	y, err := b.Source(m.Context())
	m.noErr(err, "opening the second")
	rep, err := transfer.Compare(m.Context(), x, y, m.clock.Now)
	m.noErr(errors.Join(err, x.Close(), y.Close()), "comparing")
	for _, d := range rep.Differences {
		m.Errorf("comparing: %s", d)
	}
}

func (m *moving) wantTold(want string, blobs Blobs, where string) {
	m.Helper()
	got := m.told(blobs)
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			m.Errorf("%s, from line %d on:\n%.2000s\nwant\n%.2000s", where, i+1, strings.Join(b[min(i, len(b)):], "\n"), strings.Join(a[min(i, len(a)):], "\n"))
			return
		}
	}
}

// told is what a store tells of everything, by its roles.
func (m *moving) told(blobs Blobs) string {
	ctx := m.Context()
	var out strings.Builder
	say := func(what string, v any, err error) {
		b, bad := json.Marshal(v)
		if errors.Join(err, bad) != nil {
			m.Errorf("%s: %v", what, errors.Join(err, bad))
		}
		if string(b) == "null" { // an empty list is as good as none
			b = []byte("[]")
		}
		fmt.Fprintf(&out, "%s: %s\n", what, b)
	}
	tenants, err := m.Store.Tenants(ctx)
	say("tenants", len(tenants), err)
	for _, t := range append(tenants, store.Operator) {
		chains, err := m.Store.Chains(ctx, t, "", 1000)
		say(t.Name()+" chains", chains, err)
		for _, conv := range append(chains, "") {
			entries, err := m.Store.Entries(ctx, t, conv, 0, 1000)
			say("entries of "+conv, entries, err)
			_, err = audit.Verify(cmpOr(conv, t.Name()), audit.Head{}, entries)
			say("verified", nil, err)
		}
		for _, conv := range chains {
			r := store.Ref{Tenant: t, ID: conv}
			snap, err := m.Store.Load(ctx, r)
			if errors.Is(err, store.ErrErased) {
				stone, err := m.Store.Tombstone(ctx, r)
				say("tombstone", stone, err)
				continue
			}
			say("state of "+conv, []any{snap.State, snap.Version, snap.Outgoing, snap.Lease.Live(m.clock.Milli() + 120_000)}, err)
			events, err := m.Store.Log(ctx, r, 0, 1000)
			say("log", events, err)
			events, err = m.Store.Log(ctx, r, 1, 1)
			say("a page", events, err)
			events, err = m.Store.Visible(ctx, r, 1, 1000)
			say("visible", events, err)
			files, err := m.Store.Attachments(ctx, r, "", 1000)
			say("attachments", files, err)
			for _, a := range files {
				if len(a.Blob) > 1 {
					f, err := blobs.Open(ctx, r, a.Blob)
					var body []byte
					if err == nil {
						body, err = io.ReadAll(f)
						err = errors.Join(err, f.Close())
					}
					say("file", body, err)
				}
			}
			n, err := m.Store.Position(ctx, r)
			say("position", n, err)
			for _, clientID := range []string{"hello", "full-0", "full-1", "full-2"} {
				found, err := m.Store.Find(ctx, t, snap.State.From, []string{clientID})
				say("found", []any{found.Known, found.Snapshot != nil && found.Snapshot.Ref == r}, err)
			}
			for _, p := range []store.Path{{Kind: store.ByContact, Value: "k_1"}, {Kind: store.ByTag, Value: "vip"}, {Kind: store.ByAddress, Value: snap.State.From.Channel + "\x00" + snap.State.From.Address}} {
				refs, err := m.Store.List(ctx, t, p, "", 100)
				say("path", len(refs), err)
			}
		}
		waiting, err := m.Store.Waiting(ctx, t, "", 100)
		say("waiting", waiting, err)
		depth, err := m.Store.Depth(ctx, t)
		say("depth", depth, err)
		dead, _, err := m.Store.DeadLetters(ctx, t, "", 100)
		say("dead letters", dead, err)
		frontier, err := m.Store.Frontier(ctx, t, 1000)
		slices.SortFunc(frontier.Heads, func(a, b audit.ChainHead) int { return strings.Compare(a.Chain, b.Chain) })
		say("frontier", frontier, err)
		list, err := m.Store.Checkpoints(ctx, t, 0, 100)
		say("checkpoints", list, err)
		stones, err := m.Store.Erased(ctx, t, "", 100)
		say("erased", stones, err)
		for _, kind := range []string{"hold", "job"} {
			records, err := m.Store.ListRecords(ctx, t, kind, "", 100)
			say("records", records, err)
		}
		if t == m.tenant {
			v, err := m.Store.Current(ctx, t, "rules")
			say("current", v, err)
			v, err = m.Store.Version(ctx, t, "rules", 2)
			say("version", v, err)
			a, err := m.Store.Recall(ctx, t, [32]byte{1})
			say("answer", a, err)
		}
	}
	return out.String()
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// goOn works on a store that was copied as a gateway would.
func (m *moving) goOn() {
	ctx := m.Context()
	// A message that was accepted before is known, in whichever generation it came; so is a step that was committed.
	for n, clientID := range map[int]string{10: "full-0", 1: "hello"} {
		dup := m.opening(address(n), clientID, "again")
		_, err := m.Store.Commit(ctx, dup)
		var known *store.DuplicateError
		if !errors.As(err, &known) {
			m.Errorf("message %s once more: %v", clientID, err)
		}
	}
	if done := m.commit(m.last); !done.Repeat {
		m.Errorf("a step once more: %+v", done)
	}
	_, err := m.Store.Load(ctx, m.erased)
	m.wantErr(err, store.ErrErased, "what was erased")

	// Work, timers and sends are due: whoever had begun them is gone.
	m.clock.Move(hidden)
	jobs, _, err := m.Store.Due(ctx, m.clock.Milli(), 1000)
	m.noErr(err, "looking for work")
	var timers int
	var work bool
	for _, j := range jobs {
		if j.Timer.Name != "" {
			timers++
		}
		work = work || j.Ref == m.working && j.Timer.Name == ""
	}
	if !work || timers != 3 {
		m.Errorf("due: %+v", jobs)
	}
	if refs := m.pending(); !slices.Contains(refs, m.sending) {
		m.Errorf("to be sent: %v", refs)
	}
	row, err := m.lease(m.sending)
	if err != nil || row.Attempt != 2 || row.Unsure != 1 {
		m.Errorf("the send whose result nobody knows: %+v, %v", row, err)
	}
	m.noErr(m.settle(row, store.Settlement{End: store.Gone}, sent(row)), "settling it")

	// An agent holds what it held, and may have one more only if there is room.
	m.noErr(m.Store.SetPresence(ctx, m.tenant, store.Presence{Agent: "ann", Until: m.clock.Milli() + 60_000, Capacity: 1}), "coming back")
	m.wantErr(m.Store.Reserve(ctx, m.tenant, "ann", m.queued.ID, "op"), store.ErrCapacity, "one more")
	m.do(m.held, agent("ann"), conversation.Reply{ID: m.ids.New(id.Message, 0), Name: "Ann", Part: message.Part{Text: "hello again"}})

	// The audit goes on: the next checkpoint covers what moved before and after.
	c := m.checkpoint(m.frontier())
	chains := chainsOf(c.Heads)
	for _, conv := range []string{m.queued.ID} {
		if !slices.Contains(chains, conv) {
			m.Errorf("the next checkpoint covers %v, not %s", chains, conv)
		}
	}
	m.noErr(m.Store.Seal(ctx, m.tenant, c), "sealing the next")
	early := m.opening(address(7), "first", "with the file")
	m.commit(early)
	m.noErr(m.Store.Scrub(ctx), "scrubbing")
	rep, err := m.Store.Check(ctx)
	m.noErr(err, "checking")
	for _, f := range rep.Faults {
		m.Errorf("check: %s", f)
	}
}

// broken is a target whose process dies at some item.
type broken struct {
	transfer.Target
	after int
	puts  int
	check bool // it dies when it is checked
}

var errBroken = errors.New("killed")

func (b *broken) Put(ctx context.Context, i transfer.Item) error {
	if b.puts++; b.puts > b.after {
		return errBroken
	}
	return b.Target.Put(ctx, i)
}

func (b *broken) Check(ctx context.Context) (store.Report, error) {
	if b.check {
		return store.Report{}, errBroken
	}
	return b.Target.Check(ctx)
}

// testInterrupted ends a copy at many points. Nobody can open what there is then, and the next copy makes it whole, also when
// the source has changed.
func testInterrupted(t *testing.T, m *moving) {
	home, away := m.from(t, m.clock), m.to(t, m.clock)
	m.in(home, func() { m.fill(home.Blobs(m.Store)) })
	const never = 1 << 30
	for _, after := range []int{0, 1, 40, 80, 110, never} {
		_, err := m.copy(home, away, func(t transfer.Target) transfer.Target {
			return &broken{Target: t, after: after, check: after == never}
		})
		m.wantErr(err, errBroken, "interrupted")
		s, err := away.Open()
		var incomplete *transfer.Incomplete
		if !errors.As(err, &incomplete) {
			t.Fatalf("after %d items it opens: %v", after, err)
		}
		if s != nil && err == nil {
			m.noErr(s.Close(), "closing")
		}
		m.in(home, func() {
			m.do(m.queued, customer, m.inbound(address(1), fmt.Sprint("after-", after), "still there?"))
			if after == 40 { // what the interrupted copies hold of it must not come back
				m.do(m.held, agent("own"), conversation.Wipe{})
			}
		})
	}
	_, err := away.Source(t.Context())
	var incomplete *transfer.Incomplete
	if !errors.As(err, &incomplete) {
		t.Errorf("half a store is copied on: %v", err)
	}
	m.whole(home, away)
	m.equal(home, away)
}

// lossy is a target that loses the first item of a kind, or changes it.
type lossy struct {
	transfer.Target
	of   transfer.Kind
	swap func(transfer.Item) transfer.Item // nil: it is lost
	done bool
}

func (l *lossy) Put(ctx context.Context, i transfer.Item) error {
	if i.Kind() == l.of && !l.done {
		l.done = true
		if l.swap == nil {
			return nil
		}
		i = l.swap(i)
	}
	return l.Target.Put(ctx, i)
}

// swaps change an item so that it is still one.
var swaps = map[transfer.Kind]func(transfer.Item) transfer.Item{
	transfer.Answers: func(i transfer.Item) transfer.Item {
		a := i.(transfer.Answer)
		a.Answer.Body = []byte("another")
		return a
	},
	transfer.Conversations: func(i transfer.Item) transfer.Item {
		c := i.(transfer.Conversation)
		c.Version = "another"
		return c
	},
	transfer.Sendings: func(i transfer.Item) transfer.Item {
		s := i.(transfer.Sending)
		s.Row.Attempt++
		return s
	},
	transfer.Identities: func(i transfer.Item) transfer.Item {
		a := i.(transfer.Identity)
		a.Hash[0]++
		return a
	},
	transfer.MessageIDs: func(i transfer.Item) transfer.Item {
		m := i.(transfer.MessageID)
		m.Known.Seq++
		return m
	},
	transfer.Blobs: func(i transfer.Item) transfer.Item {
		b := i.(transfer.Blob)
		b.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("other bytes")), nil }
		return b
	},
	transfer.Tenants: func(i transfer.Item) transfer.Item {
		t := i.(transfer.Tenant)
		t.Sent++
		return t
	},
}

// CopyControl loses and changes an item of each kind on its way: a copy that does not find out would be worth nothing.
func CopyControl(t *testing.T, from, to func(t *testing.T, c *Clock) Place) {
	m := newMoving(t, from, to)
	home := m.from(t, m.clock)
	m.in(home, func() { m.fill(home.Blobs(m.Store)) })
	try := func(name string, kind transfer.Kind, swap func(transfer.Item) transfer.Item) {
		away := m.to(t, m.clock)
		var through *lossy
		rep, err := m.copy(home, away, func(t transfer.Target) transfer.Target {
			through = &lossy{Target: t, of: kind, swap: swap}
			return through
		})
		if !through.done || err == nil && rep.Whole() {
			t.Errorf("one of %s %s: nobody has noticed", kind, name)
		}
		s, err := away.Open()
		var incomplete *transfer.Incomplete
		if !errors.As(err, &incomplete) {
			t.Errorf("one of %s %s, and it opens: %v", kind, name, err)
			if err == nil {
				m.noErr(s.Close(), "closing")
			}
		}
	}
	for _, kind := range all {
		try("is lost", kind, nil)
		if swap := swaps[kind]; swap != nil {
			try("is changed", kind, swap)
		}
	}
}

// Furnish puts two conversations into a new store that have something of everything, with a tenant's own beside them.
func Furnish(t *testing.T, s store.Store) {
	ctx := t.Context()
	w := &world{Opened: Opened{Store: s}, T: t, clock: NewClock()}
	w.clock.now = time.Now()
	w.ids = id.NewSource(rand.Reader, w.clock.Now)
	w.tenant = w.newTenant("acme")
	r := w.full(address(1), "hello")
	w.divert(r, "support", 5)
	gone := w.open(address(2))
	w.do(gone, agent("own"), conversation.Wipe{})
	w.noErr(s.Publish(ctx, w.tenant, "rules", 0, store.VersionedDoc{Digest: "d", Body: []byte("body"), At: 5}), "publishing")
	_, err := s.PutRecord(ctx, w.tenant, store.Record{Kind: "hold", ID: "h1", Body: []byte("legal")}, nil)
	w.noErr(err, "putting a record")
	w.noErr(s.Seal(ctx, w.tenant, w.checkpoint(w.frontier())), "sealing")
	w.noErr(s.Sent(ctx, w.tenant, 1), "noting what was sent")
}

// testRefused looks at what a copy must not begin with.
func testRefused(t *testing.T, m *moving) {
	ctx := t.Context()
	home, away := m.from(t, m.clock), m.to(t, m.clock)
	if src, err := home.Source(ctx); err == nil {
		t.Errorf("a store that is not there is a source")
		m.noErr(src.Close(), "closing")
	}
	m.in(home, func() { m.queued = m.open(address(1)) })
	src, err := home.Source(ctx)
	m.noErr(err, "opening the source")
	try := func(target transfer.Target) error {
		_, err := transfer.Copy(ctx, src, target, m.clock.Now, nil)
		m.noErr(target.Close(), "closing the target")
		return err
	}
	// Another root key is found before anything is written.
	if err := try(away.Target(slices.Repeat([]byte{9}, 32))); err == nil || !strings.Contains(err.Error(), "root key") {
		t.Errorf("another root key: %v", err)
	}
	// One in which nothing has happened gives way, one that is there stays.
	empty := m.to(t, m.clock)
	m.in(empty, func() {})
	if err := try(empty.Target(nil)); err != nil {
		t.Errorf("over an empty store: %v", err)
	}
	m.in(empty, func() { m.load(m.queued) })
	m.in(away, func() { m.open(address(2)) })
	if err := try(away.Target(nil)); err == nil || !strings.Contains(err.Error(), "there is a store already") {
		t.Errorf("over a store: %v", err)
	}
	m.in(away, func() {
		if _, err := m.Store.Load(ctx, m.queued); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the store that was there: %v", err)
		}
	})
	// So does what an interrupted copy of another store has left.
	third := m.to(t, m.clock)
	if err := try(&broken{Target: third.Target(nil)}); !errors.Is(err, errBroken) {
		t.Errorf("interrupted: %v", err)
	}
	m.noErr(src.Close(), "closing the source")
	other := m.from(t, m.clock)
	m.in(other, func() { m.open(address(3)) })
	if _, err := m.copy(other, third, nil); err == nil || !strings.Contains(err.Error(), "another store") {
		t.Errorf("over the copy of another store: %v", err)
	}
}

// testEmptyCopy copies a store in which nothing has happened.
func testEmptyCopy(t *testing.T, m *moving) {
	home, away := m.from(t, m.clock), m.to(t, m.clock)
	m.in(home, func() {})
	if rep := m.whole(home, away); len(rep.Counts) != 0 {
		t.Errorf("copied %v", rep.Counts)
	}
	m.in(away, func() { m.open(address(1)) })
}
