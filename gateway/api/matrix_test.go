package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/gateway/id"
)

// TestMatrix runs over the table of routes: every route x every role x both tenants. Whatever is added to the table is
// covered from then on.
func TestMatrix(t *testing.T) {
	b := start(t)
	own := b.Queued(t, acme, "support", "help")
	foreign := b.Queued(t, other, "support", "help")
	unknown := b.IDs.New(id.Conversation, 7)
	fill := func(path, conv string) string {
		return strings.NewReplacer("{id}", conv, "{attachment}", b.IDs.New(id.Attachment, 7), "{earlier}", unknown).Replace(path)
	}
	bodies := map[string]string{
		"reply": `{"text":"x"}`, "note": `{"text":"x"}`, "transfer": `{"queue":"support"}`, "escalate": `{"queue":"support"}`,
		"undo": `{"message":"m_x"}`, "resend": `{"message":"m_x"}`, "snooze": `{"until":"2030-01-01T00:00:00Z"}`,
	}
	people := 0
	for _, r := range b.server.Routes() {
		if r.Access != People {
			switch r.Access {
			case Public, Channel:
			case Operator: // nobody with an account
				b.want(401, "unauthenticated", b.request(r.Method, fill(r.Path, own.ID), ""))
				for _, role := range everybody {
					b.want(403, "forbidden", b.as("acme/"+string(role), r.Method, fill(r.Path, own.ID), ""))
				}
			default:
				t.Errorf("%s %s declares no access", r.Method, r.Path)
			}
			continue
		}
		people++
		body := bodies[r.Path[strings.LastIndexByte(r.Path, '/')+1:]]
		t.Run(r.Method+" "+r.Path, func(t *testing.T) {
			b.want(401, "unauthenticated", b.request(r.Method, fill(r.Path, own.ID), body))
			for _, role := range everybody {
				who := "acme/" + string(role)
				if !slices.Contains(r.Roles, role) {
					b.want(403, "forbidden", b.as(who, r.Method, fill(r.Path, own.ID), body))
					continue
				}
				if !strings.Contains(r.Path, "{id}") {
					if a := b.as(who, r.Method, r.Path, body); a.status/100 != 2 {
						t.Errorf("%s: status %d: %s", role, a.status, a.body)
					}
					continue
				}
				// What another tenant has answers byte for byte like what nobody has.
				theirs := b.as(who, r.Method, fill(r.Path, foreign.ID), body)
				nobodys := b.as(who, r.Method, fill(r.Path, unknown), body)
				malformed := b.as(who, r.Method, fill(r.Path, "c_nonsense"), body)
				b.want(404, "not_found", theirs)
				for _, a := range []answer{nobodys, malformed} {
					theirs.header.Del("Date")
					a.header.Del("Date")
					if a.status != theirs.status || string(a.body) != string(theirs.body) || !sameHeader(a, theirs) {
						t.Errorf("%s: a foreign id answers %d %s, an unknown one %d %s", role, theirs.status, theirs.body, a.status, a.body)
					}
				}
			}
		})
	}
	if people < 15 {
		t.Errorf("the table holds only %d routes for people", people)
	}
	if s := b.State(t, foreign); s.Seq != 4 {
		t.Errorf("the other tenant's conversation has changed: seq %d", s.Seq)
	}
}

func sameHeader(a, b answer) bool {
	if len(a.header) != len(b.header) {
		return false
	}
	for k, v := range a.header {
		if !slices.Equal(v, b.header[k]) {
			return false
		}
	}
	return true
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	b := start(t)
	b.want(404, "not_found", b.request("GET", "/nothing/here", ""))
	b.want(404, "not_found", b.request("GET", "/v1/agent/me/", ""))
	a := b.want(405, "bad_request", b.request("DELETE", "/v1/agent/me", ""))
	if a.header.Get("Allow") == "" {
		t.Error("no Allow header")
	}
	for _, h := range []string{"X-Content-Type-Options", "Referrer-Policy", "Content-Security-Policy", "Cache-Control"} {
		if a.header.Get(h) == "" {
			t.Errorf("no header %s", h)
		}
	}
	if a.header.Get("Server") != "" {
		t.Errorf("the server names itself: %s", a.header.Get("Server"))
	}
}

func TestPages(t *testing.T) {
	b := start(t, func(o *Options) {
		o.Pages = []adapters.Route{{Method: "GET", Path: "/app/", Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("Content-Security-Policy", "its own")
			ctx.SetBodyString("hello")
		}}}
	})
	b.document = nil // pages are for browsers
	if a := b.want(200, "", b.request("GET", "/app/", "")); string(a.body) != "hello" || a.header.Get("Content-Security-Policy") != "its own" {
		t.Errorf("%s, %v", a.body, a.header)
	}
	noFollow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := noFollow.Get(b.url + "/app")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 307 || res.Header.Get("Location") != "app/" {
		t.Errorf("without its slash: %d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	b.want(404, "not_found", b.request("GET", "/ap", ""))
}

func TestRoutesAreServedOnce(t *testing.T) {
	b := start(t)
	o := b.o
	route("GET", "/v1/agent/me", nil)(&o)
	if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "served twice") {
		t.Errorf("a route that is there already: %v", err)
	}
}
