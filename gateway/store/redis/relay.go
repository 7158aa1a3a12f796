package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// viewRow is what a step does to the queue view of its tenant. It is written with the step, in the conversation's
// partition, and applied to the view, which lies in another slot, behind a watermark: rows of one partition are applied in
// their order, each once, whichever nodes do it and however often. Names of queues and agents stand in the clear, all else
// is sealed under the tenant's key.
type viewRow struct {
	Tenant       string `json:"t"`
	Conversation string `json:"c"`
	// From and To are where the conversation stood and stands.
	From place `json:"from,omitzero"`
	To   place `json:"to,omitzero"`
	// Entry is what the view says of it, nil when it leaves; Feed what the feed says.
	Entry []byte `json:"entry,omitempty"`
	Feed  []byte `json:"feed"`
}

// place is where a conversation stands in a view.
type place struct {
	Line  string `json:"line,omitempty"` // lineWaiting or lineAside, empty for none
	Queue string `json:"queue,omitempty"`
	Score int64  `json:"score,omitempty"`
	Agent string `json:"agent,omitempty"` // who holds it
}

const (
	lineWaiting = "w"
	lineAside   = "c"
)

// mostUrgent is the highest priority that has a place of its own; scoreBits is the room for the time since when somebody
// waits. Both together stay below 2^53, up to which a score is exact.
const (
	mostUrgent = 9
	scoreBits  = 44
)

// placeOf is the place that a state takes.
func placeOf(s *conversation.State) (p place) {
	switch s.Owner.Kind {
	case message.OwnerAgent:
		p.Agent = s.Owner.Agent
	case message.OwnerQueued:
		if s.Handoff != nil {
			urgency := int64(mostUrgent - min(mostUrgent, max(0, s.Handoff.Priority)))
			p.Line, p.Queue, p.Score = lineWaiting, s.Owner.Queue, urgency<<scoreBits+s.Handoff.At
		}
	case message.OwnerCaptured:
		if s.Handoff != nil {
			p.Line, p.Queue, p.Score = lineAside, s.Owner.Queue, s.Handoff.At
		}
	}
	return p
}

// viewEntry is what a view keeps of a conversation that waits or is set aside.
type viewEntry struct {
	Owner   conversation.Owner   `json:"owner"`
	Handoff conversation.Handoff `json:"handoff"`
	Since   int64                `json:"since"`
}

// view writes the relay row of a step that changes the queue view.
func (w *write) view() error {
	now, r := w.st.State, w.st.Ref
	var was conversation.State
	if w.was != nil {
		was = *w.was.state
	}
	if !now.Open() && !was.Open() {
		return nil
	}
	w.viewed = true
	row := viewRow{Tenant: r.Tenant.Name(), Conversation: r.ID, From: placeOf(&was), To: placeOf(now)}
	var err error
	if row.To.Line != "" {
		entry := viewEntry{Owner: now.Owner, Handoff: now.Handoff.Handoff, Since: now.Handoff.At}
		if row.Entry, err = sealJSON(w.t, entryAAD(r.ID), entry); err != nil {
			return err
		}
	}
	item := store.FeedItem{Conversation: r.ID, Owner: now.Owner, Queue: now.Owner.Queue, Seq: now.Seq}
	if item.Queue == "" {
		item.Queue = was.Owner.Queue
	}
	if row.Feed, err = sealJSON(w.t, []byte("feed"), item); err != nil {
		return err
	}
	b, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encoding relay row: %w", err)
	}
	w.txn.xadd(w.s.keys.part(w.p, "x"), "*", b)
	return nil
}

func entryAAD(conv string) []byte { return []byte("view " + conv) }

// relayedAtOnce is how many rows are read and applied at a time.
const relayedAtOnce = 128

