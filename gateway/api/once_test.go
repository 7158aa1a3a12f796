package api

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"turnout/gateway/audit"
	"turnout/gateway/store"
)

const onceOnly = "k7qd-2mfx-w3hc-p9nb"

// withOneTime starts a server whose account "guest" has nothing but a password that works once.
func withOneTime(t *testing.T, change ...func(*Account)) *bench {
	t.Helper()
	guest := Account{Tenant: acme, ID: "guest", Name: "Guest", Login: "guest", Role: RoleAgent, Queues: []string{"support"}}
	for _, c := range change {
		c(&guest)
	}
	ann := Account{Tenant: acme, ID: "ann", Name: "Ann", Login: "ann", Password: hashed(), Role: RoleAgent}
	return start(t, func(o *Options) {
		var err error
		if o.Accounts, err = NewAccounts([]Account{guest, ann}, map[store.Tenant][]string{acme: {"support"}, other: nil}); err != nil {
			t.Fatal(err)
		}
		o.OneTime = []OneTime{{Tenant: acme, Account: "guest", SHA256: sha256.Sum256([]byte(onceOnly))}}
	})
}

func TestOneTimePassword(t *testing.T) {
	b := withOneTime(t)
	for _, body := range []string{
		`{"login":"guest","password":"k7qd-2mfx-w3hc-p9nc"}`, `{"login":"guest","password":""}`,
		`{"login":"ann","password":"` + onceOnly + `"}`, `{"login":"nobody","password":"` + onceOnly + `"}`,
		`{"tenant":"other","login":"guest","password":"` + onceOnly + `"}`,
	} {
		b.want(401, "unauthenticated", b.login(body))
	}
	var out loginAnswer
	b.want(200, "", b.login(`{"login":"guest","password":"`+onceOnly+`"}`)).into(t, &out)
	b.want(401, "unauthenticated", b.login(`{"login":"guest","password":"`+onceOnly+`"}`))
	b.want(200, "", b.bearer(out.Token))
	b.serve() // the next process: who is signed in stays so
	b.want(200, "", b.bearer(out.Token))
	b.want(204, "", b.request("POST", "/v1/agent/logout", "", "Authorization", "Bearer "+out.Token))
	b.want(401, "unauthenticated", b.bearer(out.Token))

	entries, err := b.Store.Entries(t.Context(), acme, "", 0, 100)
	if err != nil || !strings.Contains(string(entries[len(entries)-2]), `"one-time"`) {
		t.Errorf("the audit chain does not say how guest signed in: %q, %v", entries, err)
	}
}

// fullOnce is an audit log that takes nothing once.
type fullOnce struct {
	Audit
	full atomic.Bool
}

func (f *fullOnce) Append(ctx context.Context, t store.Tenant, e audit.Entry) error {
	if f.full.Swap(false) {
		return store.ErrUnavailable
	}
	return f.Audit.Append(ctx, t, e)
}

// A login that could not be recorded is none: the password is worth what it was.
func TestOneTimePasswordOutlivesTheStore(t *testing.T) {
	full := &fullOnce{}
	b := withOneTime(t)
	full.Audit = b.server.o.Audit
	b.server.o.Audit = full
	full.full.Store(true)
	body := `{"login":"guest","password":"` + onceOnly + `"}`
	b.want(503, "store_unavailable", b.login(body))
	b.want(200, "", b.login(body))
	b.want(401, "unauthenticated", b.login(body))
}

// Of many who come with the same password one signs in.
func TestOneTimePasswordIsSpentOnce(t *testing.T) {
	b := withOneTime(t)
	var all sync.WaitGroup
	codes := make([]int, 8)
	for i := range codes {
		all.Go(func() { codes[i] = b.login(`{"login":"guest","password":"` + onceOnly + `"}`).status })
	}
	all.Wait()
	in := 0
	for _, c := range codes {
		if c == 200 {
			in++
		} else if c != 401 {
			t.Errorf("status %d", c)
		}
	}
	if in != 1 {
		t.Errorf("%d signed in, want 1: %v", in, codes)
	}
}

func TestOneTimePasswordOfADisabledAccount(t *testing.T) {
	b := withOneTime(t)
	var out loginAnswer
	b.want(200, "", b.login(`{"login":"guest","password":"`+onceOnly+`"}`)).into(t, &out)
	shut := withOneTime(t, func(a *Account) { a.Disabled = true })
	shut.want(401, "unauthenticated", shut.login(`{"login":"guest","password":"`+onceOnly+`"}`))
	shut.want(401, "unauthenticated", shut.bearer(out.Token))
}
