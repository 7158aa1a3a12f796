package outbox

import (
	"errors"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/store"
)

// The bounds that hold where a channel's policy names none.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultConcurrency = 8
	DefaultAttempts    = 10
	DefaultMaxAge      = 24 * time.Hour
)

const (
	// The backoff of the nth try is drawn from the whole of what doubles from firstBackoff to mostBackoff, so that what
	// failed together does not come back together.
	firstBackoff = time.Second
	mostBackoff  = 10 * time.Minute
	leastBackoff = 50 * time.Millisecond
	// operatorRest is how long a channel rests that an operator has to mend.
	operatorRest = time.Minute
	// mostRest bounds what a provider may ask for.
	mostRest = time.Hour
)

// defaulted fills in what a policy leaves open.
func defaulted(p adapters.SendPolicy) adapters.SendPolicy {
	if p.Timeout <= 0 {
		p.Timeout = DefaultTimeout
	}
	if p.Concurrency <= 0 {
		p.Concurrency = DefaultConcurrency
	}
	if p.Attempts <= 0 {
		p.Attempts = DefaultAttempts
	}
	if p.MaxAge <= 0 {
		p.MaxAge = DefaultMaxAge
	}
	return p
}

// health is what an outcome says of the provider.
type health byte

const (
	unknown health = iota // nothing
	well
	ill
)

// verdict is what follows from an outcome.
type verdict struct {
	end    store.End
	due    int64
	unsure bool
	noTry  bool           // the attempt said nothing of the message
	status message.Status // of the message in the log; empty: nothing new
	code   string
	// provider is the provider's id of the message.
	provider string

	health health
	rest   time.Duration // of the whole channel
	alarm  bool
}

// Codes of dead letters that the outbox itself gives; others are the provider's.
const (
	CodeUnknown  = "unknown"         // an attempt has no result: the process ended over it
	CodeTimeout  = "timeout"         // no answer in time
	CodeStopped  = "stopped"         // the node stopped while it was sent
	CodeExpired  = "expired"         // it was too old, or tried too often, before it could be sent
	CodeRemoved  = "channel_removed" // its channel was taken out, and did not come back in time
	codeOperator = "operator"        // nobody mended it in time
)

// before judges a row before it is sent, given the status of its message in the log: what is too old or was tried too often
// is not sent at all, and what may have arrived by an earlier attempt not simply again. ok says that it may be sent; mark,
// that the log has to say first that it may come twice.
func before(row *store.LeasedRow, p *adapters.SendPolicy, was message.Status, now int64) (v verdict, mark, ok bool) {
	unsure, agent := row.Unsure > 0, row.Row.Out.By == message.ByAgent
	again := row.Tries > 1 // not what a person has just put back
	bury := verdict{end: store.Bury, status: message.Failed, code: CodeExpired}
	if unsure {
		bury.status, bury.code = message.Uncertain, CodeUnknown
	}
	switch {
	case unsure && arrived(was):
		return verdict{end: store.Gone}, false, false // the provider has reported on the attempt that has no result
	case over(row, p, now), row.Tries > p.Attempts:
		return bury, false, false
	case !unsure || p.Idempotent || !again:
		return v, false, true
	case agent || row.Unsure > 1:
		return bury, false, false
	}
	return v, true, true
}

// arrived reports whether a status says that the provider took the message.
func arrived(s message.Status) bool {
	return s == message.Sent || s == message.Delivered || s == message.Read
}

// judge says what follows from the outcome of an attempt. random draws from [0, n).
func judge(row *store.LeasedRow, p *adapters.SendPolicy, rec message.Receipt, err error, now int64, random func(int64) int64) verdict {
	if err == nil {
		return verdict{end: store.Gone, status: message.Sent, provider: rec.ProviderID, health: well}
	}
	var e *adapters.SendError
	if !errors.As(err, &e) {
		e = &adapters.SendError{Code: CodeUnknown, Uncertain: true}
	}
	rest := min(e.RetryAfter, mostRest)
	v := verdict{code: e.Code, status: message.Failed, end: store.Bury}
	switch {
	case e.Uncertain:
		v.health, v.unsure = ill, true
		if !p.Idempotent {
			v.status = message.Uncertain
			if row.Row.Out.By == message.ByAgent || row.Unsure > 0 {
				return v // the agent's to decide; a bot's text was sent twice already
			}
		}
		v.again(row, p, rest, now, random)
		if v.end == store.Bury {
			v.status = message.Uncertain
		}
	case e.Class == adapters.SendRetry:
		v.health = ill
		if e.Channel && rest > 0 {
			v.health, v.rest = unknown, rest // it speaks: it only wants us to go slower
		}
		v.again(row, p, rest, now, random)
	case e.Class == adapters.SendOperator:
		v.health, v.rest, v.alarm = unknown, max(rest, operatorRest), true
		v.end, v.due, v.status, v.noTry = store.Retry, now+v.rest.Milliseconds(), "", true
		if over(row, p, v.due) {
			v.end, v.due, v.status, v.code = store.Bury, 0, message.Failed, codeOr(e.Code, codeOperator)
		}
	default: // permanent, window
		v.health = well
		if e.Class == adapters.SendWindow && v.code == "" {
			v.code = "window_closed"
		}
	}
	return v
}

// again lets a row be tried again, within the bounds.
func (v *verdict) again(row *store.LeasedRow, p *adapters.SendPolicy, rest time.Duration, now int64, random func(int64) int64) {
	due := now + max(backoff(row.Tries, random), rest).Milliseconds()
	if row.Tries >= p.Attempts || over(row, p, due) {
		return
	}
	v.end, v.due = store.Retry, due
	if !v.unsure || p.Idempotent {
		v.status = ""
	}
}

// over reports whether a row would be too old at an instant.
func over(row *store.LeasedRow, p *adapters.SendPolicy, at int64) bool {
	return at-row.Row.At > p.MaxAge.Milliseconds()
}

// backoff draws the pause after the nth try.
func backoff(tries int, random func(int64) int64) time.Duration {
	top := mostBackoff
	if n := tries - 1; n < 10 {
		top = min(top, firstBackoff<<max(n, 0))
	}
	return max(leastBackoff, time.Duration(random(int64(top))))
}

func codeOr(code, other string) string {
	if code == "" {
		return other
	}
	return code
}
