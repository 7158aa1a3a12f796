package embedded

import (
	"context"
	"strconv"
	"strings"

	"turnout/gateway/store"
)

// feedKept is how many changes of a tenant's queues can be resumed over.
const feedKept = 4096

// feed is a ring of the last changes. Change n (1, 2, 3 …) stands at n % feedKept.
type feed struct {
	items []store.FeedItem
	last  uint64
}

func (f *feed) add(it store.FeedItem) {
	f.last++
	if len(f.items) < feedKept {
		// Until the ring is full it grows; place 0 is filled last.
		if len(f.items) == 0 {
			f.items = append(f.items, store.FeedItem{})
		}
		if f.last < feedKept {
			f.items = append(f.items, it)
			return
		}
	}
	f.items[f.last%feedKept] = it
}

// Feed implements store.Queues. A position names the life of the view that gave it: after a start every one of them is a
// gap, as the changes of the life before are not kept.
func (s *Store) Feed(ctx context.Context, t store.Tenant, after string, limit int) (items []store.FeedItem, next string, err error) {
	err = s.view(ctx, t, func(q *queues, d *desk) error {
		f := &d.feed
		position := func(n uint64) string { return q.boot + "." + strconv.FormatUint(n, 10) }
		if after == "" {
			next = position(f.last)
			return nil
		}
		boot, number, _ := strings.Cut(after, ".")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil || boot != q.boot || n > f.last || f.last-n > feedKept {
			return store.ErrGap
		}
		for n < f.last && len(items) < limit {
			n++
			items = append(items, f.items[n%feedKept])
		}
		next = position(n)
		return nil
	})
	return items, next, err
}
