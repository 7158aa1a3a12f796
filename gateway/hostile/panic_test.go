package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
)

// fragile is a channel and a bot that panic with what they were given.
type fragile struct {
	adapters.Deps
	panicked chan struct{} // one for each panic of the bot
}

func (f *fragile) Close() error { return nil }

func (f *fragile) Routes() []adapters.Route {
	return []adapters.Route{{Method: "POST", Path: "/v1/web/" + f.Key, Handler: func(ctx *fasthttp.RequestCtx) {
		panic(string(ctx.PostBody()))
	}}}
}

func (f *fragile) Reply(_ context.Context, t adapters.Turn) (adapters.Answer, error) {
	f.panicked <- struct{}{}
	panic(fmt.Sprint("the bot cannot bear ", t.Messages[0].Text, " of ", t.From.Address))
}

const fragileParts = `
{kind: bot, tenant: acme, name: brittle, spec: {adapter: fragile, concurrency: 1, deadline: 5s}}
---
{kind: channel, tenant: acme, name: glass, spec: {adapter: fragile}}
---
{kind: channel, tenant: acme, name: chat, spec: {adapter: web, bot: brittle, config: {allow_no_origin: true}}}
`

// TestPanics: an adapter that panics ends neither the process nor the conversation, and what it panicked with is not
// logged (TestMain searches).
func TestPanics(t *testing.T) {
	const turns = 3
	f := &fragile{panicked: make(chan struct{}, 100)}
	w := start(t, setup{extra: fragileParts, registry: func(r *adapters.Registry) {
		r.AddBot("fragile", func(adapters.Spec, adapters.Deps) (adapters.Bot, error) { return f, nil })
		r.AddChannel("fragile", func(_ adapters.Spec, d adapters.Deps) (adapters.Channel, error) {
			return &fragile{Deps: d}, nil
		})
	}})
	for range 3 {
		a := w.call(t, "POST", "/v1/web/acme.glass", "", word())
		refused(t, a, 500, "internal")
	}
	w.healthy(t, "acme")
	// The bot has one place. It is given back each time, or the second customer would wait for ever; and the customer whose
	// bot is broken goes to people.
	for range turns {
		v := &visitor{w: w, base: "/v1/web/acme.chat"}
		a := w.call(t, "POST", v.base+"/session", "", "")
		var s struct{ Token, Visitor string }
		if err := json.Unmarshal(a.body, &s); err != nil || a.status != 200 {
			t.Fatal(a)
		}
		v.token, v.addr = watch.keep("a visitor's token", s.Token), watch.keep("a visitor's address", s.Visitor)
		if o := v.say(t, word()); o.Owner.Kind != "queued" {
			t.Errorf("the conversation is with %q, want people", o.Owner.Kind)
		}
	}
	if n := len(f.panicked); n < turns {
		t.Errorf("the bot was asked %d times, want %d", n, turns)
	}
	w.healthy(t, "other")
	if !watch.has([]byte("recovered from a panic")) {
		t.Error("no panic was logged")
	}
}

// has reports whether the log that is kept holds some bytes.
func (c *canaries) has(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.log.Bytes(), b)
}
