package api

import (
	"log/slog"
	"sync"
	"time"

	"turnout/adapters/problem"
)

// quiet keeps a flood of refusals out of the log: of those that are alike the first within a minute is a line, the others
// are counted, and the count is a line when the minute is over. There are as many as routes and codes, whatever is sent.
type quiet struct {
	mu   sync.Mutex
	seen map[alike]*similar
}

type alike struct{ route, code string }

type similar struct {
	since time.Time
	more  int
}

const quietFor = time.Minute

// first reports whether a refusal is to be a line.
func (q *quiet) first(route, code string, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.seen == nil {
		q.seen = map[alike]*similar{}
	}
	key := alike{route, code}
	if r := q.seen[key]; r != nil {
		r.more++
		return false
	}
	q.seen[key] = &similar{since: now}
	return true
}

// over returns what was counted in minutes that have passed at now, and begins anew for those; all does so for every one.
func (q *quiet) over(now time.Time, all bool) map[alike]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := map[alike]int{}
	for key, r := range q.seen {
		if !all && now.Sub(r.since) < quietFor {
			continue
		}
		if r.more > 0 {
			out[key] = r.more
		}
		delete(q.seen, key)
	}
	return out
}

// logRepeats writes down how many refusals were left out of the log.
func (s *Server) logRepeats(all bool) {
	for key, n := range s.quiet.over(s.o.Now(), all) {
		s.o.Log.Warn("refused again", "route", key.route, "code", key.code, "count", n)
	}
}

// refusalAttrs are what an operator can act on: the code and the sentence that the client got. The sentence is ours; nothing
// that a client sent is in it.
func refusalAttrs(d problem.Details) []slog.Attr {
	attrs := []slog.Attr{slog.String("code", d.Code), slog.String("detail", d.Detail)}
	if hint := hints[d.Code]; hint != "" {
		attrs = append(attrs, slog.String("look_at", hint))
	}
	return attrs
}

// hints say where an operator finds what to change, for the codes where it is something of the operator's.
var hints = map[string]string{
	problem.CodeRateLimited:      "limits.messages_per_minute, the channel's own limits, and limits.trusted_proxies if all clients have one address",
	problem.CodeTooLarge:         "limits.body_bytes, attachment_bytes, text_bytes, and the channel's own limits",
	problem.CodeUnauthenticated:  "keys and sessions that have run out; the audit log counts them by the minute",
	problem.CodeForbidden:        "the account's role, the key's scopes, api.origins and the channel's allowed origins",
	problem.CodeStoreUnavailable: "/readyz: the disk, its free space and store.reserve_bytes",
}
