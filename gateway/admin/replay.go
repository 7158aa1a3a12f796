package admin

import (
	"context"
	"fmt"
	"slices"

	"turnout/adapters/problem"
	"turnout/gateway/api"
	"turnout/gateway/conversation"
	"turnout/gateway/replay"
	"turnout/gateway/store"
	"turnout/rules"
	"turnout/rules/signal"
)

// Logs reads the logs of conversations.
type Logs interface {
	Log(ctx context.Context, r store.Ref, after uint64, limit int) ([]conversation.Event, error)
}

// Replayed is a conversation's log as a story.
type Replayed struct {
	Conversation string        `json:"conversation"`
	Lines        []replay.Line `json:"lines"`
	// Judged counts what rules and signals judged, Equal what came out the same again, Differs what did not; the rest could
	// not be recomputed. All are 0 without a recomputation.
	Judged  int `json:"judged,omitempty"`
	Equal   int `json:"equal,omitempty"`
	Differs int `json:"differs,omitempty"`
}

// maxStory bounds a story: what is longer is no conversation between people.
const maxStory = 100_000

const storyPage = 512

// Judges are what judged, and what judges again.
type Judges struct {
	Detector signal.Detector
	// Rules gives a version of a tenant's rules, whole.
	Rules func(ctx context.Context, t store.Tenant, version int) (*rules.Set, error)
}

// Replay returns the route of stories. Texts are for those who may read conversations, and reading them is recorded.
func Replay(logs Logs, j Judges) []api.Route {
	sees := []api.Role{api.RoleOwner, api.RoleSupervisor}
	return []api.Route{{
		Method: "GET", Path: "/v1/admin/conversations/{id}/replay", Access: api.People,
		Roles: append([]api.Role{api.RoleAuditor}, sees...), Scope: api.ScopeAuditRead,
		Handle: func(c *api.Call) (any, error) {
			id := c.Param("id")
			text := c.Query("text") == "1"
			if text && !slices.Contains(sees, c.Role()) {
				return nil, api.Refuse(problem.CodeForbidden, "Your role sees what was decided, not what was said: leave out text.")
			}
			events, err := whole(c.Context(), logs, store.Ref{Tenant: c.Tenant(), ID: id})
			if err != nil {
				return nil, err
			}
			if text {
				if err := c.Record("conversation.read", id); err != nil {
					return nil, err
				}
			}
			story := Replayed{Conversation: id, Lines: replay.Story(events, text)}
			if c.Query("recompute") == "1" {
				err = story.recompute(c.Context(), events, j, c.Tenant())
			}
			return story, err
		},
	}}
}

// recompute adds to each line that was judged what comes out now.
func (s *Replayed) recompute(ctx context.Context, events []conversation.Event, j Judges, t store.Tenant) error {
	checks, err := replay.Recompute(ctx, events, j.Detector, func(ctx context.Context, version int) (*rules.Set, error) {
		return j.Rules(ctx, t, version)
	})
	if err != nil {
		return err
	}
	for i := range s.Lines {
		check := checks[s.Lines[i].Seq]
		if check == nil {
			continue
		}
		s.Lines[i].Check = check
		s.Judged++
		switch {
		case check.Equal:
			s.Equal++
		case len(check.Differs) > 0:
			s.Differs++
		}
	}
	return nil
}

// whole reads a log to its end, if that is no further than a story goes.
func whole(ctx context.Context, logs Logs, r store.Ref) (all []conversation.Event, err error) {
	for {
		page, err := logs.Log(ctx, r, uint64(len(all)), storyPage)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		switch {
		case len(page) < storyPage:
			return all, nil
		case len(all) > maxStory:
			return nil, api.Refuse(problem.CodeTooLarge, fmt.Sprintf("The log has more than %d events, and a story no more than that. An export of conversations has its figures, and its text.", maxStory))
		}
	}
}
