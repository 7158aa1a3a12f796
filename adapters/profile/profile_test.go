package profile_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
	"turnout/adapters/netguard"
	"turnout/adapters/profile"
)

const canaryWho = "canary-who-81f3"

// crm answers as the test says and remembers what it was asked.
type crm struct {
	*httptest.Server
	asked  atomic.Pointer[http.Request]
	body   atomic.Pointer[string]
	answer func(w http.ResponseWriter, r *http.Request)
}

func newCRM(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *crm {
	t.Helper()
	c := &crm{answer: answer}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 4096)
		n, _ := r.Body.Read(buf)
		body := string(buf[:n])
		c.asked.Store(r)
		c.body.Store(&body)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		c.answer(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

func says(body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, body)
	}
}

const mapped = `
headers: {Authorization: "Bearer env:CRM"}
response:
  known: body.found
  name: body.display
  fields: {plan: body.plan.name, balance: body.balance, vip: body.vip, owed: body.balance * 2}
  tickets: 'map(body.cases ?? [], {{"id": .no, "subject": .title, "status": .state, "at": .opened, "url": .link}})'
`

func build(t *testing.T, k *adaptertest.Kit, section string) *profile.Directory {
	t.Helper()
	d, err := profile.New(adaptertest.YAML(section), k.Deps)
	if err != nil {
		t.Fatalf("%v in\n%s", err, section)
	}
	t.Cleanup(func() { d.Close() })
	return d.(*profile.Directory)
}

func who() *message.Profile {
	return &message.Profile{Subject: canaryWho, Email: "eve+1@example.com", Level: "2fa", Fields: map[string]any{"shop": "north"}}
}

