package embedded

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// queues is the view of what waits for people and of what they hold. The owners of the conversations are the truth; all
// of this is built from them.
type queues struct {
	now func() time.Time

	mu    sync.Mutex
	boot  string // names this life of the view in the feed's positions
	desks map[string]*desk
}

// desk is one tenant's part.
type desk struct {
	waiting *line // queued, in the order in which they should be taken
	aside   *line // captured, the oldest first
	held    map[string]map[string]bool
	holder  map[string]string // conversation -> agent
	reserve map[store.Token]reservation
	present map[string]store.Presence
	feed    feed
}

// reservation is a place that an agent keeps for a conversation while the claim is being committed.
type reservation struct {
	agent        string
	conversation string
	until        int64
}

// reservedFor bounds a reservation whose claim was neither committed nor cancelled: its caller is gone.
const reservedFor = time.Minute

func newQueues(boot string, now func() time.Time) *queues {
	return &queues{now: now, boot: boot, desks: map[string]*desk{}}
}

// restart empties the view. Who is present stays so.
func (q *queues) restart(boot string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.boot = boot
	old := q.desks
	q.desks = map[string]*desk{}
	for name, d := range old {
		q.desk(name).present = d.present
	}
}

// desk returns a tenant's part. The caller holds q.mu.
func (q *queues) desk(tenant string) *desk {
	d := q.desks[tenant]
	if d == nil {
		d = &desk{
			waiting: newLine(message.OwnerQueued, inOrder),
			aside:   newLine(message.OwnerCaptured, byAge),
			held:    map[string]map[string]bool{},
			holder:  map[string]string{},
			reserve: map[store.Token]reservation{},
			present: map[string]store.Presence{},
		}
		q.desks[tenant] = d
	}
	return d
}

// restore puts a conversation into an empty view; settle brings the view into order after the last.
func (q *queues) restore(r store.Ref, s *conversation.State) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.desk(r.Tenant.Name())
	d.waiting.restore(r, s)
	d.aside.restore(r, s)
	if s.Owner.Kind == message.OwnerAgent {
		d.hold(s.Owner.Agent, r.ID)
	}
}

func (q *queues) settle() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.desks {
		d.waiting.sort()
		d.aside.sort()
	}
}

// show brings the view up to a state. It is called in the order of the conversation's commits.
func (q *queues) show(r store.Ref, was, now *conversation.State) {
	if !now.Open() && (was == nil || !was.Open()) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.desk(r.Tenant.Name())
	queue := now.Owner.Queue
	if queue == "" && was != nil {
		queue = was.Owner.Queue
	}
	d.feed.add(store.FeedItem{Conversation: r.ID, Owner: now.Owner, Queue: queue, Seq: now.Seq})

	d.waiting.show(r, now)
	d.aside.show(r, now)
	if agent := d.holder[r.ID]; agent != "" && (now.Owner.Kind != message.OwnerAgent || now.Owner.Agent != agent) {
		d.drop(agent, r.ID)
	}
	if now.Owner.Kind == message.OwnerAgent {
		d.hold(now.Owner.Agent, r.ID)
		for op, v := range d.reserve {
			if v.agent == now.Owner.Agent && v.conversation == r.ID {
				delete(d.reserve, op)
			}
		}
	}
}

func (d *desk) hold(agent, conv string) {
	if d.held[agent] == nil {
		d.held[agent] = map[string]bool{}
	}
	d.held[agent][conv] = true
	d.holder[conv] = agent
}

func (d *desk) drop(agent, conv string) {
	delete(d.holder, conv)
	delete(d.held[agent], conv)
	if len(d.held[agent]) == 0 {
		delete(d.held, agent)
	}
}

// load counts the conversations that an agent holds or has a place kept for.
func (d *desk) load(agent string, now int64) int {
	n := len(d.held[agent])
	seen := map[string]bool{}
	for op, v := range d.reserve {
		switch {
		case v.until <= now:
			delete(d.reserve, op)
		case v.agent == agent && !d.held[agent][v.conversation] && !seen[v.conversation]:
			seen[v.conversation] = true
			n++
		}
	}
	return n
}

