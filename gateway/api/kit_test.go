package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/gateway/api/apitest"
	"turnout/gateway/queue"
	"turnout/gateway/queue/queuetest"
	"turnout/gateway/store"
)

var (
	acme  = queuetest.Tenant("acme")
	other = queuetest.Tenant("other")
)

const password = "correct horse battery"

// hashed is the hash of password, made once: it is meant to take time.
var hashed = sync.OnceValue(func() string {
	h, err := HashPassword(rand.Reader, password)
	if err != nil {
		panic(err)
	}
	return h
})

// bench is a server with two tenants that have an account of every role.
type bench struct {
	*queuetest.Kit
	t      testing.TB
	server *Server
	queue  *queue.Queue
	url    string
	opsURL string
	keys   map[string]string // "tenant/id" -> API key
	o      Options
	down   bool // the store's health

	document *apitest.Document // nil: exchanges are not held against it
}

func start(t testing.TB, change ...func(*Options)) *bench {
	t.Helper()
	b := &bench{Kit: queuetest.New(t), t: t, keys: map[string]string{}}
	var accounts []Account
	for _, tenant := range queuetest.Tenants {
		for _, role := range everybody {
			accounts = append(accounts, b.account(tenant, string(role), role))
		}
		for _, id := range []string{"ann", "bob"} {
			accounts = append(accounts, b.account(tenant, id, RoleAgent))
		}
	}
	dir, err := NewAccounts(accounts, map[store.Tenant][]string{acme: {"support", "emergency"}, other: {"support", "emergency"}})
	if err != nil {
		t.Fatal(err)
	}
	b.queue = b.Queue(t, dir)
	b.o = Options{
		Queue: b.queue, Audit: b.Store, Accounts: dir, SessionKey: bytes.Repeat([]byte{5}, 32), PlainCookie: true,
		Now: b.Clock.Now, Log: b.Logger,
		Health: func(context.Context) store.Health {
			return store.Health{OK: !b.down, Level: "memory", Reason: map[bool]string{true: "the disk is gone"}[b.down]}
		},
	}
	for _, c := range change {
		c(&b.o)
	}
	b.serve()
	return b
}

func (b *bench) account(tenant store.Tenant, id string, role Role) Account {
	key, digest, err := NewKey(rand.Reader, id)
	if err != nil {
		b.t.Fatal(err)
	}
	b.keys[tenant.Name()+"/"+id] = key
	return Account{
		Tenant: tenant, ID: id, Name: strings.ToUpper(id[:1]) + id[1:], Login: id + "@" + tenant.Name(), Password: hashed(),
		Keys: []Key{{ID: id, SHA256: digest}}, Role: role, Queues: []string{"support"}, Capacity: 50,
	}
}

// serve builds the server anew, with what the options say now.
func (b *bench) serve() {
	b.t.Helper()
	server, err := New(context.Background(), b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.server = server
	if err := server.Listen("127.0.0.1:0", "127.0.0.1:0"); err != nil {
		b.t.Fatal(err)
	}
	if b.document, err = apitest.Load(server.face.Load().document); err != nil {
		b.t.Fatal(err)
	}
	b.url, b.opsURL = "http://"+server.Addr(), "http://"+server.OpsAddr()
	b.t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			b.t.Errorf("shutting down: %v", err)
		}
	})
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) code() string {
	var d struct{ Code string }
	_ = json.Unmarshal(a.body, &d)
	return d.Code
}

func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("decoding %s: %v", a.body, err)
	}
}

// request sends a request with headers given as pairs.
func (b *bench) request(method, path, body string, headers ...string) answer {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return b.do(req)
}

func (b *bench) do(req *http.Request) answer {
	b.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.hold(req, res, out)
	return answer{status: res.StatusCode, header: res.Header, body: out}
}

// hold holds an exchange against the document: every request of every test is one.
func (b *bench) hold(req *http.Request, res *http.Response, out []byte) {
	b.t.Helper()
	if b.document == nil || "http://"+req.URL.Host != b.url {
		return
	}
	var sent []byte
	if req.GetBody != nil {
		if body, err := req.GetBody(); err == nil {
			sent, _ = io.ReadAll(body)
		}
	}
	if err := b.document.Check(apitest.Exchange{
		Method: req.Method, Path: req.URL.Path, Request: sent, Status: res.StatusCode, Header: res.Header, Answer: out,
	}); err != nil {
		b.t.Error(err)
	}
}

// as sends a request with the API key of "tenant/id".
func (b *bench) as(who, method, path, body string, headers ...string) answer {
	b.t.Helper()
	return b.request(method, path, body, append([]string{"Authorization", "Bearer " + b.keys[who]}, headers...)...)
}

// want sends a request and checks the status and, of a problem, the code.
func (b *bench) want(status int, code string, a answer) answer {
	b.t.Helper()
	if a.status != status || a.code() != code {
		b.t.Errorf("status %d, code %q, want %d, %q: %s", a.status, a.code(), status, code, a.body)
	}
	return a
}

func (b *bench) present(who string) {
	b.t.Helper()
	b.want(200, "", b.as(who, "POST", "/v1/agent/presence", ""))
}

// claimed returns a conversation that "tenant/id" holds.
func (b *bench) claimed(who string, texts ...string) store.Ref {
	b.t.Helper()
	tenant, _, _ := strings.Cut(who, "/")
	b.present(who)
	ref := b.Queued(b.t, queuetest.Tenant(tenant), "support", texts...)
	b.want(200, "", b.as(who, "POST", at(ref, "claim"), ""))
	return ref
}

func at(ref store.Ref, act string) string {
	return strings.TrimSuffix("/v1/agent/conversations/"+ref.ID+"/"+act, "/")
}

// raw sends bytes over a connection of its own and returns what comes back until the server closes it.
func (b *bench) raw(sent string) string {
	b.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, sent); err != nil {
		b.t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	got, err := io.ReadAll(conn)
	if err != nil && len(got) == 0 {
		b.t.Fatal(err)
	}
	return string(got)
}

func route(method, path string, h fasthttp.RequestHandler) func(*Options) {
	return func(o *Options) { o.Routes = append(o.Routes, adapters.Route{Method: method, Path: path, Handler: h}) }
}
