package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// View is what to list.
type View string

// The views: what waits in queues, what the agent holds, what was set aside until a queue opens.
const (
	Waiting  View = "queue"
	Mine     View = "mine"
	Captured View = "captured"
)

// MaxList is the most rows that a List returns.
const MaxList = 200

// Filter says what to list. Queue narrows Waiting and Captured to one queue; empty means all of the agent's.
type Filter struct {
	View  View
	Queue string
	Limit int // 0: 50
	// After is what Page returned with the page before.
	After string
}

// Row is everything that a list shows of a conversation.
type Row struct {
	Conversation string             `json:"conversation"`
	Channel      string             `json:"channel"`
	Language     string             `json:"language,omitempty"`
	Customer     string             `json:"customer,omitempty"` // the name, if it is known
	Owner        conversation.Owner `json:"owner"`
	Seq          uint64             `json:"seq"`
	// Position is the place in its queue, 1 for the next; 0: it does not wait.
	Position int `json:"position,omitempty"`
	// Priority is 1 (bot_down) to 9 (urgent), Since when a person has been owed.
	Priority       int        `json:"priority,omitempty"`
	Since          *time.Time `json:"since,omitempty"`
	Rule           string     `json:"rule,omitempty"`
	Reason         string     `json:"reason,omitempty"`
	Skills         []string   `json:"skills,omitempty"`
	Tags           []string   `json:"tags,omitempty"`
	MustReachHuman bool       `json:"must_reach_human,omitempty"`
	Returns        int        `json:"returns,omitempty"`
	SnoozedUntil   *time.Time `json:"snoozed_until,omitempty"`
	// Owed is since when the customer has been owed a person's answer; nil when nothing is owed.
	Owed *time.Time `json:"owed,omitempty"`
	// WindowUntil is until when the channel takes a reply; nil: there is no limit.
	WindowUntil *time.Time `json:"window_until,omitempty"`
	Last        *Preview   `json:"last,omitempty"`
}

// Preview is the beginning of the last thing that was said.
type Preview struct {
	Seq uint64     `json:"seq"`
	By  message.By `json:"by"`
	// Kind is what the customer did, where that was not to write.
	Kind message.Kind `json:"kind,omitempty"`
	Text string       `json:"text"`
	At   time.Time    `json:"at"`
}

const previewRunes = 160

// List returns the first page of what the agent may see of a view, in the order in which it should be taken.
func (q *Queue) List(ctx context.Context, a Agent, f Filter) ([]Row, error) {
	rows, _, err := q.Page(ctx, a, f)
	return rows, err
}

// Page is List from where f.After says, and where the next page begins; "" when there is none. What comes or goes in
// between is not shown twice; what comes in ahead of the page is on the first one only.
func (q *Queue) Page(ctx context.Context, a Agent, f Filter) (rows []Row, next string, err error) {
	if f.Limit <= 0 {
		f.Limit = 50
	}
	f.Limit = min(f.Limit, MaxList)
	switch f.View {
	case Waiting, "":
		return q.listWaiting(ctx, a, f, q.Store.Waiting, func(x, y place) int {
			return cmp.Or(cmp.Compare(y.Priority, x.Priority), cmp.Compare(x.Since, y.Since), cmp.Compare(x.ID, y.ID))
		})
	case Captured:
		return q.listWaiting(ctx, a, f, q.Store.Captured, func(x, y place) int {
			return cmp.Or(cmp.Compare(x.Since, y.Since), cmp.Compare(x.ID, y.ID))
		})
	case Mine:
		return q.listMine(ctx, a, f)
	}
	return nil, "", &InvalidError{Detail: "view is one of queue, mine, captured."}
}

type lister func(ctx context.Context, t store.Tenant, queue string, limit int) ([]store.Waiting, error)

// place is where a conversation stands in a view, and Seen how many stood before it or with it when it was shown.
type place struct {
	Priority int    `json:"p"`
	Since    int64  `json:"s"`
	ID       string `json:"i"`
	Seen     int    `json:"n"`
}