// view runs f on a tenant's part; a tenant without one has an empty one.
func (s *Store) view(ctx context.Context, t store.Tenant, f func(q *queues, d *desk) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.life.RUnlock()
	q := s.queues
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.desks[t.Name()]
	if d == nil {
		d = (&queues{desks: map[string]*desk{}}).desk("")
	}
	return f(q, d)
}

// Waiting implements store.Queues.
func (s *Store) Waiting(ctx context.Context, t store.Tenant, queue string, limit int) (out []store.Waiting, err error) {
	err = s.view(ctx, t, func(_ *queues, d *desk) error {
		out = d.waiting.list(queue, limit)
		return nil
	})
	return out, err
}

// Captured implements store.Queues.
func (s *Store) Captured(ctx context.Context, t store.Tenant, queue string, limit int) (out []store.Waiting, err error) {
	err = s.view(ctx, t, func(_ *queues, d *desk) error {
		out = d.aside.list(queue, limit)
		for i := range out {
			out[i].Position = 0 // they stand in no order of being taken
		}
		return nil
	})
	return out, err
}

// Position implements store.Queues.
func (s *Store) Position(ctx context.Context, r store.Ref) (n int, err error) {
	err = s.view(ctx, r.Tenant, func(_ *queues, d *desk) error {
		n = d.waiting.position(r.ID)
		return nil
	})
	return n, err
}

// Depth implements store.Queues.
func (s *Store) Depth(ctx context.Context, t store.Tenant) (map[string]int, error) {
	depth := map[string]int{}
	err := s.view(ctx, t, func(_ *queues, d *desk) error {
		for queue, l := range d.waiting.byQueue {
			depth[queue] = len(l)
		}
		return nil
	})
	return depth, err
}

// SetPresence implements store.Queues. Presence is not durable: after a start agents are present from their next word on.
func (s *Store) SetPresence(ctx context.Context, t store.Tenant, p store.Presence) error {
	return s.view(ctx, t, func(q *queues, _ *desk) error {
		d := q.desk(t.Name())
		if p.Until <= q.now().UnixMilli() {
			delete(d.present, p.Agent)
			return nil
		}
		p.Queues = slices.Clone(p.Queues)
		d.present[p.Agent] = p
		return nil
	})
}

// Present implements store.Queues.
func (s *Store) Present(ctx context.Context, t store.Tenant) (out []store.Presence, err error) {
	err = s.view(ctx, t, func(q *queues, d *desk) error {
		now := q.now().UnixMilli()
		for agent, p := range d.present {
			if p.Until <= now {
				delete(d.present, agent)
				continue
			}
			p.Queues = slices.Clone(p.Queues)
			p.Load = d.load(agent, now)
			out = append(out, p)
		}
		slices.SortFunc(out, func(a, b store.Presence) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Agent, b.Agent))
		})
		return nil
	})
	return out, err
}

// Reserve implements store.Queues.
func (s *Store) Reserve(ctx context.Context, t store.Tenant, agent, conv string, op store.Token) error {
	return s.view(ctx, t, func(q *queues, d *desk) error {
		now := q.now().UnixMilli()
		p, ok := d.present[agent]
		if !ok || p.Until <= now {
			return store.ErrCapacity
		}
		load := d.load(agent, now)
		if v, ok := d.reserve[op]; ok {
			if v.agent != agent || v.conversation != conv {
				return store.ErrStale
			}
			return nil
		}
		if load >= p.Capacity && !d.held[agent][conv] && !d.reserved(agent, conv) {
			return store.ErrCapacity
		}
		d.reserve[op] = reservation{agent: agent, conversation: conv, until: now + reservedFor.Milliseconds()}
		return nil
	})
}

func (d *desk) reserved(agent, conv string) bool {
	for _, v := range d.reserve {
		if v.agent == agent && v.conversation == conv {
			return true
		}
	}
	return false
}

// Cancel implements store.Queues.
func (s *Store) Cancel(ctx context.Context, t store.Tenant, op store.Token) error {
	return s.view(ctx, t, func(_ *queues, d *desk) error {
		delete(d.reserve, op)
		return nil
	})
}
