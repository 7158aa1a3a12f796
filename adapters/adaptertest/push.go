package adaptertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/adapters/netguard"
)

// PushSuite describes a push channel to the suite.
type PushSuite struct {
	Build adapters.NewChannel
	// Spec returns a section for a channel whose provider is at url.
	Spec func(url string) YAML
	// Read makes a message out of a request to the provider; ok is false when it is none. Take answers as the provider
	// does that has taken it.
	Read func(r *http.Request, body []byte) (m Wire, ok bool)
	Take func(w http.ResponseWriter, m Wire)
	// ProviderID says that the provider has an id of its own for each message, and that Take gives it.
	ProviderID bool
	// Retries maps faults to what the channel has to make of them where it differs from what most do.
	Classes map[Fault]adapters.SendClass
	// Report returns the request by which the provider reports on a message; nil for a provider that reports nothing.
	Report func(t testing.TB, s *Server, r message.Report) *http.Request
	// Forge makes a request of Report one that somebody else sent.
	Forge func(r *http.Request)
}

// OutboundOf returns a message to customer who.
func OutboundOf(who int, id, text string) message.Outbound {
	return message.Outbound{
		ID: id, To: message.Address{Channel: "acme.test", Address: fmt.Sprintf("customer-%d", who)}, By: message.ByBot,
		Part: message.Part{Text: text}, Attempt: 1,
	}
}

type pushed struct {
	*Kit
	channel  adapters.Channel
	sender   adapters.Sender
	provider *Provider
}

func (s PushSuite) start(t *testing.T) pushed {
	t.Helper()
	p := pushed{Kit: New(t, "acme.test"), provider: NewProvider(t, s.Read, s.Take)}
	ch, err := s.Build(s.Spec(p.provider.URL), p.Deps)
	if err != nil {
		t.Fatalf("building the channel: %v", err)
	}
	t.Cleanup(func() { _ = ch.Close() })
	sender, ok := ch.(adapters.Sender)
	if !ok {
		t.Fatal("the channel has not the add-on Sender")
	}
	p.channel, p.sender = ch, sender
	return p
}

func (p pushed) send(ctx context.Context, out message.Outbound) (message.Receipt, error) {
	return p.sender.Send(ctx, out)
}

// failure makes sure that an error is a SendError which gives nothing away.
func (p pushed) failure(t *testing.T, err error) *adapters.SendError {
	t.Helper()
	var e *adapters.SendError
	if !errors.As(err, &e) {
		t.Fatalf("%v is no SendError", err)
	}
	if e.Code == "" || strings.ContainsAny(e.Code, " \n") || len(e.Code) > 64 {
		t.Errorf("code %q is no short code", e.Code)
	}
	p.AssertQuiet(t, err.Error(), "customer-", p.provider.URL)
	return e
}

