package api

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"turnout/gateway/audit"
	"turnout/gateway/queue/queuetest"
	"turnout/gateway/store"
)

func (b *bench) login(body string, headers ...string) answer {
	b.t.Helper()
	return b.request("POST", "/v1/agent/login", body, headers...)
}

func (b *bench) session(login string) string {
	b.t.Helper()
	var out loginAnswer
	b.want(200, "", b.login(`{"login":"`+login+`","password":"`+password+`"}`)).into(b.t, &out)
	return out.Token
}

func (b *bench) bearer(token string) answer {
	b.t.Helper()
	return b.request("GET", "/v1/agent/me", "", "Authorization", "Bearer "+token)
}

func TestKeysThatDoNotOpen(t *testing.T) {
	b := start(t)
	key := b.keys["acme/ann"]
	stranger, _, err := NewKey(rand.Reader, "ann")
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"none": "", "another secret": stranger, "unknown name": strings.Replace(key, "tk_ann", "tk_nobody", 1),
		"cut": key[:len(key)-1], "longer": key + "A", "only the name": "tk_ann.", "no dot": "tk_ann", "nonsense": "tk_",
	} {
		t.Run(name, func(t *testing.T) { b.want(401, "unauthenticated", b.bearer(token)) })
	}
	b.want(401, "unauthenticated", b.request("GET", "/v1/agent/me", "", "Authorization", "Basic "+key))
	b.want(401, "unauthenticated", b.request("GET", "/v1/agent/me?token="+key, ""))
	if n := b.server.Refused(); n != 10 {
		t.Errorf("%d refusals counted, want 10", n)
	}
	// Keys of one name in two tenants open each their own.
	for _, who := range []string{"acme/ann", "other/ann"} {
		var me me
		b.want(200, "", b.as(who, "GET", "/v1/agent/me", "")).into(t, &me)
		if me.Tenant+"/"+me.ID != who {
			t.Errorf("the key of %s opens %s/%s", who, me.Tenant, me.ID)
		}
	}
}

