package gateway_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/valyala/fasthttp"

	"turnout/adapters/builtin"
	"turnout/gateway"
	"turnout/gateway/config"
)

// BenchmarkTurn is a whole durable turn over HTTP in one process, client and bot included: for profiles. The honest
// figures, a process each, are those of make bench.
func BenchmarkTurn(b *testing.B) {
	bot := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.SetContentType("application/json")
		ctx.SetBodyString(`{"reply":"The parcel left our house this morning and will be with you tomorrow before noon."}`)
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go bot.Serve(ln)
	defer bot.Shutdown()

	g := startBench(b, ln.Addr().String())
	base := "http://" + g.Addr() + "/v1/web/acme.web"
	client := &fasthttp.Client{MaxConnsPerHost: 1024}
	post := func(url, token, body string) []byte {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		defer fasthttp.ReleaseRequest(req)
		defer fasthttp.ReleaseResponse(resp)
		req.SetRequestURI(url)
		req.Header.SetMethod("POST")
		req.Header.SetContentType("application/json")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		req.SetBodyString(body)
		if err := client.Do(req, resp); err != nil {
			b.Error(err)
		}
		if resp.StatusCode() != 200 {
			b.Errorf("status %d: %s", resp.StatusCode(), resp.Body())
		}
		return append([]byte(nil), resp.Body()...)
	}
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var tokens []string
		for range 16 {
			_, rest, _ := strings.Cut(string(post(base+"/session", "", "{}")), `"token":"`)
			token, _, _ := strings.Cut(rest, `"`)
			tokens = append(tokens, token)
		}
		for i := 0; pb.Next(); i++ {
			id := n.Add(1)
			post(base+"/messages", tokens[i%len(tokens)], fmt.Sprintf(`{"id":"%d","text":"Where is my parcel number %d? It should have been here on Monday already."}`, id, id))
		}
	})
}

func startBench(b *testing.B, bot string) *gateway.Gateway {
	dir := b.TempDir()
	key := make([]byte, 32)
	rand.Read(key)
	var rules strings.Builder
	for i := range 100 {
		switch i % 5 {
		case 0, 1:
			fmt.Fprintf(&rules, "\n    - {id: r%d, why: w, on: inbound, when: 'phrase(\"unlikely words %d\")', then: {tags: [t]}}", i, i)
		case 2:
			fmt.Fprintf(&rules, "\n    - {id: r%d, why: w, on: inbound, when: 'signal.frustration > 0.9%d', then: {tags: [t]}}", i, i)
		case 3:
			fmt.Fprintf(&rules, "\n    - {id: r%d, why: w, on: answer, when: 'bot.intent == \"x%d\"', then: {tags: [t]}}", i, i)
		default:
			fmt.Fprintf(&rules, "\n    - {id: r%d, why: w, on: answer, when: 'turns > 10000%d', then: {tags: [t]}}", i, i)
		}
	}
	for name, content := range map[string]string{
		"root.key": base64.StdEncoding.EncodeToString(key),
		"turnout.yaml": "listen: 127.0.0.1:0\nops_listen: 127.0.0.1:0\ndata: data\nroot_key: file:root.key\naudit: {signing_key: file:root.key}\n" +
			"limits: {allow_networks: [127.0.0.1/32], messages_per_minute: {visitor: 100000000, address: 100000000, tenant: 100000000}, bot_calls_per_day: 1000000000}\nresources: [acme.yaml]\n",
		"acme.yaml": `kind: tenant
name: acme
spec: {default_queue: support}
---
kind: channel
name: web
spec: {adapter: web, config: {limits: {rate: 1000000, burst: 1000000}}}
---
kind: bot
name: legacy
spec: {adapter: webhook, config: {url: "http://` + bot + `/", request: {user: conversation, text: text}, response: {text: body.reply}}}
---
kind: queue
name: support
---
kind: rules
name: house
spec:
  rules:` + rules.String() + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "turnout.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	g, err := gateway.New(context.Background(), gateway.Options{
		Config: cfg, Registry: builtin.Registry(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := g.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { g.Stop(context.Background()) })
	return g
}