// Push checks what every push channel has to do when it sends. What it does as a channel Channel checks.
func Push(t *testing.T, suite PushSuite) {
	t.Run("what is said arrives as it was said", func(t *testing.T) {
		p := suite.start(t)
		rec, err := p.send(t.Context(), OutboundOf(0, "m_1", "Grüße 👋🏽,\nline two"))
		if err != nil {
			t.Fatal(err)
		}
		wire := p.provider.Wire()
		if len(wire) != 1 || wire[0].ID != "m_1" || wire[0].To != "customer-0" || wire[0].Text != "Grüße 👋🏽,\nline two" {
			t.Fatalf("on the wire: %+v", wire)
		}
		if (rec.ProviderID != "") != suite.ProviderID {
			t.Errorf("receipt %+v", rec)
		}
		if pol := p.sender.Policy(); pol.Idempotent && wire[0].Key != "m_1" {
			t.Errorf("idempotency key %q", wire[0].Key)
		}
		p.AssertQuiet(t, "")
	})

	t.Run("a second attempt is the same message, and says so", func(t *testing.T) {
		p := suite.start(t)
		out := OutboundOf(0, "m_1", "again")
		out.Attempt, out.Retry = 2, true
		if _, err := p.send(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		if w := p.provider.Wire()[0]; w.ID != "m_1" || w.Attempt != 0 && w.Attempt != 2 || w.Attempt == 2 && !w.Retry {
			t.Errorf("on the wire: %+v", w)
		}
	})

	t.Run("messages are not mixed up", func(t *testing.T) {
		p := suite.start(t)
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				if _, err := p.send(context.Background(), OutboundOf(i, fmt.Sprint("m_", i), fmt.Sprint("text ", i))); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, w := range p.provider.Wire() {
			var n int
			if _, err := fmt.Sscanf(w.ID, "m_%d", &n); err != nil || w.Text != fmt.Sprint("text ", n) || w.To != fmt.Sprint("customer-", n) {
				t.Errorf("on the wire: %+v", w)
			}
		}
	})

	t.Run("failures have their class", suite.classes)
	t.Run("one attempt, on a new connection and on one that was used before", suite.oneAttempt)

	t.Run("a deadline ends the send, which is uncertain", func(t *testing.T) {
		p := suite.start(t)
		p.provider.Always(Hang)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := p.send(ctx, OutboundOf(0, "m_1", CanaryText))
		if e := p.failure(t, err); !e.Uncertain {
			t.Errorf("%+v: the provider may have it", e)
		}
	})

	t.Run("without a connection nothing was sent", func(t *testing.T) {
		k := New(t, "acme.test")
		ch, err := suite.Build(suite.Spec("http://127.0.0.1:1"), k.Deps)
		if err != nil {
			t.Fatal(err)
		}
		defer ch.Close()
		_, err = ch.(adapters.Sender).Send(t.Context(), OutboundOf(0, "m_1", CanaryText))
		p := pushed{Kit: k, provider: &Provider{URL: "127.0.0.1:1/"}}
		if e := p.failure(t, err); e.Uncertain || e.Class != adapters.SendRetry {
			t.Errorf("%+v", e)
		}
	})

	t.Run("an address that the guard denies is the operator's to mend", func(t *testing.T) {
		p := suite.start(t)
		k := New(t, "acme.test")
		k.Deps.Dial = netguard.New(nil).Dial
		ch, err := suite.Build(suite.Spec(p.provider.URL), k.Deps)
		if err != nil {
			t.Fatal(err)
		}
		defer ch.Close()
		_, err = ch.(adapters.Sender).Send(t.Context(), OutboundOf(0, "m_1", CanaryText))
		if e := p.failure(t, err); e.Uncertain || e.Class != adapters.SendOperator {
			t.Errorf("%+v", e)
		}
		if len(p.provider.Wire()) != 0 {
			t.Error("the provider was reached")
		}
	})

	t.Run("Close works twice, ends running sends and leaves nothing running", func(t *testing.T) {
		before := goleak.IgnoreCurrent()
		func() {
			k := New(t, "acme.test")
			served := make(chan struct{})
			done := make(chan error)
			t.Run("inside", func(t *testing.T) {
				provider := NewProvider(t, suite.Read, suite.Take)
				provider.Always(Hang)
				ch, err := suite.Build(suite.Spec(provider.URL), k.Deps)
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					_, err := ch.(adapters.Sender).Send(context.Background(), OutboundOf(0, "m_1", CanaryText))
					done <- err
				}()
				<-provider.Arrived()
				for range 2 {
					if err := ch.Close(); err != nil {
						t.Error(err)
					}
				}
				p := pushed{Kit: k, provider: provider}
				if e := p.failure(t, <-done); !e.Uncertain {
					t.Errorf("what was cut off: %+v", e)
				}
				_, err = ch.(adapters.Sender).Send(context.Background(), OutboundOf(0, "m_2", CanaryText))
				if e := p.failure(t, err); e.Uncertain || e.Class != adapters.SendRetry {
					t.Errorf("after the close: %+v", e)
				}
				close(served)
			})
			<-served
		}()
		VerifyNoLeak(t, before)
	})

	if suite.Report != nil {
		t.Run("reports are handed in", suite.reports)
	}
}

