package redis

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// words are what the conversations of the measurement are made of.
var words = strings.Fields(`the a my your order number parcel invoice refund payment card account delivery address street door
neighbour driver yesterday today tomorrow morning evening please thank you sorry cannot could would have has been is was will not
never always already still when where why how much many two three four five days weeks hours size colour blue black white shoe
shirt jacket exchange return label printer email phone call back office help question answer problem broken missing wrong late
early tracking status shipped arrived waiting cancelled confirmed changed updated password login page app button error again`)

func sentence(r *rand.Rand, n int) string {
	b := make([]string, n)
	for i := range b {
		b[i] = words[r.IntN(len(words))]
	}
	return strings.Join(b, " ") + "."
}

// told commits a conversation of some turns with the bot and a handoff to a person who resolves it.
func (n *nodes) told(s *Store, r *rand.Rand, visitor string) store.Ref {
	n.Helper()
	st := n.opening(visitor)
	n.commit(s, st)
	from := message.Address{Channel: "acme.web", Address: visitor}
	do := func(by conversation.Actor, cmds ...conversation.Command) {
		n.commit(s, n.step(st.Ref, n.load(s, st.Ref), by, cmds...))
	}
	bot, system := conversation.Actor{Kind: conversation.Bot}, conversation.Actor{Kind: conversation.System}
	for i := range 6 {
		turn := n.ids.New(id.Turn, 0)
		do(system, conversation.StartTurn{ID: turn})
		do(bot, conversation.AnswerTurn{
			Turn: turn, Decision: conversation.Decision{Kind: conversation.DecisionPass},
			Parts: []conversation.Sent{{ID: n.ids.New(id.Message, 0), Turn: turn, Part: message.Part{Text: sentence(r, 30)}}},
		})
		in := n.step(st.Ref, n.load(s, st.Ref), customer, conversation.Receive{
			ID: n.ids.New(id.Message, 0), In: message.Inbound{ID: fmt.Sprint("m", i+2), From: from, Kind: message.Text, Text: sentence(r, 12)},
		})
		in.Dedupe = []store.Dedupe{{From: from, ID: fmt.Sprint("m", i+2), Seq: in.State.Seq}}
		n.commit(s, in)
	}
	do(customer, conversation.Decide{Decision: conversation.Decision{Kind: conversation.DecisionHandoff, Phase: conversation.Inbound, Rule: "person"}},
		conversation.Divert{Handoff: conversation.Handoff{Rule: "person", Queue: "support", Priority: 5}})
	do(ann, conversation.Claim{Name: "Ann"})
	for range 2 {
		do(ann, conversation.Reply{ID: n.ids.New(id.Message, 0), Part: message.Part{Text: sentence(r, 25)}})
	}
	do(ann, conversation.AddNote{ID: n.ids.New(id.Message, 0), Text: conversation.NoteText(sentence(r, 10))}, conversation.Resolve{})
	return st.Ref
}

// memory is what a server's data take.
func (n *nodes) memory() (used, keys int64) {
	n.Helper()
	c := n.server.Client()
	n.must(c.Do(n.Context(), "MEMORY", "PURGE").Err())
	info, err := c.Info(n.Context(), "memory").Result()
	n.must(err)
	used, err = strconv.ParseInt(infoFields(info)["used_memory_dataset"], 10, 64)
	n.must(err)
	keys, err = c.DBSize(n.Context()).Result()
	n.must(err)
	return used, keys
}

// TestArchiveMemory measures what closed conversations take in the server's memory before and after they are archived, and
// in files.
func TestArchiveMemory(t *testing.T) {
	count := 100
	if os.Getenv("TURNOUT_SCALE") == "full" {
		count = 2000
	}
	n := newNodes(t)
	dir := t.TempDir()
	s := n.sharing(vfs.Default, dir, nil, nil)
	n.told(s, rand.New(rand.NewPCG(0, 0)), "first") // what there is once
	empty, _ := n.memory()
	refs := make([]store.Ref, count)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < count; i += 8 {
				refs[i] = n.told(s, rand.New(rand.NewPCG(1, uint64(i))), fmt.Sprint("visitor-", i))
			}
		})
	}
	wg.Wait()
	before, keysBefore := n.memory()
	var sum store.Archived
	var mu sync.Mutex
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < count; i += 8 {
				done, err := s.Archive(t.Context(), refs[i])
				if err != nil {
					t.Errorf("archiving: %v", err)
				}
				mu.Lock()
				sum.Events, sum.Entries = sum.Events+done.Events, sum.Entries+done.Entries
				sum.Before, sum.After = sum.Before+done.Before, sum.After+done.After
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	after, keysAfter := n.memory()
	per := func(bytes int64) int64 { return bytes / int64(count) }
	t.Logf("%d closed conversations of %d events and %d audit entries each", count, sum.Events/count, sum.Entries/count)
	t.Logf("memory of the server: %d B each before, %d B after (%.0f %% less); keys: %d, %d", per(before-empty), per(after-empty),
		100*(1-float64(after-empty)/float64(before-empty)), keysBefore, keysAfter)
	t.Logf("rows: %d B each, files: %d B (%.0f %%), %d files", per(sum.Before), per(sum.After), 100*float64(sum.After)/float64(sum.Before), files(t, vfs.Default, dir))
	if after >= before {
		t.Errorf("the server's memory went from %d to %d bytes", before, after)
	}
	n.whole(s, refs[0])
}
