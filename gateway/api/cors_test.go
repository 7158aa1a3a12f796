package api

import "testing"

func TestCORS(t *testing.T) {
	const desk = "https://desk.example.com"
	b := start(t, func(o *Options) { o.Origins = []string{desk} })
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,idempotency-key"}
	for name, tt := range map[string]struct {
		origin string
		allow  bool
	}{"listed": {desk, true}, "another": {"https://evil.example", false}, "like it": {"https://desk.example.com.evil.example", false}, "http": {"http://desk.example.com", false}, "null": {"null", false}} {
		a := b.request("OPTIONS", "/v1/agent/presence", "", append(preflight, "Origin", tt.origin)...)
		if ok := a.status == 204 && a.header.Get("Access-Control-Allow-Origin") == tt.origin && a.header.Get("Access-Control-Allow-Headers") != ""; ok != tt.allow {
			t.Errorf("%s: a preflight answers %d %v", name, a.status, a.header)
		}
		a = b.as("acme/ann", "GET", "/v1/agent/me", "", "Origin", tt.origin)
		if got := a.header.Get("Access-Control-Allow-Origin"); (got == tt.origin) != tt.allow || got == "*" || a.header.Get("Vary") != "Origin" {
			t.Errorf("%s: an answer allows %q, Vary %q", name, got, a.header.Get("Vary"))
		}
		if a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: cookies are allowed", name)
		}
	}
	// Without a listed origin nothing is said, and OPTIONS is no method.
	plain := start(t)
	plain.want(405, "bad_request", plain.request("OPTIONS", "/v1/agent/presence", "", append(preflight, "Origin", desk)...))
	if a := plain.as("acme/ann", "GET", "/v1/agent/me", "", "Origin", desk); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("an origin that is not listed is allowed")
	}
}