func TestLook(t *testing.T) {
	k := adaptertest.New(t, "crm")
	c := newCRM(t, says(`{"found":true,"display":" Eve\u0000 Adams\n","plan":{"name":"gold"},"balance":12.5,"vip":true,
		"cases":[{"no":17,"title":"Broken","state":"open","opened":"2026-03-01T10:00:00+02:00","link":"https://crm.example/17"},
			{"no":"B-2","title":"Old","state":"closed","opened":1700000000,"link":"javascript:alert(1)"},
			{"title":"has no id"}]}`))
	d := build(t, k, "url: "+c.URL+"/v1/customers/{subject}?mail={email}&fixed=1"+mapped)
	got, err := d.Look(t.Context(), who())
	if err != nil {
		t.Fatal(err)
	}
	want := message.Account{
		Subject: canaryWho, At: adaptertest.Epoch, Name: "Eve Adams",
		Fields: map[string]any{"plan": "gold", "balance": 12.5, "vip": true, "owed": 25.0},
		Tickets: []message.Ticket{
			{ID: "17", Subject: "Broken", Status: "open", At: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC), URL: "https://crm.example/17"},
			{ID: "B-2", Subject: "Old", Status: "closed", At: time.Unix(1700000000, 0).UTC()},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the account differs (-want +got):\n%s", diff)
	}
	r := c.asked.Load()
	if r.URL.Path != "/v1/customers/"+canaryWho || r.URL.RawQuery != "mail=eve%2B1%40example.com&fixed=1" || r.Method != "GET" {
		t.Errorf("asked %s %s", r.Method, r.URL)
	}
	if got := r.Header.Get("Authorization"); got != "Bearer "+adaptertest.SecretOf("env:CRM") {
		t.Error("the secret was not sent")
	}

	// What is null or not there is absent, and a customer who is not known is no error.
	c.answer = says(`{"found":true,"plan":null,"balance":null}`)
	if got, err = d.Look(t.Context(), who()); err != nil || got.Unknown || len(got.Fields) != 0 || got.Tickets != nil {
		t.Errorf("an account of which nothing is known: %+v, %v", got, err)
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"not found":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
		"no content":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"found false": says(`{"found":false,"display":"x","cases":[{"no":1}]}`),
		"found null":  says(`{}`),
	} {
		c.answer = answer
		got, err := d.Look(t.Context(), who())
		if want := (message.Account{Subject: canaryWho, At: adaptertest.Epoch, Unknown: true}); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestPost(t *testing.T) {
	k := adaptertest.New(t, "crm")
	c := newCRM(t, says(`{"plan":"gold"}`))
	d := build(t, k, "url: "+c.URL+`/find
method: POST
request: {id: subject, shop: fields.shop, how: level}
response: {fields: {plan: body.plan}}
`)
	if _, err := d.Look(t.Context(), who()); err != nil {
		t.Fatal(err)
	}
	if got := *c.body.Load(); got != `{"how":"2fa","id":"`+canaryWho+`","shop":"north"}` || c.asked.Load().Header.Get("Content-Type") != "application/json" {
		t.Errorf("posted %s", got)
	}
}

// TestAsks: questions are equal when the same is sent for the same person, and nobody is asked for by what was not verified
// or cannot stand in the URL.
func TestAsks(t *testing.T) {
	k := adaptertest.New(t, "crm")
	d := build(t, k, "url: https://crm.example/c/{subject}/by?m={email}\nresponse: {name: body.n}\n")
	ask := func(subject, email string) string {
		q, ok := d.Asks(&message.Profile{Subject: subject, Email: email, Phone: "+1"})
		if ok != (q != "") {
			t.Errorf("%q %q: %q, %v", subject, email, q, ok)
		}
		if strings.Contains(q, canaryWho) {
			t.Error("the question names the customer")
		}
		return q
	}
	if first, again := ask(canaryWho, "a@b"), ask(canaryWho, "a@b"); first != again {
		t.Error("the same question is another")
	}
	seen := map[string]string{}
	for _, p := range [][2]string{{"1", "a"}, {"1", "b"}, {"2", "a"}, {"a|b", "c"}, {"1?m=x", "a"}, {"1%2F2", "a"}, {"1#", "a"}, {"1", "a&x=y"}, {"é", "a"}, {"..x", "a"}} {
		q := ask(p[0], p[1])
		if q == "" || seen[q] != "" {
			t.Errorf("%q is asked as %q is", p, seen[q])
		}
		seen[q] = fmt.Sprint(p)
	}
	for _, p := range [][2]string{{"1", ""}, {"", "a"}, {"../admin", "a"}, {"..", "a"}, {".", "a"}, {`a\b`, "a"}, {"a\nb", "a"}, {strings.Repeat("x", 400), "a"}, {"1", "a\x00"}} {
		if ask(p[0], p[1]) != "" {
			t.Errorf("%q is asked for", p)
		}
	}
	if _, ok := d.Asks(nil); ok {
		t.Error("nobody is asked for")
	}
	if _, err := d.Look(t.Context(), &message.Profile{Subject: "1"}); err == nil {
		t.Error("somebody is looked up by half of what it takes")
	}
}

// TestFaults: whatever a system does, a look ends in time with an error that says how, and nothing about whom.
func TestFaults(t *testing.T) {
	k := adaptertest.New(t, "crm")
	private := newCRM(t, says(`{"found":true,"display":"inner"}`))
	hang := make(chan struct{})
	defer close(hang)
	c := newCRM(t, nil)
	d := build(t, k, "url: "+c.URL+"/{subject}\nmax_response: 2000\n"+mapped)
	for name, f := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		kind   adapters.LookErrorKind
		status int
	}{
		"500": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, canaryWho, 500) }, adapters.LookStatus, 500},
		"401": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, adapters.LookStatus, 401},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, private.URL+r.URL.Path, http.StatusFound)
		}, adapters.LookStatus, 302},
		"no JSON":      {says(`<html>` + canaryWho), adapters.LookGarbage, 0},
		"half of JSON": {says(`{"found":tr`), adapters.LookGarbage, 0},
		"more JSON":    {says(`{"found":true} {}`), adapters.LookGarbage, 0},
		"nothing":      {says(``), adapters.LookGarbage, 0},
		"HTML": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `{"found":true}`)
		}, adapters.LookGarbage, 0},
		"compressed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			fmt.Fprint(w, `{}`)
		}, adapters.LookGarbage, 0},
		"huge": {says(`{"found":true,"x":"` + strings.Repeat("x", 3000) + `"}`), adapters.LookTooLarge, 0},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		}, adapters.LookTooLarge, 0},
		"a large header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 64<<10))
			fmt.Fprint(w, `{}`)
		}, adapters.LookUnreachable, 0},
		"broken off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"found":`)
		}, adapters.LookUnreachable, 0},
		"cut":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, adapters.LookUnreachable, 0},
		"a list":           {says(`[1,2]`), adapters.LookGarbage, 0},
		"known is a text":  {says(`{"found":"` + canaryWho + `"}`), adapters.LookGarbage, 0},
		"name is a number": {says(`{"found":true,"display":7}`), adapters.LookGarbage, 0},
		"a field is a map": {says(`{"found":true,"vip":{"a":"` + canaryWho + `"}}`), adapters.LookGarbage, 0},
		"cases is a text":  {says(`{"found":true,"cases":"x"}`), "", 0}, // mapping over it fails: absent
	} {
		c.answer = f.answer
		_, err := d.Look(t.Context(), who())
		var e *adapters.LookError
		if f.kind == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.As(err, &e) || e.Kind != f.kind || e.Status != f.status {
			t.Errorf("%s: %v, want %s", name, err, f.kind)
			continue
		}
		for _, secret := range []string{canaryWho, adaptertest.CanarySecret, "127.0.0.1"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error holds %q: %v", name, secret, err)
			}
		}
	}
	if private.asked.Load() != nil {
		t.Error("a redirect was followed")
	}

	// One that hangs, before or in the middle, is left behind when the caller's time is over.
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		},
		"hangs in the middle": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"found":`)
			w.(http.Flusher).Flush()
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		},
	} {
		c.answer = answer
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := d.Look(ctx, who())
		cancel()
		if e := new(adapters.LookError); !errors.As(err, &e) || e.Kind != adapters.LookTimeout {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.Close()
	c.answer = says(`{"found":true}`)
	if _, err := d.Look(t.Context(), who()); err == nil {
		t.Error("a directory that was closed answers")
	}
	if logs := k.Logs.String(); strings.Contains(logs, canaryWho) || strings.Contains(logs, adaptertest.CanarySecret) {
		t.Error("the log holds what it must not")
	}
}

// TestGuard: a name that resolves to a private address, whenever it does, is refused at the connection; so is the address
// itself. The control is a guard that allows it.
func TestGuard(t *testing.T) {
	c := newCRM(t, says(`{"n":"x"}`))
	_, port, err := net.SplitHostPort(c.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	closed := netguard.New(nil)
	open := netguard.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")})
	var dials atomic.Int32
	rebinds := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) == 1 { // the first answer of the name's server is an address that is allowed
			return open.Dial(ctx, network, addr)
		}
		return closed.Dial(ctx, network, addr)
	}
	section := func(host string) string {
		return "url: http://" + net.JoinHostPort(host, port) + "/{subject}\nresponse: {name: body.n}\n"
	}
	k := adaptertest.New(t, "crm")
	for _, host := range []string{"127.0.0.1", "localhost", "::1", "169.254.169.254"} {
		k.Deps.Dial = closed.Dial
		d := build(t, k, section(host))
		_, err := d.Look(t.Context(), who())
		if e := new(adapters.LookError); !errors.As(err, &e) || e.Kind != adapters.LookRefused || !errors.Is(err, netguard.ErrDenied) {
			t.Errorf("%s: %v", host, err)
		}
		if err := d.Reach(t.Context()); !errors.Is(err, netguard.ErrDenied) || !strings.HasPrefix(err.Error(), "url: ") {
			t.Errorf("%s: reached: %v", host, err)
		}
	}
	if c.asked.Load() != nil {
		t.Fatal("the server was asked")
	}
	k.Deps.Dial = rebinds
	d := build(t, k, section("localhost"))
	if _, err := d.Look(t.Context(), who()); err != nil {
		t.Fatalf("the first time: %v", err)
	}
	c.CloseClientConnections()
	if _, err := d.Look(t.Context(), who()); !errors.Is(err, netguard.ErrDenied) {
		t.Errorf("once the name means something else: %v", err)
	}
}

func TestReach(t *testing.T) {
	k := adaptertest.New(t, "crm")
	c := newCRM(t, says(`{"found":true}`))
	section := "url: " + c.URL + "/{subject}\nprobe: check-1\n" + mapped
	if err := build(t, k, section).Reach(t.Context()); err != nil || c.asked.Load().URL.Path != "/check-1" {
		t.Errorf("%v", err)
	}
	c.answer = says(`<html>`)
	if err := build(t, k, section).Reach(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "probe: ") {
		t.Errorf("an answer that nothing can be read of: %v", err)
	}
	c.asked.Store(nil)
	if err := build(t, k, "url: "+c.URL+"/{subject}\n"+mapped).Reach(t.Context()); err != nil || c.asked.Load() != nil {
		t.Errorf("without a probe: %v, or it was asked", err)
	}
	if err := build(t, k, "url: http://127.0.0.1:1/{subject}\n"+mapped).Reach(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "url: ") {
		t.Errorf("nobody there: %v", err)
	}
}

// TestSize: an account stays small whatever the system sends, because it is kept with every step of a conversation.
func TestSize(t *testing.T) {
	k := adaptertest.New(t, "crm")
	long := strings.Repeat("é", 5000)
	var cases []string
	for i := range 100 {
		cases = append(cases, fmt.Sprintf(`{"no":"%d","title":"%s","state":"%s","link":"https://x.example/%s"}`, i, long, long, strings.Repeat("y", 900)))
	}
	c := newCRM(t, says(`{"found":true,"display":"`+long+`","vip":"`+long+`","cases":[`+strings.Join(cases, ",")+`]}`))
	d := build(t, k, "url: "+c.URL+"/{subject}\nmax_response: 4194304\nmax_tickets: 20\n"+mapped)
	a, err := d.Look(t.Context(), who())
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Tickets) == 0 || len(a.Tickets) >= 20 || a.Tickets[0].ID != "0" {
		t.Errorf("%d tickets", len(a.Tickets))
	}
	if len(a.Name) > 256 || !strings.HasSuffix(a.Name, "é") || len(a.Fields["vip"].(string)) > 256 {
		t.Error("a text is longer than it may be, or cut within a character")
	}
}

func TestSections(t *testing.T) {
	k := adaptertest.New(t, "crm")
	ok := "response: {name: body.n}\n"
	for section, want := range map[string]string{
		"":                                      "url: is missing",
		"url: https://x.example/{subject}\n":    "response: maps nothing",
		"url: ftp://x.example/{subject}\n" + ok: "url: must begin with http",
		"url: https://u:secret@x.example/{subject}\n" + ok:                                 "url: must not hold credentials",
		"url: https://{subject}.example/\n" + ok:                                           "url: ",
		"url: https://x.example/{name}\n" + ok:                                             "url: in braces stand subject",
		"url: https://x.example/{subject\n" + ok:                                           "url: in braces stand subject",
		"url: https://x.example/\n" + ok:                                                   "url: says nothing of whom",
		"url: https://x.example/{subject}\nmethod: DELETE\n" + ok:                          "method: must be",
		"url: https://x.example/{subject}\nrequest: {a: subject}\n" + ok:                   "request: is the body of a POST",
		"url: https://x.example/\nmethod: POST\nrequest: {a: address}\n" + ok:              "request.a: ",
		"url: https://x.example/{subject}\nmax_tickets: 50\n" + ok:                         "max_tickets: must lie",
		"url: https://x.example/{subject}\nresponse: {fields: {a-b: body.x}}\n":            "response.fields: a name",
		"url: https://x.example/{subject}\nresponse: {fields: {a: 'body.('}}\n":            "response.fields.a: ",
		"url: https://x.example/{subject}\nresponse: {tickets: 'nobody'}\n":                "response.tickets: ",
		"url: https://x.example/{subject}\nheaders: {Authorization: literal}\n" + ok:       "headers.Authorization: carries a secret",
		"url: https://x.example/{subject}\nheaders: {Authorization: 'env:MISSING'}\n" + ok: "headers.Authorization: ",
		"url: https://x.example/{subject}\nheaders: {Accept: text/html}\n" + ok:            "headers.Accept: is set by turnout",
	} {
		d, err := profile.New(adaptertest.YAML(section), k.Deps)
		if err == nil {
			d.Close()
			t.Errorf("built:\n%s", section)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%v, want %q in it, for\n%s", err, want, section)
		}
	}
	fields := []string{}
	for i := range 33 {
		fields = append(fields, fmt.Sprintf("f%d: body.x", i))
	}
	slices.Sort(fields)
	if _, err := profile.New(adaptertest.YAML("url: https://x.example/{subject}\nresponse: {fields: {"+strings.Join(fields, ", ")+"}}\n"), k.Deps); err == nil {
		t.Error("33 fields are let through")
	}
}

func TestDirectory(t *testing.T) {
	adaptertest.Directory(t, adaptertest.DirectorySuite{
		New: func(t testing.TB, k *adaptertest.Kit, url string) adapters.Directory {
			d, err := profile.New(adaptertest.YAML("url: "+url+"/{subject}\n"+mapped), k.Deps)
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		Known: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"found":true,"display":"Ada"}`)
		},
		Unknown: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) },
	})
}
