package redis_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/redis/redistest"
)

// TestRepair damages each of the lists that follow from the conversations: a check finds it and leaves it, a repair makes it
// anew, and neither touches what the lists follow from.
func TestRepair(t *testing.T) {
	p := &pair{T: t, primary: redistest.Start(t, redistest.Durable()...)}
	p.o = options(p.primary, time.Now)
	p.ids = p.o.IDs
	var err error
	p.tenant, err = store.NewTenant("acme")
	p.must(err)
	p.s = open(t, p.o)
	works, says, waits, held := p.open("+491"), p.open("+492"), p.open("+493"), p.open("+494")
	p.do(works, customer, conversation.SetTimer{Timer: conversation.Timer{Name: conversation.TimerIdle, At: time.Now().UnixMilli() + 60_000}})
	p.say(says)
	for _, r := range []store.Ref{waits, held} {
		p.do(r, customer, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}})
	}
	p.do(held, ann, conversation.Claim{Name: "Ann"})
	p.sound(p.s)
	for channel, want := range map[string]int{"acme.sms": 1, "acme.other": 0} {
		if n, err := p.s.Backlog(t.Context(), p.tenant, channel); err != nil || n != want {
			t.Errorf("%d conversations of %s have something to send, %v, want %d", n, channel, err, want)
		}
	}

	c, ctx := p.primary.Client(), context.Background()
	all, err := c.Keys(ctx, p.o.Prefix+"*").Result()
	p.must(err)
	part := map[string]string{} // of a conversation: its partition's prefix
	for _, key := range all {
		if conv, ok := strings.CutSuffix(key, ":s"); ok {
			part[conv[strings.LastIndex(conv, "/")+1:]] = key[:strings.Index(key, "}")+1]
		}
	}
	truth := func() map[string]string {
		out := map[string]string{}
		for _, key := range all {
			for _, kind := range []string{":s", ":l", ":a", ":o", ":f"} {
				if strings.HasSuffix(key, kind) {
					v, err := c.Dump(ctx, key).Result()
					p.must(err)
					out[key] = v
				}
			}
		}
		return out
	}
	desk := func(name string) string { return p.o.Prefix + "{q:acme}" + name }
	member := func(r store.Ref) string { return "acme/" + r.ID }
	gone := p.ids.New('c', 7)
	before := truth()
	for name, damage := range map[string]func(){
		"work":            func() { p.must(c.ZRem(ctx, part[works.ID]+"r", member(works)).Err()) },
		"work, never due": func() { p.must(c.ZAdd(ctx, part[works.ID]+"r", goredis.Z{Score: 9e14, Member: member(works)}).Err()) },
		"timers":          func() { p.must(c.Del(ctx, part[works.ID]+"t").Err()) },
		"outboxes":        func() { p.must(c.Del(ctx, part[says.ID]+"o").Err()) },
		"with people":     func() { p.must(c.SRem(ctx, part[waits.ID]+"q", member(waits)).Err()) },
		"access paths":    func() { p.must(c.Del(ctx, part[waits.ID]+"acme/p").Err()) },
		"the list of all": func() { p.must(c.ZRem(ctx, part[waits.ID]+"acme/c", waits.ID).Err()) },
		"marks":           func() { p.must(c.Del(ctx, part[held.ID]+"acme/m").Err()) },
		"the queue":       func() { p.must(c.ZRem(ctx, desk("w:q"), waits.ID).Err()) },
		"the queue, all":  func() { p.must(c.ZAdd(ctx, desk("w"), goredis.Z{Score: 5, Member: held.ID}).Err()) },
		"entries":         func() { p.must(c.HDel(ctx, desk("k"), waits.ID).Err()) },
		"held":            func() { p.must(c.Del(ctx, desk("h:ann")).Err()) },
		"held by another": func() {
			p.must(c.HSet(ctx, desk("h:eve"), held.ID, "1").Err())
			p.must(c.SAdd(ctx, desk("as"), "eve").Err())
		},
		"work of nobody":      func() { p.must(c.ZAdd(ctx, part[held.ID]+"r", goredis.Z{Score: 5, Member: member(held)}).Err()) },
		"with people, nobody": func() { p.must(c.SAdd(ctx, part[works.ID]+"q", member(works)).Err()) },
		"the queue of nobody": func() { p.must(c.ZAdd(ctx, desk("w"), goredis.Z{Score: 5, Member: gone}).Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			damage()
			for range 2 { // it stays
				if rep, err := p.s.Check(ctx); err != nil || rep.Count != 1 || rep.MendedCount != 0 {
					t.Errorf("checking: %+v, %v, want one fault", rep, err)
				}
			}
			rep, err := p.s.Repair(ctx)
			if err != nil || rep.Count != 0 || rep.MendedCount != 1 || len(rep.Mended) != 1 || !strings.HasPrefix(rep.Mended[0], "conversation c_") {
				t.Errorf("repairing: %+v, %v, want one place mended", rep, err)
			}
			for what, again := range map[string]func(context.Context) (store.Report, error){"checking": p.s.Check, "repairing": p.s.Repair} {
				if rep, err := again(ctx); err != nil || rep.Count+rep.MendedCount != 0 {
					t.Errorf("%s after it: %+v, %v", what, rep, err)
				}
			}
		})
	}
	if after := truth(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("a repair has touched a state, a log, a chain or an outbox")
	}
	if w, err := p.s.Waiting(ctx, p.tenant, "q", 10); err != nil || len(w) != 1 || w[0].Ref != waits {
		t.Errorf("waiting: %+v, %v", w, err)
	}
	p.do(waits, ann, conversation.Claim{Name: "Ann"})
	p.sound(p.s)
}
