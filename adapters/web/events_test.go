package web_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
)

// frame is one event of a stream.
type frame struct{ id, event, data string }

type sse struct {
	resp *http.Response
	r    *bufio.Reader
}

func openStream(t testing.TB, s *adaptertest.Server, req *http.Request) *sse {
	t.Helper()
	resp, err := s.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("stream: %d %v", resp.StatusCode, resp.Header)
	}
	return &sse{resp: resp, r: bufio.NewReader(resp.Body)}
}

// next returns the next event; comments are passed over.
func (s *sse) next(t testing.TB) frame {
	t.Helper()
	f, err := s.read()
	if err != nil {
		t.Fatalf("reading the stream: %v", err)
	}
	return f
}

func (s *sse) read() (frame, error) {
	var f frame
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return f, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			f.id = value
		case "event":
			f.event = value
		case "data":
			f.data = value
		case "":
			if f.event != "" {
				return f, nil
			}
		}
	}
}

func TestEventStream(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	said := post(t, s, sess.Token, "1", "hi")
	stream := openStream(t, s, request(s, "GET", api+"/events", sess.Token, nil))
	for i := range 2 {
		if f := stream.next(t); f.event != "message" || f.id != fmt.Sprintf("%s.%d", said.Conversation, i+1) || !strings.Contains(f.data, "hi") {
			t.Errorf("replayed %+v", f)
		}
	}
	k.World.SetOwner(addressOf(sess), message.Owner{Kind: message.OwnerAgent, Name: "Bea"})
	if f := stream.next(t); f.event != "owner" || !strings.Contains(f.data, `"Bea"`) {
		t.Errorf("owner %+v", f)
	}
	k.World.Signal(addressOf(sess), adapters.Signal{Typing: true, By: message.ByAgent, Name: "Bea"})
	if f := stream.next(t); f.event != "typing" || f.id != "" || !strings.Contains(f.data, `"on":true`) {
		t.Errorf("typing %+v", f)
	}
	k.World.Signal(addressOf(sess), adapters.Signal{Position: 3})
	if f := stream.next(t); f.event != "position" || !strings.Contains(f.data, `"position":3`) {
		t.Errorf("position %+v", f)
	}
	k.World.Signal(addressOf(sess), adapters.Signal{Read: 2})
	if f := stream.next(t); f.event != "read" || !strings.Contains(f.data, said.Conversation+".2") {
		t.Errorf("read %+v", f)
	}
	for i := range 300 {
		k.World.Say(addressOf(sess), message.ByAgent, message.Part{Text: fmt.Sprint("line ", i)})
	}
	for i := range 300 {
		if f := stream.next(t); f.id != fmt.Sprintf("%s.%d", said.Conversation, i+4) {
			t.Fatalf("event %d has id %s", i, f.id)
		}
	}

	resumed := request(s, "GET", api+"/events?after="+said.Conversation+".1", sess.Token, nil)
	resumed.Header.Set("Last-Event-ID", said.Conversation+".302")
	if f := openStream(t, s, resumed).next(t); f.id != said.Conversation+".303" {
		t.Errorf("resumed at %s", f.id)
	}

	refused(t, s, request(s, "GET", api+"/events", sess.Token, nil), 429, "rate_limited")
	refused(t, s, request(s, "GET", api+"/events?after=nonsense", sess.Token, nil), 404, "not_found")
	s.Stop()
	if _, err := stream.read(); err == nil {
		t.Error("the stream outlived the channel")
	}
	if n := k.World.Watches(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}

func TestTickets(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	post(t, s, sess.Token, "1", "hi")
	ticket := func() string {
		var out struct{ Ticket string }
		call(t, s, request(s, "POST", api+"/ticket", sess.Token, nil), 200, &out)
		return out.Ticket
	}
	one := ticket()
	at := func(ticket string) *http.Request {
		req := request(s, "GET", api+"/events?ticket="+ticket, "", nil)
		req.Header.Set("Origin", origin)
		return req
	}
	stream := openStream(t, s, at(one))
	if stream.resp.Header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("headers %v", stream.resp.Header)
	}
	stream.next(t)
	refused(t, s, at(one), 401, "unauthenticated")
	refused(t, s, at(sess.Token), 401, "unauthenticated")
	refused(t, s, request(s, "GET", api+"/events?token="+sess.Token, "", nil), 401, "unauthenticated")
	late := ticket()
	k.Clock.Advance(61 * time.Second)
	refused(t, s, at(late), 401, "unauthenticated")
}
