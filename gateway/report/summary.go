// Package report makes figures out of the logs of conversations: one summary per conversation, one row per day and channel.
// It is pure: events in, values out. Summaries hold ids, names and times, never text.
package report

import (
	"slices"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
)

// Summary is one conversation in figures. Times are UTC; those of what did not happen are zero and left out.
type Summary struct {
	Conversation string `json:"conversation"`
	Channel      string `json:"channel"`
	Previous     string `json:"previous,omitempty"`
	Language     string `json:"language,omitempty"`

	OpenedAt time.Time `json:"opened_at"`
	ActiveAt time.Time `json:"active_at"`
	ClosedAt time.Time `json:"closed_at,omitzero"`
	// Closed says why: "resolved", "idle", "customer", "bot_end".
	Closed string `json:"closed,omitempty"`
	// Owner is who has it now: bot, queued, agent, captured, closed. Agent is the last person who had it.
	Owner string `json:"owner"`
	Agent string `json:"agent,omitempty"`

	// Messages by who wrote them.
	FromCustomer int `json:"from_customer"`
	FromBot      int `json:"from_bot"`
	FromAgents   int `json:"from_agents"`
	FromSystem   int `json:"from_system"`
	// Turns that the bot answered, and those that it failed.
	Turns       int `json:"turns"`
	FailedTurns int `json:"failed_turns"`

	// Handoffs, and of the first its time, its rule and the queue.
	Handoffs  int       `json:"handoffs"`
	HandoffAt time.Time `json:"handoff_at,omitzero"`
	Rule      string    `json:"rule,omitempty"`
	Queue     string    `json:"queue,omitempty"`
	// ClaimedAt is when a person first took it, AnsweredAt when a person first wrote.
	ClaimedAt  time.Time `json:"claimed_at,omitzero"`
	AnsweredAt time.Time `json:"answered_at,omitzero"`
	// Returns to the bot by people.
	Returns int      `json:"returns"`
	Tags    []string `json:"tags,omitempty"`
	// MustReachHuman: a rule demanded that only a person ends it.
	MustReachHuman bool `json:"must_reach_human,omitempty"`
}

// Wait is the time from the first handoff to the first claim, Answer that to the first word of a person; false if it has
// not come to that.
func (s *Summary) Wait() (time.Duration, bool)   { return since(s.HandoffAt, s.ClaimedAt) }
func (s *Summary) Answer() (time.Duration, bool) { return since(s.HandoffAt, s.AnsweredAt) }

func since(from, to time.Time) (time.Duration, bool) {
	if from.IsZero() || to.Before(from) {
		return 0, false
	}
	return to.Sub(from), true
}

// Summarize folds the whole log of a conversation.
func Summarize(events []conversation.Event) (s Summary) {
	s.Add(events)
	return s
}

// Add folds what comes next in the log of the conversation: one that is long is read in pages.
func (s *Summary) Add(events []conversation.Event) {
	for i := range events {
		s.add(&events[i])
	}
	slices.Sort(s.Tags)
	s.Tags = slices.Compact(s.Tags)
}

func (s *Summary) add(e *conversation.Event) {
	at := time.UnixMilli(e.At).UTC()
	switch d := e.Data.(type) {
	case *conversation.Begun:
		s.Conversation, s.Channel, s.Previous = d.ID, d.From.Channel, d.Previous
		s.OpenedAt, s.ActiveAt, s.Owner = at, at, string(message.OwnerBot)
	case *conversation.Received:
		s.FromCustomer++
		s.ActiveAt = at
		if d.Memory.Language != "" {
			s.Language = d.Memory.Language
		}
	case *conversation.Sent:
		s.ActiveAt = at
		switch d.By {
		case message.ByBot:
			s.FromBot++
		case message.ByAgent:
			s.FromAgents++
			if s.AnsweredAt.IsZero() && !s.HandoffAt.IsZero() {
				s.AnsweredAt = at
			}
		case message.BySystem:
			s.FromSystem++
		}
	case *conversation.Decision:
		s.Tags = append(s.Tags, d.Tags...)
		s.MustReachHuman = s.MustReachHuman || d.MustReachHuman
		if d.Phase == conversation.Answer && d.Turn != "" {
			s.Turns++
		}
	case *conversation.TurnBroken:
		if d.Final {
			s.FailedTurns++
		}
	case *conversation.Handoff:
		s.Handoffs++
		if s.HandoffAt.IsZero() {
			s.HandoffAt, s.Rule, s.Queue = at, d.Rule, d.Queue
		}
	case *conversation.OwnerMoved:
		s.moved(at, d)
	case *conversation.Ended:
		s.Closed, s.ClosedAt, s.Owner = d.Reason, at, string(message.OwnerClosed)
	case *conversation.Resumed:
		s.Closed, s.ClosedAt = "", time.Time{}
	}
}

func (s *Summary) moved(at time.Time, d *conversation.OwnerMoved) {
	s.Owner = string(d.To.Kind)
	switch {
	case d.To.Kind == message.OwnerAgent:
		s.Agent = d.To.Agent
		if s.ClaimedAt.IsZero() && !s.HandoffAt.IsZero() {
			s.ClaimedAt = at
		}
	case d.Reason == conversation.ReasonRelease:
		s.Returns++
	}
}
