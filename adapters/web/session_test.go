package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"turnout/adapters/adaptertest"
	"turnout/adapters/web"
)

func TestSessionIsRenewed(t *testing.T) {
	k, s := start(t, spec)
	first := newSession(t, s)
	if want := adaptertest.Epoch.Add(30 * 24 * time.Hour); !first.ExpiresAt.Equal(want) {
		t.Errorf("expires %v, want %v", first.ExpiresAt, want)
	}
	if first.Conversation != "" || first.Owner != nil {
		t.Errorf("a new visitor has a conversation: %+v", first)
	}
	said := post(t, s, first.Token, "1", "hi")
	k.Clock.Advance(24 * time.Hour)
	var again session
	call(t, s, request(s, "POST", api+"/session", "", object{"token": first.Token}), 200, &again)
	if again.Visitor != first.Visitor || again.Conversation != said.Conversation || again.Cursor != said.Cursor {
		t.Errorf("renewed: %+v, want visitor %s at %s", again, first.Visitor, said.Cursor)
	}
	if !again.ExpiresAt.Equal(first.ExpiresAt.Add(24 * time.Hour)) {
		t.Errorf("renewed until %v", again.ExpiresAt)
	}
	if other := newSession(t, s); other.Visitor == first.Visitor {
		t.Error("two visitors have one id")
	}
}

func TestTokensAreRefused(t *testing.T) {
	k, s := start(t, spec)
	good := newSession(t, s).Token
	otherKit := adaptertest.New(t, "acme.other")
	otherChannel, err := web.New(adaptertest.YAML(""), otherKit.Deps)
	if err != nil {
		t.Fatal(err)
	}
	other := adaptertest.Serve(t, otherChannel)
	var foreign session
	call(t, other, request(other, "POST", "/v1/web/acme.other/session", "", nil), 200, &foreign)
	var ticket struct{ Ticket string }
	call(t, s, request(s, "POST", api+"/ticket", good, nil), 200, &ticket)

	head, mac, _ := strings.Cut(good, ".")
	forged := map[string]string{
		"none": "", "junk": "junk", "another channel's": foreign.Token, "a ticket": ticket.Ticket,
		"no mac": head, "empty mac": head + ".", "changed body": "B" + head[1:] + "." + mac, "longer": good + "A",
		"padded": good + "=", "long": strings.Repeat("A", 2000) + "." + mac,
	}
	check := func(name, token string) {
		t.Helper()
		for _, req := range []*http.Request{
			request(s, "POST", api+"/messages", token, object{"id": "1", "text": "x"}),
			request(s, "POST", api+"/human", token, nil),
			request(s, "POST", api+"/ticket", token, nil),
			request(s, "POST", api+"/observe", token, object{"typing": true}),
			request(s, "GET", api+"/events", token, nil),
			request(s, "GET", api+"/attachments/a_0001", token, nil),
			upload(s, token, "x.txt", "words"),
		} {
			refused(t, s, req, 401, "unauthenticated")
		}
		if token != "" {
			refused(t, s, request(s, "POST", api+"/session", "", object{"token": token}), 401, "unauthenticated")
		}
		if t.Failed() {
			t.Fatalf("token: %s", name)
		}
	}
	for name, token := range forged {
		check(name, token)
	}
	k.Clock.Advance(31 * 24 * time.Hour)
	check("expired", good)
	if n := len(k.World.Inbounds()); n != 0 {
		t.Errorf("%d messages came in with bad tokens", n)
	}
	k.AssertQuiet(t, "", head)
}

