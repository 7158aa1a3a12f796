package outbox

import (
	"container/heap"
	"time"

	"turnout/gateway/fair"
)

// looks are the tenants that have to be looked at again at some instant, the first to come first.
type looks []*tenant

func (h looks) Len() int           { return len(h) }
func (h looks) Less(i, j int) bool { return h[i].look.Before(h[j].look) }

func (h looks) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *looks) Push(x any) {
	t := x.(*tenant)
	t.place = len(*h)
	*h = append(*h, t)
}

func (h *looks) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.place = -1
	return t
}

// at sets when a tenant has to be looked at; the zero time: not at any.
func (h *looks) at(t *tenant, when time.Time) {
	t.look = when
	switch {
	case t.place >= 0 && when.IsZero():
		heap.Remove(h, t.place)
	case t.place >= 0:
		heap.Fix(h, t.place)
	case !when.IsZero():
		heap.Push(h, t)
	}
}

// due takes out a tenant whose time has come, nil when there is none.
func (h *looks) due(now time.Time) *tenant {
	if len(*h) == 0 || (*h)[0].look.After(now) {
		return nil
	}
	return heap.Pop(h).(*tenant)
}

// next is when the first has to be looked at; zero when there is none.
func (h looks) next() time.Time {
	if len(h) == 0 {
		return time.Time{}
	}
	return h[0].look
}

// rest makes a tenant one that stands nowhere.
func (t *tenant) rest() {
	t.flow, t.look, t.place = fair.NewFlow(t, t.share.Weight), time.Time{}, -1
}