func placeOf(w store.Waiting) place {
	return place{Priority: w.Handoff.Priority, Since: w.Since, ID: w.Ref.ID}
}

// mostSeen bounds how far pages lead: who gets there does not read a list any more.
const mostSeen = 10_000

var errAfter = &InvalidError{Detail: "This cursor is none that this list gave out."}

func readPlace(after string) (p place, err error) {
	if after == "" {
		return p, nil
	}
	if json.Unmarshal([]byte(after), &p) != nil || p.ID == "" || p.Seen < 1 || p.Seen > mostSeen {
		return p, errAfter
	}
	return p, nil
}

// listWaiting merges the agent's queues in the order that list gives each of them.
func (q *Queue) listWaiting(ctx context.Context, a Agent, f Filter, list lister, order func(x, y place) int) (rows []Row, next string, err error) {
	after, err := readPlace(f.After)
	if err != nil {
		return nil, "", err
	}
	queues := a.Queues
	switch {
	case f.Queue != "" && !q.Directory.HasQueue(a.Tenant, f.Queue):
		return nil, "", &InvalidError{Detail: "There is no such queue."}
	case f.Queue != "" && !a.Supervisor && !a.serves(f.Queue):
		return nil, "", q.refuse(ctx, a, "list", f.Queue)
	case f.Queue != "":
		queues = []string{f.Queue}
	case a.Supervisor:
		queues = []string{""} // all of them
	}
	var waiting []store.Waiting
	// What has come in ahead of the page since takes places of those that are read: then more of them are, until nothing that
	// was not read can belong to the page.
	for most, enough := after.Seen+f.Limit+1, false; !enough; most *= 2 {
		waiting = nil
		var ends []place // how far those queues are read that go on
		for _, name := range queues {
			w, err := list(ctx, a.Tenant, name, most)
			if err != nil {
				return nil, "", fmt.Errorf("listing a queue: %w", err)
			}
			if len(w) == most {
				ends = append(ends, placeOf(w[most-1]))
			}
			waiting = append(waiting, w...)
		}
		slices.SortFunc(waiting, func(x, y store.Waiting) int { return order(placeOf(x), placeOf(y)) })
		if after.ID != "" {
			waiting = slices.DeleteFunc(waiting, func(w store.Waiting) bool { return order(placeOf(w), after) <= 0 })
		}
		enough = !slices.ContainsFunc(ends, func(end place) bool {
			return len(waiting) <= f.Limit || order(end, placeOf(waiting[f.Limit-1])) < 0
		})
	}
	if len(waiting) > f.Limit {
		last := placeOf(waiting[f.Limit-1])
		if last.Seen = after.Seen + f.Limit; last.Seen <= mostSeen {
			b, err := json.Marshal(last)
			if err != nil {
				return nil, "", fmt.Errorf("encoding a cursor: %w", err)
			}
			next = string(b)
		}
		waiting = waiting[:f.Limit]
	}
	rows = make([]Row, 0, len(waiting))
	for _, w := range waiting {
		row, err := q.row(ctx, w.Ref)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if row.Owner.Kind != w.Owner.Kind || row.Owner.Queue != w.Owner.Queue {
			continue // it moved on since the view was read
		}
		row.Position = w.Position
		rows = append(rows, row)
	}
	return rows, next, nil
}

// listMine lists what the agent holds, the one that has waited longest for an answer first.
func (q *Queue) listMine(ctx context.Context, a Agent, f Filter) (rows []Row, next string, err error) {
	if f.After != "" {
		if _, err := id.Partition(id.Conversation, f.After); err != nil {
			return nil, "", errAfter
		}
	}
	refs, err := q.Store.List(ctx, a.Tenant, store.Path{Kind: store.ByAgent, Value: a.ID}, f.After, f.Limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("listing an agent's conversations: %w", err)
	}
	if len(refs) > f.Limit {
		refs = refs[:f.Limit]
		next = refs[f.Limit-1].ID
	}
	rows = make([]Row, 0, len(refs))
	for _, r := range refs {
		row, err := q.row(ctx, r)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if row.Owner.Agent == a.ID {
			rows = append(rows, row)
		}
	}
	return rows, next, nil
}