// relay applies the relay rows of a partition and takes them away.
func (s *Store) relay(ctx context.Context, part int) error {
	key := s.keys.part(part, "x")
	for {
		var cmd *goredis.XMessageSliceCmd
		// With WAIT behind it: only what the replicas have leaves the partition.
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { cmd = p.XRangeN(ctx, key, "-", "+", relayedAtOnce) }); err != nil {
			return err
		}
		rows := cmd.Val()
		if len(rows) == 0 {
			return nil
		}
		if err := s.applyRows(ctx, part, rows); err != nil {
			return err
		}
		// All up to the last are applied. A repeat of this does no harm: what comes later has higher ids.
		last := rows[len(rows)-1].ID
		if err := s.db.run(ctx, passing, func(p goredis.Pipeliner) { p.Do(ctx, "XTRIM", key, "MINID", nextID(last)) }); err != nil {
			return err
		}
		if len(rows) < relayedAtOnce {
			return nil
		}
	}
}

// nextID is the first id of a stream behind another.
func nextID(id string) string {
	ms, n := splitID(id)
	return strconv.FormatUint(ms, 10) + "-" + strconv.FormatUint(n+1, 10)
}

func splitID(id string) (ms, n uint64) {
	for i := range len(id) {
		if id[i] == '-' {
			ms, _ = strconv.ParseUint(id[:i], 10, 64)
			n, _ = strconv.ParseUint(id[i+1:], 10, 64)
		}
	}
	return ms, n
}

// applyRows applies rows, those of each tenant in their order.
func (s *Store) applyRows(ctx context.Context, part int, rows []goredis.XMessage) error {
	byTenant := map[store.Tenant]*viewChange{}
	for _, m := range rows {
		raw, _ := m.Values["e"].(string)
		var row viewRow
		err := json.Unmarshal([]byte(raw), &row)
		t, bad := store.NewTenant(row.Tenant)
		if err != nil || bad != nil {
			s.o.Log.Error("a relay row is damaged; the view may differ from the conversations", "partition", part)
			continue
		}
		c := byTenant[t]
		if c == nil {
			c = newViewChange(s.keys, t, part, s.o.IDs.Token())
			byTenant[t] = c
		}
		c.add(m.ID, row)
	}
	for _, c := range byTenant {
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { // the watermark makes it harmless to repeat
			p.EvalSha(ctx, s.db.scripts.apply.Hash(), c.keys, c.args...)
		}); err != nil {
			return err
		}
	}
	return nil
}

// viewChange is a call of the apply script.
type viewChange struct {
	names *keys
	t     store.Tenant
	keys  []string
	byKey map[string]int
	args  []any
}

// The fixed keys of the apply script, by their numbers.
const (
	allWaiting = 6
	allAside   = 7
)

func newViewChange(k *keys, t store.Tenant, part int, life string) *viewChange {
	c := &viewChange{names: k, t: t, byKey: map[string]int{}, args: []any{part, life}}
	for _, name := range []string{deskFields, deskEntries, deskFeed, deskReserved, deskQueues, lineWaiting, lineAside, deskAgents} {
		c.keys = append(c.keys, k.desk(t, name))
	}
	return c
}

func (c *viewChange) key(name string) int {
	k := c.names.desk(c.t, name)
	if n, ok := c.byKey[k]; ok {
		return n
	}
	c.keys = append(c.keys, k)
	c.byKey[k] = len(c.keys)
	return len(c.keys)
}

func (c *viewChange) add(id string, row viewRow) {
	lists := func(p place) (all, queue int) {
		switch p.Line {
		case lineWaiting:
			return allWaiting, c.key(queueLine(p.Line, p.Queue))
		case lineAside:
			return allAside, c.key(queueLine(p.Line, p.Queue))
		}
		return 0, 0
	}
	agents := func(name string) int {
		if name == "" {
			return 0
		}
		return c.key(agentHolds(name))
	}
	outAll, outQueue := lists(row.From)
	inAll, inQueue := lists(row.To)
	leaves, enters := agents(row.From.Agent), agents(row.To.Agent)
	c.args = append(c.args, id, row.Conversation, outAll, outQueue, inAll, inQueue, row.To.Score, row.To.Queue,
		fmt.Sprint(leaves, " ", enters), row.To.Agent, row.Entry, row.Feed)
}
