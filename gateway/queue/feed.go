package queue

import (
	"context"

	"turnout/adapters"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// Change says that a conversation changed in the queue view of an agent. Gone is set when it is not, or no longer, one
// that the agent sees; then nothing else is.
type Change struct {
	Conversation string              `json:"conversation"`
	Owner        *conversation.Owner `json:"owner,omitempty"`
	Queue        string              `json:"queue,omitempty"`
	Seq          uint64              `json:"seq,omitempty"`
	Gone         bool                `json:"gone,omitempty"`
}

// Changes returns what changed in the queues of the agent's tenant after a position, and the position after it. The empty
// position is the present. store.ErrGap: start over from List.
func (q *Queue) Changes(ctx context.Context, a Agent, after string, limit int) ([]Change, string, error) {
	items, next, err := q.Store.Feed(ctx, a.Tenant, after, limit)
	if err != nil {
		return nil, "", err
	}
	out := make([]Change, 0, len(items))
	for _, it := range items {
		c := Change{Conversation: it.Conversation, Gone: true}
		if a.Supervisor || it.Owner.Agent == a.ID || a.serves(it.Queue) || a.serves(it.Owner.Queue) {
			owner := it.Owner
			c = Change{Conversation: it.Conversation, Owner: &owner, Queue: it.Queue, Seq: it.Seq}
		}
		out = append(out, c)
	}
	return out, next, nil
}

// WatchChanges wakes a reader when the tenant's queues may have changed, until stop is called. Wake-ups may be merged and
// may be lost: who follows the queues also looks by itself once in a while.
func (q *Queue) WatchChanges(t store.Tenant, wake func()) (stop func()) {
	f := &feed{wake}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.feeds[t] == nil {
		q.feeds[t] = map[*feed]struct{}{}
	}
	q.feeds[t][f] = struct{}{}
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.feeds[t], f)
		if len(q.feeds[t]) == 0 {
			delete(q.feeds, t)
		}
	}
}

// feed is somebody who follows a tenant's queues.
type feed struct{ wake func() }

// hint is called by the store after each commit. It does not block.
func (q *Queue) hint(h store.Hint) {
	if h.State == nil || !h.State.Open() && !moved(h.Events) && !(h.Remote && h.State.HumanInvolved) {
		return // the bot's business
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for f := range q.feeds[h.Ref.Tenant] {
		f.wake()
	}
}

func moved(events []conversation.Event) bool {
	for i := range events {
		if events[i].Type == conversation.OwnerChanged {
			return true
		}
	}
	return false
}

// Follow tells a reader when a conversation grows, and what is observed of its customer: typing, how far they have read.
// Reading it is Events, which looks at what the agent may see. The caller closes the watch.
func (q *Queue) Follow(a Agent, conv string, wake func()) adapters.Watch {
	return q.Pipeline.Follow(store.Ref{Tenant: a.Tenant, ID: conv}, wake)
}