func TestIdentity(t *testing.T) {
	k, s := start(t, spec)
	anonymous := newSession(t, s)
	post(t, s, anonymous.Token, "1", "hi")
	var stepped session
	call(t, s, request(s, "POST", api+"/session", "", object{"token": anonymous.Token, "identity": identity(t, nil)}), 200, &stepped)
	if stepped.Visitor != anonymous.Visitor || stepped.Conversation == "" {
		t.Errorf("the step-up left the conversation: %+v", stepped)
	}
	p, ok := k.World.Profile(addressOf(stepped))
	if !ok || p.Subject != "cust-7" || p.Name != "Ana" || p.Level != "2fa" || p.Fields["plan"] != "gold" || p.Fields["age"] != 41.0 {
		t.Errorf("profile %+v, %v", p, ok)
	}

	var same session
	call(t, s, request(s, "POST", api+"/session", "", object{"token": stepped.Token, "identity": identity(t, nil)}), 200, &same)
	if same.Visitor != stepped.Visitor {
		t.Error("the same person became another visitor")
	}
	another := identity(t, func(c jwt.MapClaims) { c["sub"] = "cust-8" })
	var other session
	call(t, s, request(s, "POST", api+"/session", "", object{"token": stepped.Token, "identity": another}), 200, &other)
	if other.Visitor == stepped.Visitor || other.Conversation != "" {
		t.Error("another person got into the conversation")
	}
	if p, _ := k.World.Profile(addressOf(stepped)); p.Subject != "cust-7" {
		t.Errorf("the first person's profile became %s", p.Subject)
	}
	k.AssertQuiet(t, "", "cust-7", "ana@example.org")
}

func TestIdentityIsRefused(t *testing.T) {
	k, s := start(t, spec)
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{
		"sub": "x", "aud": "turnout", "exp": adaptertest.Epoch.Add(time.Hour).Unix(),
	}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	hs512, err := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.MapClaims{
		"sub": "x", "aud": "turnout", "exp": adaptertest.Epoch.Add(time.Hour).Unix(),
	}).SignedString([]byte(adaptertest.SecretOf("env:IDENTITY")))
	if err != nil {
		t.Fatal(err)
	}
	for name, statement := range map[string]string{
		"junk": "junk", "alg none": none, "another alg": hs512,
		"wrong key":    identity(t, nil)[:40] + "AAAA" + identity(t, nil)[44:],
		"no expiry":    identity(t, func(c jwt.MapClaims) { delete(c, "exp") }),
		"expired":      identity(t, func(c jwt.MapClaims) { c["exp"] = adaptertest.Epoch.Add(-2 * time.Minute).Unix() }),
		"not yet":      identity(t, func(c jwt.MapClaims) { c["nbf"] = adaptertest.Epoch.Add(time.Hour).Unix() }),
		"no subject":   identity(t, func(c jwt.MapClaims) { delete(c, "sub") }),
		"audience":     identity(t, func(c jwt.MapClaims) { c["aud"] = "others" }),
		"nested field": identity(t, func(c jwt.MapClaims) { c["fields"] = object{"a": object{}} }),
		"long subject": identity(t, func(c jwt.MapClaims) { c["sub"] = strings.Repeat("x", 300) }),
		"huge":         identity(t, func(c jwt.MapClaims) { c["name"] = strings.Repeat("x", 9000) }),
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, s, request(s, "POST", api+"/session", "", object{"identity": statement}), 401, "unauthenticated")
		})
	}
	refused(t, s, request(s, "POST", api+"/session", "", object{"identity": 7}), 400, "bad_request")
	refused(t, s, request(s, "POST", api+"/session", "", object{"lang": "not a tag"}), 400, "bad_request")
	refused(t, s, request(s, "POST", api+"/session", "", strings.Repeat(" ", 20<<10)), 413, "too_large")
	k.AssertQuiet(t, "")

	_, plain := start(t, "")
	refused(t, plain, request(plain, "POST", api+"/session", "", object{"identity": identity(t, nil)}), 400, "bad_request")
}

func TestLanguageOfTheSession(t *testing.T) {
	k, s := start(t, spec)
	var sess session
	call(t, s, request(s, "POST", api+"/session", "", object{"lang": "pt-BR"}), 200, &sess)
	post(t, s, sess.Token, "1", "olá")
	call(t, s, request(s, "POST", api+"/messages", sess.Token, object{"id": "2", "text": "hi", "lang": "en"}), 200, nil)
	in := k.World.Inbounds()
	if len(in) != 2 || in[0].Lang != "pt-BR" || in[1].Lang != "en" {
		t.Errorf("languages: %+v", in)
	}
}
