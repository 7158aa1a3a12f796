package admin

import (
	"context"
	"slices"
	"time"

	"turnout/gateway/api"
	"turnout/gateway/conversation"
	"turnout/gateway/exchange"
	"turnout/gateway/rulebook"
	"turnout/gateway/store"
	"turnout/rules"
)

// mostEvents bounds the log of a conversation that is explained, mostTraces the rules times the exchanges of one answer.
const (
	mostEvents = 20_000
	mostTraces = 20_000
)

// explained is one judgement of a conversation, explained.
type explained struct {
	Seq     uint64    `json:"seq"`
	At      time.Time `json:"at"`
	Turn    string    `json:"turn,omitempty"`
	Version int       `json:"version"`
	// Agrees is set when the rules come to what was recorded; Recorded is that, where they do not.
	Agrees   bool     `json:"agrees"`
	Recorded []string `json:"recorded,omitempty"`
	Tripped  []string `json:"tripped,omitempty"`
	*rules.Explanation
}

// explanations are those of a conversation.
type explanations struct {
	Exchanges []explained `json:"exchanges"`
	// Complete is false for a conversation too long to be explained as a whole in one answer.
	Complete bool `json:"complete"`
}

// getExplain explains the judgements of a conversation: all, or the one of seq, with all rules or with one.
func (r Rules) getExplain(c *api.Call, b *rulebook.Book) (any, error) {
	seq, err := c.Number("seq", 1<<62)
	if err != nil {
		return nil, err
	}
	events, err := r.events(c.Context(), store.Ref{Tenant: c.Tenant(), ID: c.Param("id")})
	if err != nil {
		return nil, err
	}
	recorded, err := exchange.Read(events)
	if err != nil {
		return nil, err
	}
	// Who may read conversations sees the values; the others see how the rules came to their results.
	whole := c.Role() == api.RoleOwner || c.Role() == api.RoleSupervisor
	if whole {
		if err := c.Record("rules.explained", c.Param("id")); err != nil {
			return nil, err
		}
	}
	complete := len(events) < mostEvents
	rule := c.Query("rule")
	if seq != 0 {
		recorded = slices.DeleteFunc(recorded, func(r exchange.Recorded) bool { return r.Seq != seq })
		if len(recorded) == 0 {
			return nil, store.ErrNotFound
		}
	} else if set, _ := b.Current(); rule == "" {
		if n := max(1, mostTraces/max(1, set.Len())); len(recorded) > n { // the last ones; earlier ones by seq
			recorded, complete = recorded[len(recorded)-n:], false
		}
	}
	out := []explained{}
	for i := range recorded {
		e, err := explain(c.Context(), b, &recorded[i])
		if err != nil {
			return nil, err
		}
		if rule != "" {
			e.Rules = slices.DeleteFunc(e.Rules, func(t rules.RuleTrace) bool { return t.Rule != rule })
		}
		if !whole {
			e.Redact()
		}
		out = append(out, e)
	}
	return explanations{out, complete}, nil
}

func (r Rules) events(ctx context.Context, ref store.Ref) (events []conversation.Event, err error) {
	for len(events) < mostEvents {
		after := uint64(0)
		if len(events) > 0 {
			after = events[len(events)-1].Seq
		}
		page, err := r.Log(ctx, ref, after, 1000)
		if err != nil || len(page) == 0 {
			return events, err
		}
		events = append(events, page...)
	}
	return events, nil
}

func explain(ctx context.Context, b *rulebook.Book, r *exchange.Recorded) (explained, error) {
	explainer, err := b.Explainer(ctx, r.Rules, r.Inputs.Tripped)
	if err != nil {
		return explained{}, err
	}
	e := explained{
		Seq: r.Seq, At: r.At.UTC(), Turn: r.Turn, Version: r.Rules, Tripped: r.Inputs.Tripped, Explanation: explainer.Explain(&r.Exchange),
	}
	if r.Late {
		set, err := b.Version(ctx, r.Rules)
		if err != nil {
			return explained{}, err
		}
		asked := set.Late()
		e.Rules = slices.DeleteFunc(e.Rules, func(t rules.RuleTrace) bool {
			return !slices.Contains(asked, t.Rule) || slices.Contains(r.Acted, t.Rule)
		})
	}
	var matched, failed []string
	for _, t := range e.Rules {
		switch t.Result {
		case rules.Matched:
			matched = append(matched, t.Rule)
		case rules.Failed:
			failed = append(failed, t.Rule)
		}
	}
	was, broke := r.Matched()
	e.Agrees = same(matched, was) && same(failed, broke)
	if !e.Agrees {
		e.Recorded = slices.Concat(was, broke)
	}
	return e, nil
}

func same(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
