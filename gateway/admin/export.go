package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"turnout/adapters/problem"
	"turnout/gateway/api"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/report"
	"turnout/gateway/store"
)

// Conversations is what exports of figures read.
type Conversations interface {
	Logs
	// Chains lists the conversations in which something was decided, after one, in the order of their ids.
	Chains(ctx context.Context, t store.Tenant, after string, limit int) ([]string, error)
	// Tombstone is what is left of a conversation that was erased: it may keep a report.Summary, as JSON.
	Tombstone(ctx context.Context, r store.Ref) (store.Tombstone, error)
}

// Exports are made of Store by the clock Now.
type Exports struct {
	Store Conversations
	Now   func() time.Time
	Log   *slog.Logger
}

// Exported is a conversation of an export with what was said in it.
type Exported struct {
	report.Summary
	Messages []Said `json:"messages"`
}

// Said is one message. By is customer, bot, agent, system, or note for what only the tenant's people saw.
type Said struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	Name string    `json:"name,omitempty"`
	Text string    `json:"text"`
}

const chainsPage = 512

// Routes returns the routes of exports: figures for those who look after the work, texts for those who may read them. The
// query says which: format jsonl (default) or csv; from and to, instants (RFC 3339) or days, bound when a conversation was
// opened.
func (e Exports) Routes() []api.Route {
	sees := []api.Role{api.RoleOwner, api.RoleSupervisor}
	roles := append([]api.Role{api.RoleAuditor}, sees...)
	return []api.Route{
		{
			Method: "GET", Path: "/v1/admin/export/conversations", Access: api.People, Roles: roles, Scope: api.ScopeAuditRead,
			Handle: func(c *api.Call) (any, error) {
				q, err := exportQuery(c)
				if err != nil {
					return nil, err
				}
				text := c.Query("text") == "1"
				switch {
				case text && !slices.Contains(sees, c.Role()):
					return nil, api.Refuse(problem.CodeForbidden, "Your role sees figures, not what was said: leave out text.")
				case text && q.csv:
					return nil, api.Refuse(problem.CodeBadRequest, "What was said does not fit into a table: use the format jsonl with text.")
				}
				kind := "figures"
				if text {
					kind = "text"
				}
				if err := c.Record("conversations.exported", kind); err != nil {
					return nil, err
				}
				return e.stream(c, "conversations", q, func(ctx context.Context, t store.Tenant, w report.Writer) error {
					return e.each(ctx, t, q, text, func(x Exported) error {
						if text {
							return w.Write(x)
						}
						return w.Write(x.Summary)
					})
				}), nil
			},
		},
		{
			Method: "GET", Path: "/v1/admin/export/metrics", Access: api.People, Roles: roles, Scope: api.ScopeAuditRead,
			Handle: func(c *api.Call) (any, error) {
				q, err := exportQuery(c)
				if err != nil {
					return nil, err
				}
				return e.stream(c, "metrics", q, func(ctx context.Context, t store.Tenant, w report.Writer) error {
					var days report.Days
					if err := e.each(ctx, t, q, false, func(x Exported) error {
						days.Add(x.Summary)
						return nil
					}); err != nil {
						return err
					}
					for _, d := range days.Rows() {
						if err := w.Write(d); err != nil {
							return err
						}
					}
					return nil
				}), nil
			},
		},
	}
}

// query is what an export is to hold.
type query struct {
	csv      bool
	from, to time.Time // to is zero for no end
}

func exportQuery(c *api.Call) (q query, err error) {
	switch f := c.Query("format"); f {
	case "", "jsonl":
	case "csv":
		q.csv = true
	default:
		return q, api.Refuse(problem.CodeBadRequest, "format must be jsonl or csv.")
	}
	if q.from, err = instantOf(c, "from"); err != nil {
		return q, err
	}
	if q.to, err = instantOf(c, "to"); err != nil {
		return q, err
	}
	if !q.to.IsZero() && q.to.Before(q.from) {
		return q, api.Refuse(problem.CodeBadRequest, "to lies before from.")
	}
	return q, nil
}

