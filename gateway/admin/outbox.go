package admin

import (
	"errors"
	"strings"
	"time"

	"turnout/adapters/message"
	"turnout/adapters/problem"
	"turnout/gateway/api"
	"turnout/gateway/conversation"
	"turnout/gateway/outbox"
	"turnout/gateway/store"
)

// Outbox is what is shown and decided of the outbox.
type Outbox struct {
	Dead  *outbox.Dead
	Stats func() []outbox.Stats
}

// Routes returns the routes of the outbox: how its channels do, and the messages that could not be delivered. They show ids
// and reasons, neither text nor addresses: who may read these finds them in the conversation.
func (o Outbox) Routes() []api.Route {
	read := []api.Role{api.RoleOwner, api.RoleAdmin, api.RoleSupervisor, api.RoleAuditor}
	act := []api.Role{api.RoleOwner, api.RoleAdmin, api.RoleSupervisor}
	row := func(method, path string, roles []api.Role, scope api.Scope, h api.Handler) api.Route {
		return api.Route{Method: method, Path: "/v1/admin/" + path, Access: api.People, Roles: roles, Scope: scope, Handle: h}
	}
	return []api.Route{
		row("GET", "outbox", read, api.ScopeOutboxRead, o.getChannels),
		row("GET", "dead-letters", read, api.ScopeOutboxRead, o.getDead),
		row("POST", "dead-letters/{id}/replay", act, api.ScopeOutboxWrite, o.redrive(false)),
		row("POST", "dead-letters/{id}/discard", act, api.ScopeOutboxWrite, o.redrive(true)),
	}
}

// channelFigures are those of one channel since the start of the node.
type channelFigures struct {
	Channel   string     `json:"channel"`
	Attempts  int64      `json:"attempts"`
	Sent      int64      `json:"sent"`
	Retried   int64      `json:"retried"`
	Uncertain int64      `json:"uncertain"`
	Dead      int64      `json:"dead"`
	Cancelled int64      `json:"cancelled"` // attempts that people overtook
	Throttled int64      `json:"throttled"`
	Operator  bool       `json:"needs_operator"`
	OpenUntil *time.Time `json:"open_until,omitempty"` // the provider fails and is left alone
	RestUntil *time.Time `json:"rest_until,omitempty"` // the provider asked for a pause, or an operator is needed
}

// channelList are the figures of all channels.
type channelList struct {
	Channels []channelFigures `json:"channels"`
}

func (o Outbox) getChannels(c *api.Call) (any, error) {
	list := []channelFigures{}
	for _, s := range o.Stats() {
		if s.Tenant != c.Tenant().Name() {
			continue
		}
		list = append(list, channelFigures{
			Channel: s.Channel, Attempts: s.Attempts, Sent: s.Sent, Retried: s.Retried, Uncertain: s.Uncertain, Dead: s.Dead,
			Cancelled: s.Lapsed, Throttled: s.Throttled, Operator: s.NeedsOperator,
			OpenUntil: instant(s.OpenUntil), RestUntil: instant(s.RestUntil),
		})
	}
	return channelList{list}, nil
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// deadLetter is a message that could not be delivered.
type deadLetter struct {
	ID           string     `json:"id"`
	Message      string     `json:"message"`
	Conversation string     `json:"conversation"`
	Channel      string     `json:"channel"`
	By           message.By `json:"by"`
	Code         string     `json:"code"`
	Attempts     int        `json:"attempts"`
	// MayHaveArrived is set when an attempt has no result.
	MayHaveArrived bool      `json:"may_have_arrived,omitempty"`
	At             time.Time `json:"at"`
}

func deadLetterOf(d store.DeadLetter) deadLetter {
	return deadLetter{
		ID: d.Row.ID, Message: d.Row.Out.ID, Conversation: d.Ref.ID, Channel: d.Row.Out.To.Channel, By: d.Row.Out.By, Code: d.Code,
		Attempts: d.Attempt, MayHaveArrived: d.Unsure, At: time.UnixMilli(d.At).UTC(),
	}
}

// deadLetterList is a page of them.
type deadLetterList struct {
	Items []deadLetter `json:"items"`
	Next  string       `json:"next,omitempty"`
}

func (o Outbox) getDead(c *api.Call) (any, error) {
	limit, err := c.Number("limit", outbox.MostDead)
	if err != nil {
		return nil, err
	}
	dead, next, err := o.Dead.List(c.Context(), c.Tenant(), c.Query("after"), int(limit))
	if err != nil {
		return nil, err
	}
	list := make([]deadLetter, len(dead))
	for i := range dead {
		list[i] = deadLetterOf(dead[i])
	}
	return deadLetterList{list, next}, nil
}

// redrive puts a dead letter back or gives it up. Its entry in the conversation's audit chain is in the commit.
func (o Outbox) redrive(discard bool) api.Handler {
	return func(c *api.Call) (any, error) {
		by := conversation.Actor{Kind: conversation.Admin, ID: strings.TrimPrefix(c.Actor(), "admin:")}
		if c.Role() == api.RoleSupervisor {
			by = conversation.Actor{Kind: conversation.Supervisor, ID: strings.TrimPrefix(c.Actor(), "supervisor:")}
		}
		dead, _, err := o.Dead.Redrive(c.Context(), outbox.Redrive{Tenant: c.Tenant(), Row: c.Param("id"), By: by, Discard: discard})
		if errors.Is(err, conversation.ErrNotOwner) {
			return nil, api.Refuse(problem.CodeStale, "People have the conversation: the bot's message is not sent over their heads. Replay it after the release, or discard it.")
		}
		if err != nil {
			return nil, err
		}
		return deadLetterOf(dead), nil
	}
}
