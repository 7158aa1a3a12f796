package embedded

import (
	"cmp"
	"slices"
	"strings"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// waiting is a conversation that stands in a line.
type waiting struct {
	ref      store.Ref
	owner    conversation.Owner
	handoff  conversation.Handoff
	since    int64
	priority int
}

// inOrder: the most urgent first, then who has waited longest.
func inOrder(a, b *waiting) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), byAge(a, b))
}

// byAge: who has waited longest first.
func byAge(a, b *waiting) int {
	return cmp.Or(cmp.Compare(a.since, b.since), strings.Compare(a.ref.ID, b.ref.ID))
}

// line keeps the conversations of a tenant that wait in one manner, in the order of all and in that of each queue.
type line struct {
	kind    message.OwnerKind // the owner of those that stand in it
	order   func(a, b *waiting) int
	byID    map[string]*waiting
	all     []*waiting
	byQueue map[string][]*waiting // never an empty list
}

func newLine(kind message.OwnerKind, order func(a, b *waiting) int) *line {
	return &line{kind: kind, order: order, byID: map[string]*waiting{}, byQueue: map[string][]*waiting{}}
}

// place returns the place that a state takes in the line, nil for none.
func (l *line) place(r store.Ref, s *conversation.State) *waiting {
	if s.Owner.Kind != l.kind || s.Handoff == nil {
		return nil
	}
	return &waiting{ref: r, owner: s.Owner, handoff: s.Handoff.Handoff, since: s.Handoff.At, priority: s.Handoff.Priority}
}

// restore appends a conversation out of order; sort brings the line into order after the last.
func (l *line) restore(r store.Ref, s *conversation.State) {
	if w := l.place(r, s); w != nil {
		l.byID[r.ID] = w
		l.all = append(l.all, w)
		l.byQueue[w.owner.Queue] = append(l.byQueue[w.owner.Queue], w)
	}
}

func (l *line) sort() {
	slices.SortFunc(l.all, l.order)
	for _, q := range l.byQueue {
		slices.SortFunc(q, l.order)
	}
}

// show brings a conversation to the place that its state takes.
func (l *line) show(r store.Ref, now *conversation.State) {
	if old := l.byID[r.ID]; old != nil {
		l.all = l.cut(l.all, old)
		if q := l.cut(l.byQueue[old.owner.Queue], old); len(q) > 0 {
			l.byQueue[old.owner.Queue] = q
		} else {
			delete(l.byQueue, old.owner.Queue)
		}
		delete(l.byID, r.ID)
	}
	if w := l.place(r, now); w != nil {
		l.byID[r.ID] = w
		l.all = l.insert(l.all, w)
		l.byQueue[w.owner.Queue] = l.insert(l.byQueue[w.owner.Queue], w)
	}
}

func (l *line) insert(list []*waiting, w *waiting) []*waiting {
	i, _ := slices.BinarySearchFunc(list, w, l.order)
	return slices.Insert(list, i, w)
}

func (l *line) cut(list []*waiting, w *waiting) []*waiting {
	if i, ok := slices.BinarySearchFunc(list, w, l.order); ok {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// position is the place of a conversation in its queue, 1 for the first; 0 when it is not in the line.
func (l *line) position(conv string) int {
	w := l.byID[conv]
	if w == nil {
		return 0
	}
	i, _ := slices.BinarySearchFunc(l.byQueue[w.owner.Queue], w, l.order)
	return i + 1
}

// list returns the first of a queue, or of all queues for the empty name.
func (l *line) list(queue string, limit int) []store.Waiting {
	from := l.all
	if queue != "" {
		from = l.byQueue[queue]
	}
	from = from[:min(max(limit, 0), len(from))]
	out := make([]store.Waiting, len(from))
	for i, w := range from {
		out[i] = store.Waiting{Ref: w.ref, Owner: w.owner, Handoff: w.handoff, Since: w.since, Position: i + 1}
		if queue == "" {
			out[i].Position = l.position(w.ref.ID)
		}
	}
	return out
}