func instantOf(c *api.Call, name string) (time.Time, error) {
	v := c.Query(name)
	if v == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, v); err == nil {
			return t, nil
		}
	}
	return time.Time{}, api.Refuse(problem.CodeBadRequest, name+" must be a day such as 2026-11-25 or an instant such as 2026-11-25T08:00:00Z.")
}

// holds reports whether a conversation that was opened at t is asked for.
func (q query) holds(t time.Time) bool {
	return !t.Before(q.from) && (q.to.IsZero() || t.Before(q.to))
}

// each calls f with every conversation that is asked for; text says whether with what was said in it.
func (e Exports) each(ctx context.Context, t store.Tenant, q query, text bool, f func(Exported) error) error {
	for after := ""; ; {
		chains, err := e.Store.Chains(ctx, t, after, chainsPage)
		if err != nil {
			return err
		}
		for _, conv := range chains {
			after = conv
			// An id is made with its conversation, by the same clock: the log is not needed to leave most out.
			if made, err := id.Time(id.Conversation, conv); err != nil || !q.holds(made) {
				continue
			}
			ref := store.Ref{Tenant: t, ID: conv}
			x, err := e.read(ctx, ref, text)
			there := err == nil
			if errors.Is(err, store.ErrErased) {
				x = Exported{Messages: []Said{}}
				x.Summary, there, err = e.kept(ctx, ref)
			}
			if err != nil {
				return fmt.Errorf("reading %s: %w", conv, err)
			}
			if !there {
				continue
			}
			if err := f(x); err != nil {
				return err
			}
		}
		if len(chains) < chainsPage {
			return nil
		}
	}
}

// read reads a log, however long it is, a page at a time.
func (e Exports) read(ctx context.Context, r store.Ref, text bool) (Exported, error) {
	x := Exported{Messages: []Said{}}
	for after := uint64(0); ; {
		events, err := e.Store.Log(ctx, r, after, storyPage)
		if err != nil {
			return x, err
		}
		x.Add(events)
		if text {
			x.Messages = append(x.Messages, said(events)...)
		}
		if len(events) < storyPage {
			return x, nil
		}
		after = events[len(events)-1].Seq
	}
}

// kept returns the figures that were kept of a conversation that was erased, if any were.
func (e Exports) kept(ctx context.Context, r store.Ref) (s report.Summary, there bool, err error) {
	stone, err := e.Store.Tombstone(ctx, r)
	if err != nil || stone.Keep == nil {
		return s, false, err
	}
	if err := json.Unmarshal(stone.Keep, &s); err != nil {
		return s, false, fmt.Errorf("decoding what was kept: %w", err)
	}
	return s, true, nil
}

func said(events []conversation.Event) (out []Said) {
	for i := range events {
		s := Said{At: time.UnixMilli(events[i].At).UTC()}
		switch d := events[i].Data.(type) {
		case *conversation.Received:
			s.By, s.Text = "customer", d.In.Text
		case *conversation.Sent:
			s.By, s.Name, s.Text = string(d.By), d.Name, d.Part.Text
		case *conversation.Note:
			s.By, s.Name, s.Text = "note", events[i].Actor.ID, string(d.Note)
		default:
			continue
		}
		out = append(out, s)
	}
	return out
}

// stream is an export in the form that the query asks for.
func (e Exports) stream(c *api.Call, name string, q query, write func(context.Context, store.Tenant, report.Writer) error) *api.Stream {
	t := c.Tenant()
	form, kind, ext := report.NewJSONL, "application/jsonl", "jsonl"
	if q.csv {
		form, kind, ext = report.NewCSV, "text/csv; charset=utf-8", "csv"
	}
	file := fmt.Sprintf("%s-%s-%s.%s", name, t.Name(), e.Now().UTC().Format(fileTime), ext)
	return piped(c, e.Log, kind, file, func(ctx context.Context, w io.Writer) error {
		rows := form(w)
		if err := write(ctx, t, rows); err != nil {
			return err
		}
		return rows.Flush()
	})
}
