package adaptertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Fault is what a Provider does with one request.
type Fault string

// The faults. In those that take, the provider has the message, whatever its caller learns.
const (
	Take       Fault = "take"        // it takes the message and says so
	Throttle   Fault = "throttle"    // 429, Retry-After: 7
	Busy       Fault = "busy"        // 503 without more
	Crash      Fault = "crash"       // 500
	BadGateway Fault = "bad gateway" // 502 of somebody in between
	Hang       Fault = "hang"        // it never answers
	Drop       Fault = "drop"        // it takes the message and breaks the connection before an answer
	Cut        Fault = "cut"         // it takes the message, says so, and breaks the connection in the middle of the body
	Refuse     Fault = "refuse"      // this message, for good
	Lock       Fault = "lock"        // the credentials are wrong
	Redirect   Fault = "redirect"    // to another path of its own
	Garbage    Fault = "garbage"     // no HTTP
)

// Takes reports whether the provider has the message after a fault.
func (f Fault) Takes() bool { return f == Take || f == Drop || f == Cut }

// Wire is a message as it was on the wire.
type Wire struct {
	ID, To, Text string
	// Key is the idempotency key; empty where the protocol has none.
	Key     string
	Attempt int
	Retry   bool
	Part    []byte // the whole body
}

// Provider is a server in a provider's place: it remembers what was on the wire and does what it is told with each request.
// What it does is told by its own faults; how it says so by the adapter's test. It is safe for concurrent use.
type Provider struct {
	URL  string
	read func(r *http.Request, body []byte) (Wire, bool)
	take func(w http.ResponseWriter, m Wire)

	mu      sync.Mutex
	faults  []Fault // of the next requests; then fault
	fault   Fault
	wire    []Wire
	taken   map[string]int
	strange int // requests that were no message
	arrived chan struct{}
	release chan struct{}
}

// NewProvider starts a provider whose messages read makes out of requests and whose answer take writes. It ends with the test.
func NewProvider(t testing.TB, read func(*http.Request, []byte) (Wire, bool), take func(http.ResponseWriter, Wire)) *Provider {
	t.Helper()
	p := &Provider{
		read: read, take: take, fault: Take, taken: map[string]int{}, arrived: make(chan struct{}, 1024), release: make(chan struct{}),
	}
	s := httptest.NewServer(http.HandlerFunc(p.serve))
	p.URL = s.URL
	t.Cleanup(func() {
		close(p.release)
		s.CloseClientConnections()
		s.Close()
	})
	return p
}

// Next sets what happens to the next requests; after them, to all others what Always says.
func (p *Provider) Next(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = faults
}

// Always sets what happens to every request from now on.
func (p *Provider) Always(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.fault = nil, f
}

// Wire returns the messages that were on the wire, in order, taken or not.
func (p *Provider) Wire() []Wire {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Wire(nil), p.wire...)
}

// Taken returns how often the provider has the message with an id.
func (p *Provider) Taken(id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken[id]
}

// Strange returns the number of requests that were no message.
func (p *Provider) Strange() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.strange
}

// Arrived gets a value for every request.
func (p *Provider) Arrived() <-chan struct{} { return p.arrived }

func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m, ok := p.read(r, body)
	f := p.next(m, ok)
	select {
	case p.arrived <- struct{}{}:
	default:
	}
	if !ok {
		http.Error(w, "no message", http.StatusNotFound)
		return
	}
	p.answer(w, r, m, f)
}

// next remembers a request and says what happens to it.
func (p *Provider) next(m Wire, ok bool) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !ok {
		p.strange++
		return Take
	}
	f := p.fault
	if len(p.faults) > 0 {
		f, p.faults = p.faults[0], p.faults[1:]
	}
	p.wire = append(p.wire, m)
	if f.Takes() {
		p.taken[m.ID]++
	}
	return f
}

func (p *Provider) answer(w http.ResponseWriter, r *http.Request, m Wire, f Fault) {
	status := 0
	switch f {
	case Take:
		p.take(w, m)
	case Throttle:
		w.Header().Set("Retry-After", "7")
		status = http.StatusTooManyRequests
	case Busy:
		status = http.StatusServiceUnavailable
	case Crash:
		status = http.StatusInternalServerError
	case BadGateway:
		status = http.StatusBadGateway
	case Refuse:
		status = http.StatusUnprocessableEntity
	case Lock:
		status = http.StatusUnauthorized
	case Hang:
		select {
		case <-p.release:
		case <-r.Context().Done():
		}
	case Redirect:
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	case Cut:
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, `{"id":`)
		_ = http.NewResponseController(w).Flush()
		hangUp(w, "")
	case Drop:
		hangUp(w, "")
	case Garbage:
		hangUp(w, CanaryText+"\r\n\r\n")
	}
	if status != 0 {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":"`+CanaryText+`"}`)
	}
}

func hangUp(w http.ResponseWriter, last string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = io.WriteString(conn, last)
		conn.Close()
	}
}
