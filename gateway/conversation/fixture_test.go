package conversation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
)

var address = message.Address{Channel: "acme.web", Address: "v_1"}

var (
	customer   = conv.Actor{Kind: conv.Customer, ID: "v_1"}
	bot        = conv.Actor{Kind: conv.Bot, ID: "legacy"}
	ann        = conv.Actor{Kind: conv.Agent, ID: "ann"}
	ben        = conv.Actor{Kind: conv.Agent, ID: "ben"}
	supervisor = conv.Actor{Kind: conv.Supervisor, ID: "sue"}
	system     = conv.Actor{Kind: conv.System}
)

// canary is the text of every note that tests write. It must never be seen by a customer.
const canary = "canary-4711"

// full reports whether tests run at the number of cases that the issue of a release asks for, not at their floor.
func full() bool { return os.Getenv("TURNOUT_SCALE") == "full" }

func inbound(id, text string) message.Inbound {
	return message.Inbound{ID: "client-" + id, From: address, Kind: message.Text, Text: text}
}

func said(id string, by message.By, text string) conv.Sent {
	return conv.Sent{ID: id, By: by, Part: message.Part{Text: text}}
}

func handoff(rule, queue string, priority int) conv.Handoff {
	return conv.Handoff{Rule: rule, Queue: queue, Priority: priority}
}

// script is a conversation that a test writes down command by command. Each do is a commit of its own.
type script struct {
	t      testing.TB
	state  conv.State
	events []conv.Event
	now    int64
	ops    int
}

func newScript(t testing.TB) *script { return &script{t: t, now: 1_700_000_000_000} }

func (s *script) do(a conv.Actor, cs ...conv.Command) {
	s.t.Helper()
	if err := s.try(a, cs...); err != nil {
		s.t.Fatalf("doing %+v: %v", cs, err)
	}
}

func (s *script) try(a conv.Actor, cs ...conv.Command) error {
	s.now += 1000
	s.ops++
	d := conv.Begin(&s.state, conv.Env{Now: s.now, Op: fmt.Sprintf("op-%d", s.ops), Actor: a})
	for _, c := range cs {
		if err := d.Do(c); err != nil {
			return err
		}
	}
	s.state, s.events = d.State, append(s.events, d.Events...)
	return nil
}

// last returns the types of the last n events.
func (s *script) last(n int) []conv.Type {
	var types []conv.Type
	for _, e := range s.events[len(s.events)-n:] {
		types = append(types, e.Type)
	}
	return types
}

// errorName is the short name that tables use for an error of a command.
func errorName(err error) string {
	var claimed *conv.ClaimedError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &claimed):
		return "claimed by " + claimed.Winner.Agent
	}
	for name, known := range map[string]error{
		"stale": conv.ErrStale, "closed": conv.ErrClosed, "not owner": conv.ErrNotOwner, "return limit": conv.ErrReturnLimit,
		"must reach human": conv.ErrMustReachHuman, "nothing": conv.ErrNothing, "invalid": conv.ErrInvalid,
	} {
		if errors.Is(err, known) {
			return name
		}
	}
	return err.Error()
}

func asJSON(t interface{ Fatalf(string, ...any) }, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("encoding %T: %v", v, err)
	}
	return string(b)
}
