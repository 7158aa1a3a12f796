package hostile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
)

// mirror is a channel that writes down each request as it understood it.
type mirror struct {
	adapters.Deps
	*sightings
}

func (m *mirror) Close() error { return nil }

func (m *mirror) Routes() []adapters.Route {
	see := func(ctx *fasthttp.RequestCtx) {
		m.see(string(ctx.QueryArgs().Peek("case")), string(ctx.Method()), string(ctx.RequestURI()), string(ctx.PostBody()))
	}
	return []adapters.Route{{Method: "GET", Path: "/v1/web/" + m.Key, Handler: see}, {Method: "POST", Path: "/v1/web/" + m.Key, Handler: see}}
}

// sightings are the requests that a server has seen, by case.
type sightings struct {
	mu   sync.Mutex
	seen map[string][]string
}

func (s *sightings) see(id, method, uri, body string) {
	_, query, _ := strings.Cut(uri, "?")
	query, _, _ = strings.Cut(query, "&")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[id] = append(s.seen[id], fmt.Sprintf("%s %s %q", method, query, body))
}

func (s *sightings) of(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen[id])
}

func newSightings() *sightings { return &sightings{seen: map[string][]string{}} }

// ServeHTTP is the same for net/http.
func (s *sightings) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	s.see(r.URL.Query().Get("case"), r.Method, r.RequestURI, string(body))
}

const mirrorParts = `
{kind: channel, tenant: acme, name: mirror, spec: {adapter: mirror}}
`

func startMirror(t *testing.T, limits string) (*world, *sightings) {
	t.Helper()
	seen := newSightings()
	w := start(t, setup{limits: limits, extra: mirrorParts, registry: func(r *adapters.Registry) {
		r.AddChannel("mirror", func(_ adapters.Spec, d adapters.Deps) (adapters.Channel, error) { return &mirror{d, seen}, nil })
	}})
	return w, seen
}

// bytesOf is the case with its number in every query, and the last request behind it.
func (c exchangeCase) bytesOf(id string) string {
	raw := c.raw
	if c.want != ended && !strings.HasPrefix(c.name, "cut short") {
		raw += "GET" + fmt.Sprintf(requestHead, "next") + "Connection: close\r\n\r\n"
	}
	return strings.NewReplacer("?a", "?a&case="+id, "?b", "?b&case="+id, "?next", "?next&case="+id, "?smuggled", "?smuggled&case="+id).Replace(raw)
}

// play sends a case and returns the statuses of the answers until the server hangs up. A client that has nothing more to
// say says so (half), except to proxies, which would take it as gone.
func play(t *testing.T, addr, raw string, half bool) (statuses []int, closed bool) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return nil, false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, raw); err == nil && half {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	r := bufio.NewReader(conn)
	for {
		a, err := read(r, "GET")
		var late net.Error
		switch {
		case err == nil:
			statuses = append(statuses, a.status)
		case errors.As(err, &late) && late.Timeout():
			return statuses, false
		case strings.Contains(err.Error(), "malformed HTTP"):
			return append(statuses, 0), true // an answer as before HTTP/1.0: a body and nothing else
		default:
			return statuses, true
		}
	}
}

// fault says what is wrong with how a case was understood, compared with another server's understanding; empty: nothing.
// The gateway may see fewer requests than others, never more, nor others.
func fault(ours, theirs []string) string {
	if slices.ContainsFunc(ours, func(s string) bool { return strings.Contains(s, "smuggled") }) {
		return "a request was smuggled"
	}
	if len(ours) > len(theirs) || !slices.Equal(ours, theirs[:len(ours)]) {
		return "requests were seen that are not there"
	}
	return ""
}

// TestSmuggling: whatever can be read in two ways is refused, and the connection with it; what is fine is read as net/http
// reads it, and never is there a request that net/http does not see.
func TestSmuggling(t *testing.T) {
	w, ours := startMirror(t, "")
	theirs := newSightings()
	std := httptest.NewServer(theirs)
	defer std.Close()
	cases := corpus()
	if len(cases) < 200 {
		t.Fatalf("only %d cases", len(cases))
	}
	lax := 0 // what net/http takes and the gateway does not
	for i, c := range cases {
		id := fmt.Sprint(i)
		statuses, closed := play(t, w.addr, c.bytesOf(id), true)
		std, _ := play(t, std.Listener.Addr().String(), c.bytesOf(id), true)
		mine, other := ours.of(id), theirs.of(id)
		if why := fault(mine, other); why != "" && c.want != lenient && c.want != lastHere {
			t.Errorf("%s: %s: %q, net/http: %q", c.name, why, mine, other)
		}
		good := closed
		switch c.want {
		case refusal:
			good = good && len(mine) == 0 && len(statuses) == 1 && statuses[0]/100 == 4
			if len(other) > 0 {
				lax++
			}
		case ended:
			good = good && len(mine) == 0
		case whole:
			good = good && len(mine) > 1 && slices.Equal(mine, other)
		case last:
			good = good && len(mine) == 1 && len(statuses) == 1
		case lastHere:
			good = good && len(mine) == 1 && mine[0] == `POST a "hello"` && len(statuses) == 1
		case lenient:
			good = good && slices.Equal(mine, []string{`GET a ""`, `GET next ""`})
		}
		if !good {
			t.Errorf("%s: answered with %v, closed: %v, seen as %q; net/http: %v, %q", c.name, statuses, closed, mine, std, other)
		}
	}
	t.Logf("%d cases, of which net/http takes %d that are refused here", len(cases), lax)
}

// TestSmugglingIsNoticed is the control: understandings that differ are told apart.
func TestSmugglingIsNoticed(t *testing.T) {
	theirs := []string{`POST a "hello"`, `GET next ""`}
	for name, ours := range map[string][]string{
		"one more": {`POST a "hello"`, `GET next ""`, `GET x ""`}, "another body": {`POST a "hell"`}, "another method": {`GET a "hello"`},
		"another order": {`GET next ""`}, "smuggled": {`POST a "hello"`, `GET smuggled ""`},
	} {
		if fault(ours, theirs) == "" {
			t.Errorf("%s is not noticed", name)
		}
	}
	for _, ours := range [][]string{nil, theirs[:1], theirs} {
		if why := fault(ours, theirs); why != "" {
			t.Errorf("%q: %s", ours, why)
		}
	}
	for name, ours := range map[string][]string{"one more": append(theirs, `GET x ""`), "another body": {`POST a "hell"`}, "smuggled": {`GET smuggled ""`}} {
		if beyond(ours, theirs, 5) == "" {
			t.Errorf("behind a proxy, %s is not noticed", name)
		}
	}
	if beyond(theirs, theirs, 1) == "" || beyond(theirs[1:], theirs, 1) != "" {
		t.Error("behind a proxy, the number of answers does not count")
	}
}
