package web

import (
	"strconv"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters/adaptertest"
)

// BenchmarkPostMessage is the channel's own share of a turn: everything between the parsed request and the written
// response but the Inbox and the Timeline, which are in-memory fakes.
func BenchmarkPostMessage(b *testing.B) {
	k := adaptertest.New(b, "acme.test")
	built, err := New(adaptertest.YAML("limits: {rate: 1e9, burst: 1000000}"), k.Deps)
	if err != nil {
		b.Fatal(err)
	}
	c := built.(*Channel)
	token := c.tokens.sign(visitor{id: c.newVisitor(), expires: c.deps.Now().Add(time.Hour)})
	handler := c.cors(c.signedIn(c.postMessage))
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.Set("Authorization", "Bearer "+token)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ctx.Request.SetBodyString(`{"id":"` + strconv.Itoa(i) + `","text":"Where is my order? I have been waiting since Monday."}`)
		ctx.Response.Reset()
		handler(&ctx)
		if ctx.Response.StatusCode() != fasthttp.StatusOK {
			b.Fatal(ctx.Response.StatusCode())
		}
	}
}