func TestKeysExpire(t *testing.T) {
	b := start(t)
	key, digest, err := NewKey(rand.Reader, "short")
	if err != nil {
		t.Fatal(err)
	}
	end := b.Clock.Now().Add(time.Hour)
	b.o.Accounts, err = NewAccounts([]Account{{
		Tenant: acme, ID: "temp", Role: RoleAgent, Keys: []Key{{ID: "short", SHA256: digest, Expires: end}},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.serve()
	b.want(200, "", b.bearer(key))
	b.Clock.Add(time.Hour)
	b.want(401, "unauthenticated", b.bearer(key))
}

func TestLogin(t *testing.T) {
	b := start(t)
	a := b.want(200, "", b.login(`{"tenant":"acme","login":"ann@acme","password":"`+password+`"}`))
	var out loginAnswer
	a.into(t, &out)
	if out.Me.ID != "ann" || !out.Expires.Equal(b.Clock.Now().Add(sessionLife)) {
		t.Errorf("%+v", out)
	}
	cookie := a.header.Get("Set-Cookie")
	for _, want := range []string{"turnout_session=ts_", "HttpOnly", "SameSite=Lax", "path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie %q has no %s", cookie, want)
		}
	}
	b.want(200, "", b.bearer(out.Token))
	wrong := b.want(401, "unauthenticated", b.login(`{"login":"ann@acme","password":"wrong password"}`))
	unknown := b.want(401, "unauthenticated", b.login(`{"login":"nobody@acme","password":"wrong password"}`))
	foreign := b.want(401, "unauthenticated", b.login(`{"tenant":"other","login":"ann@acme","password":"`+password+`"}`))
	if string(wrong.body) != string(unknown.body) || string(wrong.body) != string(foreign.body) {
		t.Errorf("answers tell a known login from an unknown one: %s, %s, %s", wrong.body, unknown.body, foreign.body)
	}
	b.want(400, "bad_request", b.login(`{}`))
	b.want(400, "bad_request", b.login(`{"login":"ann@acme","password":"`+strings.Repeat("x", maxPassword+1)+`"}`))
	entries, err := b.Store.Entries(t.Context(), acme, "", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, e := range entries {
		var entry struct{ Type, Kind, Actor string }
		if err := json.Unmarshal(e, &entry); err != nil {
			t.Fatal(err)
		}
		got += entry.Type + ":" + entry.Kind + ":" + entry.Actor + "\n"
	}
	if got != "login:password:agent:ann\nlogin:refused:agent:ann\n" {
		t.Errorf("the tenant's chain holds\n%s", got)
	}
	for _, secret := range []string{password, "wrong password", out.Token, "127.0.0.1"} {
		if strings.Contains(b.Logged.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// TestUnknownLoginsCostTheSame: what would be compared for an unknown login costs what a real hash costs.
func TestUnknownLoginsCostTheSame(t *testing.T) {
	b := start(t)
	dummy := b.server.auth.logins.dummy
	known, err := parsePHC(hashed())
	if err != nil {
		t.Fatal(err)
	}
	if dummy.memory != known.memory || dummy.time != known.time || dummy.threads != known.threads || len(dummy.hash) != len(known.hash) {
		t.Errorf("the stand-in has cost %+v, a real hash %+v", dummy, known)
	}
	if ok, err := b.server.auth.logins.check(t.Context(), nil, "nobody has this password"); ok || err != nil {
		t.Errorf("nobody signed in with the stand-in's password: %t, %v", ok, err)
	}
}

func TestLoginsAreLimited(t *testing.T) {
	b := start(t)
	for range loginBurst {
		b.want(401, "unauthenticated", b.login(`{"login":"ann@acme","password":"guess"}`))
	}
	a := b.want(429, "rate_limited", b.login(`{"login":"ann@acme","password":"`+password+`"}`))
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	b.want(200, "", b.login(`{"login":"bob@acme","password":"`+password+`"}`))
	b.Clock.Add(loginGap)
	b.want(200, "", b.login(`{"login":"ann@acme","password":"`+password+`"}`))
}

func TestLoginsOfOneAddressAreLimited(t *testing.T) {
	b := start(t)
	now := b.Clock.Now()
	for i := range addressBurst {
		if _, ok := b.server.auth.logins.allow("192.0.2.1", fmt.Sprint(i), now); !ok {
			t.Fatalf("attempt %d was refused", i)
		}
	}
	if _, ok := b.server.auth.logins.allow("192.0.2.1", "another name", now); ok {
		t.Error("an address may try as many names as it likes")
	}
	if _, ok := b.server.auth.logins.allow("192.0.2.2", "another name", now); !ok {
		t.Error("another address pays for it")
	}
}

func TestSessionsThatDoNotOpen(t *testing.T) {
	b := start(t)
	token := b.session("ann@acme")
	text, sum, _ := strings.Cut(strings.TrimPrefix(token, sessionPrefix), ".")
	forge := func(change func(*session)) string {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		var v session
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		change(&v)
		raw, _ = json.Marshal(v)
		return sessionPrefix + base64.RawURLEncoding.EncodeToString(raw) + "." + sum
	}
	for name, forged := range map[string]string{
		"another account": forge(func(s *session) { s.Account = "supervisor" }),
		"another tenant":  forge(func(s *session) { s.Tenant = "other" }),
		"longer life":     forge(func(s *session) { s.Expires += 3600 }),
		"no signature":    sessionPrefix + text + ".",
		"no dot":          sessionPrefix + text,
		"cut":             token[:len(token)-2],
		"as a key":        "tk_" + text + "." + sum,
	} {
		t.Run(name, func(t *testing.T) { b.want(401, "unauthenticated", b.bearer(forged)) })
	}
	b.want(200, "", b.bearer(token))
	b.Clock.Add(sessionLife)
	b.want(401, "unauthenticated", b.bearer(token))
}

func TestSessionsEnd(t *testing.T) {
	b := start(t)
	first, second := b.session("ann@acme"), b.session("ann@acme")
	b.want(204, "", b.request("POST", "/v1/agent/logout", "", "Authorization", "Bearer "+first))
	b.want(401, "unauthenticated", b.bearer(first))
	b.want(200, "", b.bearer(second))

	hash, err := HashPassword(rand.Reader, "another password")
	if err != nil {
		t.Fatal(err)
	}
	b.o.Accounts, err = NewAccounts([]Account{{Tenant: acme, ID: "ann", Login: "ann@acme", Role: RoleAgent, Password: hash}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.serve()
	b.want(401, "unauthenticated", b.bearer(second))
}

// TestCookies: a browser sends the cookie by itself, so requests that change something must come from the server's own
// pages or from an origin that is listed.
func TestCookies(t *testing.T) {
	b := start(t, func(o *Options) { o.Origins = []string{"https://console.example"} })
	token := b.session("ann@acme")
	cookie := "turnout_session=" + token
	for _, tt := range []struct {
		method  string
		headers []string
		want    int
	}{
		{"GET", nil, 200},
		{"GET", []string{"Sec-Fetch-Site", "cross-site"}, 200},
		{"POST", nil, 200}, // a program that keeps cookies
		{"POST", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"POST", []string{"Sec-Fetch-Site", "none"}, 200},
		{"POST", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://evil.example"}, 403},
		{"POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://console.example"}, 200},
		{"POST", []string{"Origin", "https://evil.example"}, 403},
		{"POST", []string{"Origin", "null"}, 403},
		{"POST", []string{"Origin", b.url}, 200},
	} {
		path := map[string]string{"GET": "/v1/agent/me", "POST": "/v1/agent/presence"}[tt.method]
		a := b.request(tt.method, path, "", append(tt.headers, "Cookie", cookie)...)
		if a.status != tt.want {
			t.Errorf("%s with %v: %d, want %d: %s", tt.method, tt.headers, a.status, tt.want, a.body)
		}
	}
	// The bearer token is never sent by a browser by itself.
	if a := b.request("POST", "/v1/agent/presence", "", "Authorization", "Bearer "+token, "Origin", "https://evil.example"); a.status != 200 {
		t.Errorf("a bearer token from elsewhere: %d", a.status)
	}
	b.want(403, "forbidden", b.login(`{"login":"ann@acme","password":"`+password+`"}`, "Origin", "https://evil.example"))
}

func TestSecureCookie(t *testing.T) {
	b := start(t, func(o *Options) { o.PlainCookie = false })
	a := b.want(200, "", b.login(`{"login":"ann@acme","password":"`+password+`"}`))
	c := a.header.Get("Set-Cookie")
	if !strings.HasPrefix(c, "__Host-turnout_session=") || !strings.Contains(c, "secure") || strings.Contains(c, "domain") {
		t.Errorf("cookie %q", c)
	}
	out := b.request("POST", "/v1/agent/logout", "", "Cookie", strings.SplitN(c, ";", 2)[0])
	if out.status != http.StatusNoContent || !strings.HasPrefix(out.header.Get("Set-Cookie"), "__Host-turnout_session=;") {
		t.Errorf("logout: %d, cookie %q", out.status, out.header.Get("Set-Cookie"))
	}
}

func TestAgentsAreLimited(t *testing.T) {
	b := start(t, func(o *Options) { o.Limits.Requests, o.Limits.Burst = 1, 3 })
	for range 3 {
		b.want(200, "", b.as("acme/ann", "GET", "/v1/agent/me", ""))
	}
	b.want(429, "rate_limited", b.as("acme/ann", "GET", "/v1/agent/me", ""))
	b.want(200, "", b.as("other/ann", "GET", "/v1/agent/me", ""))
}

func TestAccountsAreChecked(t *testing.T) {
	_, digest, err := NewKey(rand.Reader, "k")
	if err != nil {
		t.Fatal(err)
	}
	good := Account{Tenant: acme, ID: "a", Role: RoleAgent}
	with := func(change func(*Account)) []Account {
		a := good
		change(&a)
		return []Account{a}
	}
	for name, list := range map[string][]Account{
		"no id":          with(func(a *Account) { a.ID = "" }),
		"twice":          {good, good},
		"unknown role":   with(func(a *Account) { a.Role = "king" }),
		"plain password": with(func(a *Account) { a.Password = "secret" }),
		"costly hash":    with(func(a *Account) { a.Password = strings.Replace(hashed(), "m=19456", "m=9999999", 1) }),
		"short digest":   with(func(a *Account) { a.Keys = []Key{{ID: "k", SHA256: digest[2:]}} }),
		"key with a dot": with(func(a *Account) { a.Keys = []Key{{ID: "k.k", SHA256: digest}} }),
		"same login": {
			{Tenant: acme, ID: "a", Role: RoleAgent, Login: "x", Password: hashed()},
			{Tenant: acme, ID: "b", Role: RoleAgent, Login: "x", Password: hashed()},
		},
	} {
		if _, err := NewAccounts(list, nil); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "argon2id$") {
			t.Errorf("%s: the error holds a hash: %v", name, err)
		}
	}
	if _, _, err := NewKey(rand.Reader, "a.b"); err == nil {
		t.Error("a key name with a dot was accepted")
	}
	if _, err := HashPassword(rand.Reader, "short"); err == nil {
		t.Error("a short password was accepted")
	}
	// The same login in two tenants needs the tenant's name.
	d, err := NewAccounts([]Account{
		{Tenant: acme, ID: "a", Role: RoleAgent, Login: "x", Password: hashed()},
		{Tenant: queuetest.Tenant("other"), ID: "a", Role: RoleAgent, Login: "x", Password: hashed()},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.login("", "x") != nil || d.login("other", "x") == nil {
		t.Error("an ambiguous login was taken, or one with a tenant not")
	}
}

func FuzzSessionToken(f *testing.F) {
	s := newSessions(Options{SessionKey: make([]byte, 32), Now: time.Now, Rand: rand.Reader})
	d, err := NewAccounts([]Account{{Tenant: acme, ID: "a", Role: RoleAgent, Password: hashed()}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "ts_", "ts_.", "ts_e30.", "ts_e30.AAAA", "tk_a.b", "ts_\x00.\xff", "ts_" + strings.Repeat("A", 500) + ".A"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, v, err := s.read(token, d); err == nil {
			t.Errorf("%q opened a session: %+v", token, v)
		}
	})
}

func FuzzPHC(f *testing.F) {
	for _, seed := range []string{
		"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=4294967295,t=4294967295,p=255$$", "$2b$10$x", "$$$$$", "", "$argon2id$v=19$m=-1,t=0,p=0$AA$AA",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err == nil && (p.memory > maxHashMemory || p.time > maxHashTime || p.threads == 0 || len(p.hash) < 16) {
			t.Errorf("%q was taken as %+v", s, p)
		}
	})
}

func ExampleNewKey() {
	key, digest, err := NewKey(strings.NewReader(strings.Repeat("x", 32)), "ann-laptop")
	fmt.Println(strings.HasPrefix(key, "tk_ann-laptop."), len(digest), err)
	// Output: true 64 <nil>
}

// TestRefusalsAreCounted: an entry a minute and kind says how many came without a sign-in, with the tenant that they
// claimed to be of; none where there were none.
func TestRefusalsAreCounted(t *testing.T) {
	b := start(t)
	entries := func(tenant store.Tenant) (list []string) {
		raw, err := b.Store.Entries(t.Context(), tenant, "", 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range raw {
			var entry audit.Entry
			if err := json.Unmarshal(e, &entry); err != nil {
				t.Fatal(err)
			}
			if entry.Type == "access.refused" {
				list = append(list, fmt.Sprintf("%s %s %d", entry.Kind, entry.Actor, entry.Count))
			}
		}
		slices.Sort(list)
		return list
	}
	record := func() {
		t.Helper()
		if err := b.server.RecordRefusals(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	record()
	if got := entries(store.Operator); len(got) != 0 {
		t.Errorf("entries of nothing: %q", got)
	}
	for range 5 {
		b.want(401, "unauthenticated", b.request("GET", "/v1/agent/me", ""))
	}
	b.want(401, "unauthenticated", b.request("POST", "/v1/agent/login", `{"login":"eve","password":"x"}`))
	b.want(401, "unauthenticated", b.request("POST", "/v1/agent/login", `{"login":"eve","password":"x","tenant":"acme"}`))
	b.want(401, "unauthenticated", b.request("POST", "/v1/agent/login", `{"login":"eve","password":"x","tenant":"nobodys"}`))
	record()
	record() // and not once more
	if got := strings.Join(entries(store.Operator), ", "); got != "login nobody 2, request nobody 5" {
		t.Errorf("the operator's entries: %s", got)
	}
	acme, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(entries(acme), ", "); got != "login nobody 1" {
		t.Errorf("acme's entries: %s", got)
	}
	if n := b.server.Refused(); n != 8 {
		t.Errorf("%d refusals, want 8", n)
	}
}