// classes sends into every fault.
func (s PushSuite) classes(t *testing.T) {
	for fault, want := range map[Fault]struct {
		class     adapters.SendClass
		uncertain bool
		wait      time.Duration
	}{
		Throttle:   {class: adapters.SendRetry, wait: 7 * time.Second},
		Busy:       {class: adapters.SendRetry},
		Crash:      {uncertain: true},
		BadGateway: {uncertain: true},
		Drop:       {uncertain: true},
		Garbage:    {uncertain: true},
		Refuse:     {class: adapters.SendPermanent},
		Lock:       {class: adapters.SendOperator},
		Redirect:   {class: adapters.SendOperator},
	} {
		t.Run(string(fault), func(t *testing.T) {
			p := s.start(t)
			p.provider.Next(fault)
			_, err := p.send(t.Context(), OutboundOf(0, "m_1", CanaryText))
			e := p.failure(t, err)
			if class, ok := s.Classes[fault]; ok {
				want.class, want.uncertain = class, false
			}
			if e.Uncertain != want.uncertain || !want.uncertain && e.Class != want.class || e.RetryAfter != want.wait {
				t.Errorf("%+v, want %+v", e, want)
			}
			if want.wait > 0 && !e.Channel {
				t.Error("the provider means the whole channel")
			}
			if n := p.provider.Strange(); n != 0 {
				t.Errorf("%d more requests: a redirect was followed", n)
			}
			if _, err := p.send(t.Context(), OutboundOf(0, "m_1", CanaryText)); err != nil {
				t.Errorf("when the provider is well again: %v", err)
			}
		})
	}
	t.Run(string(Cut), func(t *testing.T) {
		p := s.start(t)
		p.provider.Next(Cut)
		if _, err := p.send(t.Context(), OutboundOf(0, "m_1", CanaryText)); err != nil {
			if e := p.failure(t, err); !e.Uncertain {
				t.Errorf("%+v: the provider said that it took it", e)
			}
		}
	})
}

// oneAttempt looks that no fault is repeated behind the outbox's back.
func (s PushSuite) oneAttempt(t *testing.T) {
	for _, fault := range []Fault{Drop, Busy, Crash, Throttle, Cut, Garbage} {
		for _, used := range []int{0, 1} {
			p := s.start(t)
			for range used {
				if _, err := p.send(t.Context(), OutboundOf(0, "m_0", "first")); err != nil {
					t.Fatal(err)
				}
			}
			p.provider.Always(fault)
			_, _ = p.send(t.Context(), OutboundOf(0, "m_1", "x"))
			if n := len(p.provider.Wire()); n != used+1 {
				t.Errorf("%s after %d sends: %d requests for one send", fault, used, n-used)
			}
		}
	}
}

// reports lets the provider report.
func (s PushSuite) reports(t *testing.T) {
	p := s.start(t)
	server := Serve(t, p.channel)
	out := OutboundOf(0, "m_1", "hello")
	rec, err := p.send(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	p.World.Sent(out, rec)
	report := func(r message.Report, forge bool) (*http.Response, string) {
		t.Helper()
		req := s.Report(t, server, r)
		if forge {
			s.Forge(req)
		}
		resp, body := server.Do(t, req)
		p.AssertQuiet(t, string(body), "customer-")
		return resp, codeOf(body)
	}
	for _, status := range []message.Status{message.Delivered, message.Delivered, message.Read, message.Failed} {
		if resp, code := report(message.Report{To: out.To, ID: out.ID, ProviderID: rec.ProviderID, Status: status}, false); resp.StatusCode/100 != 2 {
			t.Errorf("%s: %d %s", status, resp.StatusCode, code)
		}
	}
	got := p.World.Reports()
	if len(got) != 4 || got[0].Status != message.Delivered || got[2].Status != message.Read || got[3].Status != message.Failed || got[0].To != out.To {
		t.Errorf("reported: %+v", got)
	}
	p.World.Fail(adapters.ErrUnavailable)
	if resp, code := report(message.Report{To: out.To, ID: out.ID, ProviderID: rec.ProviderID, Status: message.Read}, false); resp.StatusCode != 503 {
		t.Errorf("while the store fails: %d %s", resp.StatusCode, code)
	}
	p.World.Fail(nil)
	if s.Forge != nil {
		if resp, code := report(message.Report{To: out.To, ID: out.ID, ProviderID: rec.ProviderID, Status: message.Read}, true); resp.StatusCode != 401 && resp.StatusCode != 403 {
			t.Errorf("somebody else's report: %d %s", resp.StatusCode, code)
		}
	}
	if n := len(p.World.Reports()); n != 4 {
		t.Errorf("%d reports were handed in", n)
	}
}
