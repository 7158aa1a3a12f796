package api

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
)

// TestQueueByPages: every conversation is on one page, in the order of the view, whatever is taken in between.
func TestQueueByPages(t *testing.T) {
	b := start(t)
	var want []string
	for i := range 7 {
		ref := b.Queued(t, acme, "support", fmt.Sprint("help ", i))
		b.Clock.Add(1000)
		want = append(want, ref.ID)
	}
	b.Queued(t, other, "support", "theirs")
	b.present("acme/ann")
	read := func(view string, between func()) (got []string) {
		t.Helper()
		for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
			var page queueList
			b.want(200, "", b.as("acme/ann", "GET", "/v1/agent/queue?limit=2&view="+view+"&cursor="+url.QueryEscape(cursor), "")).into(t, &page)
			if len(page.Items) > 2 || pages > 10 {
				t.Fatalf("page %d has %d", pages, len(page.Items))
			}
			for _, r := range page.Items {
				got = append(got, r.Conversation)
			}
			cursor = page.Cursor
			if pages == 0 && between != nil {
				between()
			}
		}
		return got
	}
	all := read("queue", nil)
	slices.Sort(all)
	slices.Sort(want)
	if !slices.Equal(all, want) {
		t.Fatalf("%d by pages, want %d", len(all), len(want))
	}
	order := read("queue", nil)
	// What is taken from the first page shifts nothing out of the others.
	got := read("queue", func() {
		for _, id := range order[:2] {
			b.want(200, "", b.as("acme/ann", "POST", "/v1/agent/conversations/"+id+"/claim", ""))
		}
	})
	if !slices.Equal(got, order) {
		t.Errorf("with two taken in between: %v, want %v", got, order)
	}
	for _, id := range order[2:5] {
		b.want(200, "", b.as("acme/ann", "POST", "/v1/agent/conversations/"+id+"/claim", ""))
	}
	mine := read("mine", nil)
	slices.Sort(mine)
	taken := slices.Sorted(slices.Values(order[:5]))
	if !slices.Equal(mine, taken) {
		t.Errorf("mine by pages: %v, want %v", mine, taken)
	}
	for _, view := range []string{"queue", "mine", "captured"} {
		for _, cursor := range []string{"!", "bm9uc2Vuc2U", "e30"} {
			b.want(400, "bad_request", b.as("acme/ann", "GET", "/v1/agent/queue?view="+view+"&cursor="+cursor, ""))
		}
	}
}
