package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters/problem"
	"turnout/gateway/audit"
	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// principal is who a request is by.
type principal struct {
	account *Account
	// by is how it signed in: "key:<id>" or "session".
	by      string
	session session   // of a session
	expires time.Time // zero: never
	cookie  bool      // the browser sent it by itself
	scopes  []Scope   // of the key, for an integration
	// operator is set for who came over the node's own socket; the account is then an owner by the name of the user id.
	operator bool
}

// actor names the principal in audit entries.
func (p principal) actor() string {
	if p.operator {
		return "operator:" + p.account.ID
	}
	return string(p.account.Role) + ":" + p.account.ID
}

func (p principal) agent() queue.Agent { return p.account.agent() }

var errUnauthenticated = refuse(problem.CodeUnauthenticated,
	`Sign in: send "Authorization: Bearer" with an API key, or with the token of POST /v1/agent/login.`)

var errRole = refuse(problem.CodeForbidden, "Your role, or the scopes of your key, do not allow this.")

var errCrossSite = refuse(problem.CodeForbidden,
	"This request comes from another site and carries a cookie. Send a token in Authorization instead, or list the origin.")

// auth knows who may come in.
type auth struct {
	accounts func() *Accounts // those of now
	sessions *sessions
	now      func() time.Time
	log      *slog.Logger
	origins  []string
	cookie   string
	secure   bool
	rate     *buckets // requests of one account
	logins   *logins
	once     oneTimes
	refused  refusals
}

func newAuth(o Options, accounts func() *Accounts) (*auth, error) {
	a := &auth{
		accounts: accounts, sessions: newSessions(o), now: o.Now, log: o.Log, origins: o.Origins,
		cookie: "__Host-turnout_session", secure: true, rate: newBuckets(o.Limits.Requests, o.Limits.Burst),
		once: oneTimes{list: slices.Clone(o.OneTime)},
	}
	if o.PlainCookie {
		a.cookie, a.secure = "turnout_session", false
	}
	var err error
	a.logins, err = newLogins(o)
	return a, err
}

// request finds out who a request is by: its bearer token, else its cookie.
func (a *auth) request(ctx *fasthttp.RequestCtx) (principal, error) {
	if h := ctx.Request.Header.Peek(fasthttp.HeaderAuthorization); len(h) > 0 {
		scheme, token, _ := strings.Cut(string(h), " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return principal{}, errUnauthenticated
		}
		return a.token(strings.TrimSpace(token))
	}
	cookie := ctx.Request.Header.Cookie(a.cookie)
	if len(cookie) == 0 {
		return principal{}, errUnauthenticated
	}
	p, err := a.token(string(cookie))
	if err != nil {
		return principal{}, err
	}
	p.cookie = true
	if a.crossSite(ctx) {
		return principal{}, errCrossSite
	}
	return p, nil
}

// token finds out whose an API key or a session token is.
func (a *auth) token(token string) (principal, error) {
	if strings.HasPrefix(token, keyPrefix) {
		return a.key(token)
	}
	account, s, err := a.sessions.read(token, a.accounts())
	if err != nil {
		return principal{}, errUnauthenticated
	}
	return principal{account: account, by: "session", session: s, expires: time.Unix(s.Expires, 0)}, nil
}

func (a *auth) key(key string) (principal, error) {
	id, ok := keyID(key)
	sum := sha256.Sum256([]byte(key))
	if !ok {
		return principal{}, errUnauthenticated
	}
	for _, k := range a.accounts().byKey[id] {
		if hmac.Equal(sum[:], k.digest[:]) && (k.expires.IsZero() || a.now().Before(k.expires)) {
			return principal{account: k.account, by: "key:" + k.id, expires: k.expires, scopes: k.scopes}, nil
		}
	}
	return principal{}, errUnauthenticated
}

// crossSite reports whether a browser sends a request that changes something on behalf of another site. Requests of
// programs carry neither header. This is the logic of net/http's CrossOriginProtection.
func (a *auth) crossSite(ctx *fasthttp.RequestCtx) bool {
	switch string(ctx.Method()) {
	case fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodOptions:
		return false
	}
	origin := string(ctx.Request.Header.Peek(fasthttp.HeaderOrigin))
	switch string(ctx.Request.Header.Peek("Sec-Fetch-Site")) {
	case "same-origin", "none":
		return false
	case "":
		return origin != "" && !a.allowedOrigin(ctx, origin)
	}
	return !slices.Contains(a.origins, origin)
}

// allowedOrigin reports whether an origin is the server's own or one of those listed.
func (a *auth) allowedOrigin(ctx *fasthttp.RequestCtx, origin string) bool {
	if slices.Contains(a.origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, string(ctx.Host()))
}

// signedIn lets those in whom the route admits.
func (s *Server) signedIn(r Route) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		who, local, err := s.operator(ctx, r)
		if !local {
			if who, err = s.auth.request(ctx); err != nil {
				s.refused(store.Operator, "request")
			}
		}
		if err != nil {
			s.writeError(ctx, err)
			return
		}
		ctx.SetUserValue(logTenant, who.account.Tenant.Name())
		ctx.SetUserValue(logAgent, who.account.ID)
		if wait, ok := s.auth.rate.allow(who.account.Tenant.Name()+"\x00"+who.account.ID, s.o.Now()); !ok {
			tooFast(ctx, wait)
			return
		}
		work, cancel := context.WithTimeout(s.life, requestTime)
		defer cancel()
		if !r.admits(who) {
			s.record(work, who, "access.refused", "role")
			s.writeError(ctx, errRole)
			return
		}
		s.answer(&Call{ctx: ctx, work: work, who: who, s: s, route: &r}, r.Handle)
	}
}

// answer runs a handler and writes what it returns.
func (s *Server) answer(c *Call, h Handler) {
	v, err := s.repeats.once(c, h)
	if err != nil {
		s.writeError(c.ctx, err)
		return
	}
	switch v := v.(type) {
	case nil:
		c.ctx.SetStatusCode(fasthttp.StatusNoContent)
	case *Stream:
		s.stream(c.ctx, v)
	default:
		writeJSON(c.ctx, v)
	}
}

// record appends an entry about a known principal to its tenant's chain. The answer does not hang on it.
func (s *Server) record(ctx context.Context, p principal, what, kind string) {
	if err := s.append(ctx, p, nil, what, kind); err != nil {
		s.o.Log.Error("recording an access", "tenant", p.account.Tenant.Name(), "agent", p.account.ID, "err", err)
	}
}

func (s *Server) append(ctx context.Context, p principal, c *Call, what, kind string) error {
	op, err := s.op(c)
	if err != nil {
		return err
	}
	return s.o.Audit.Append(ctx, p.account.Tenant, audit.Entry{
		At: s.o.Now().UnixMilli(), Type: what, Kind: kind, Op: op, Actor: p.actor(),
	})
}

// again reports whether a principal is still let in as the one it was.
func (a *auth) again(p principal, token string) bool {
	now, err := a.token(token)
	return err == nil && (now.account == p.account || reflect.DeepEqual(now.account, p.account))
}