func (q *Queue) row(ctx context.Context, r store.Ref) (Row, error) {
	snap, err := q.Store.Load(ctx, r)
	if err != nil {
		return Row{}, err
	}
	row := q.rowOf(snap.State)
	return row, q.lately(ctx, snap, &row)
}

// window is until when a conversation's channel takes a reply, in milliseconds since 1970; 0: there is no limit.
func (q *Queue) window(s *conversation.State) int64 {
	if q.Window == nil || s.HeardAt == 0 || !s.Open() {
		return 0
	}
	if limit := q.Window(s.From.Channel); limit > 0 {
		return s.HeardAt + limit.Milliseconds()
	}
	return 0
}

func (q *Queue) rowOf(s *conversation.State) Row {
	row := Row{
		Conversation: s.ID, Channel: s.From.Channel, Language: s.Memory.Language, Owner: s.Owner, Seq: s.Seq,
		Tags: s.Tags, MustReachHuman: s.MustReachHuman, Returns: s.Returns, SnoozedUntil: instant(s.Snoozed),
		WindowUntil: instant(q.window(s)),
	}
	if s.Profile != nil {
		row.Customer = s.Profile.Name
	}
	if row.Customer == "" && s.Account != nil {
		row.Customer = s.Account.Name
	}
	if h := s.Handoff; h != nil {
		row.Priority, row.Rule, row.Reason, row.Skills, row.Since = h.Priority, h.Rule, h.Reason, h.Skills, instant(h.At)
	}
	return row
}

// How far from the end of a log its last words are looked for: pages of latelyPage events, latelyPages of them. Who has
// written more than that without an answer is owed one since the oldest of them.
const (
	latelyPage  = 24
	latelyPages = 8
)

// lately fills in what the end of the log says: the last words, and since when an answer is owed. What is owed begins
// with the first message that no person has answered, and not before people were asked for.
func (q *Queue) lately(ctx context.Context, snap *store.Snapshot, row *Row) error {
	s := snap.State
	owing := s.Open() && s.Handoff != nil
	end := s.Seq
	for range latelyPages {
		from := end - min(end, latelyPage)
		events, err := q.Store.Log(ctx, snap.Ref, from, int(end-from))
		if err != nil {
			return fmt.Errorf("reading the last words: %w", err)
		}
		for i := range slices.Backward(events) {
			if row.Last == nil {
				row.Last = preview(&events[i])
			}
			if owing && events[i].At < s.Handoff.At {
				row.Owed, owing = instant(s.Handoff.At), false
			}
			switch d := events[i].Data.(type) {
			case *conversation.Received:
				if owing && (d.In.Kind.StartsTurn() || d.In.Kind == message.Human) {
					row.Owed = instant(events[i].At)
				}
			case *conversation.Sent:
				owing = owing && d.By != message.ByAgent
			}
			if !owing && row.Last != nil {
				return nil
			}
		}
		if end = from; end == 0 {
			break
		}
	}
	if owing && end == 0 {
		row.Owed = instant(s.Handoff.At)
	}
	return nil
}

// preview is the beginning of what an event says; nil when it says nothing. A list is about what people and the bot said.
func preview(e *conversation.Event) *Preview {
	p := Preview{Seq: e.Seq, At: time.UnixMilli(e.At).UTC()}
	switch d := e.Data.(type) {
	case *conversation.Received:
		p.By, p.Text = message.ByCustomer, d.In.Text
		if d.In.Kind != message.Text {
			p.Kind = d.In.Kind
		}
	case *conversation.Sent:
		p.By, p.Text = d.By, d.Part.Text
	}
	if p.By == "" || p.By == message.BySystem {
		return nil
	}
	p.Text = shorten(p.Text, previewRunes)
	return &p
}

// shorten cuts a text to n runes, the last one an ellipsis if something was cut.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
