package api

import (
	"context"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters/problem"
)

// Logins of one name from one address: loginBurst at once, then one per loginGap. Of all names from one address, which may
// be that of a proxy: addressBurst at once, then addressRate per second.
const (
	loginBurst   = 10
	loginGap     = 6 * time.Second
	addressBurst = 50
	addressRate  = 5
	loginWait    = 5 * time.Second // for a free place to check the password
)

// logins bounds what password checks cost and how fast somebody can guess.
type logins struct {
	places chan struct{}
	names  *buckets // by address and name
	peers  *buckets // by address
	dummy  phc      // what the password of an unknown login is compared with, to take the same time
}

func newLogins(o Options) (*logins, error) {
	hash, err := HashPassword(o.Rand, "nobody has this password")
	if err != nil {
		return nil, err
	}
	dummy, err := parsePHC(hash)
	if err != nil {
		return nil, err
	}
	return &logins{
		places: make(chan struct{}, o.Limits.Logins), dummy: dummy,
		names: newBuckets(1/loginGap.Seconds(), loginBurst), peers: newBuckets(addressRate, addressBurst),
	}, nil
}

// allow counts one attempt, or says how long to wait. The address comes first: nobody fills the table of names alone.
func (l *logins) allow(address, name string, now time.Time) (wait time.Duration, ok bool) {
	if wait, ok = l.peers.allow(address, now); !ok {
		return wait, false
	}
	return l.names.allow(address+"\x00"+name, now)
}

// check compares a password when there is a place to do so. ok is false for a wrong one and for an unknown account.
func (l *logins) check(ctx context.Context, a *Account, password string) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, loginWait)
	defer cancel()
	select {
	case l.places <- struct{}{}:
	case <-ctx.Done():
		return false, refuse(problem.CodeRateLimited, "Too many people are signing in at the moment. Try again in a few seconds.")
	}
	defer func() { <-l.places }()
	hash := l.dummy
	if a != nil {
		if p, err := parsePHC(a.Password); err == nil {
			hash = p
		}
	}
	return hash.verify(password) && a != nil, nil
}

type loginBody struct {
	Tenant   string `json:"tenant"`
	Login    string `json:"login"`
	Password string `json:"password"`
}

type loginAnswer struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Me      me        `json:"me"`
}

var errLogin = refuse(problem.CodeUnauthenticated, "Login or password is wrong.")

// postLogin signs somebody in by password. An unknown login is answered like a wrong password, after the same work.
func (s *Server) postLogin(ctx *fasthttp.RequestCtx) {
	work, cancel := context.WithTimeout(s.life, requestTime)
	defer cancel()
	answer, err := s.login(work, ctx)
	if err != nil {
		s.writeError(ctx, err)
		return
	}
	if answer != nil {
		writeJSON(ctx, answer)
	}
}

// login returns nil when it has written the answer itself.
func (s *Server) login(work context.Context, ctx *fasthttp.RequestCtx) (*loginAnswer, error) {
	if s.auth.crossSite(ctx) {
		return nil, errCrossSite
	}
	var body loginBody
	if err := decode(ctx, &body); err != nil {
		return nil, err
	}
	if body.Login == "" || len(body.Login) > 256 || len(body.Tenant) > 256 || len(body.Password) > maxPassword {
		return nil, badRequest("Give login and password.")
	}
	if wait, ok := s.auth.logins.allow(s.peers.client(ctx), body.Tenant+"\x00"+body.Login, s.o.Now()); !ok {
		tooFast(ctx, wait)
		return nil, nil
	}
	kind := "one-time"
	account, back := s.auth.once.spend(s.auth.accounts(), body.Tenant, body.Login, body.Password)
	ok := account != nil
	if !ok {
		kind, account = "password", s.auth.accounts().login(body.Tenant, body.Login)
		var err error
		if ok, err = s.auth.logins.check(work, account, body.Password); err != nil {
			return nil, err
		}
	}
	if !ok {
		if account != nil {
			s.record(work, principal{account: account}, "login", "refused")
		} else {
			s.refused(s.tenantNamed(body.Tenant), "login")
		}
		return nil, errLogin
	}
	if err := s.append(work, principal{account: account}, nil, "login", kind); err != nil {
		if back != nil {
			back()
		}
		return nil, err // a login that cannot be recorded is none
	}
	token, expires, err := s.auth.sessions.begin(account)
	if err != nil {
		return nil, err
	}
	s.setCookie(ctx, token, expires)
	return &loginAnswer{Token: token, Expires: expires.UTC(), Me: meOf(account)}, nil
}

// postLogout ends the session of the request. An API key has none to end.
func (s *Server) postLogout(c *Call) (any, error) {
	if c.who.by == "session" {
		s.auth.sessions.finish(c.who.session)
		s.record(c.Context(), c.who, "logout", c.who.by)
	}
	s.setCookie(c.ctx, "", time.Unix(1, 0))
	return nil, nil
}

func (s *Server) setCookie(ctx *fasthttp.RequestCtx, token string, expires time.Time) {
	c := fasthttp.AcquireCookie()
	defer fasthttp.ReleaseCookie(c)
	c.SetKey(s.auth.cookie)
	c.SetValue(token)
	c.SetPath("/")
	c.SetHTTPOnly(true)
	c.SetSecure(s.auth.secure)
	c.SetSameSite(fasthttp.CookieSameSiteLaxMode)
	c.SetExpire(expires)
	ctx.Response.Header.SetCookie(c)
}

// tooFast answers 429 with the time to wait.
func tooFast(ctx *fasthttp.RequestCtx, wait time.Duration) {
	ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(int(wait/time.Second)+1))
	problem.Write(ctx, fasthttp.StatusTooManyRequests, problem.CodeRateLimited, "Too many requests. Wait as long as Retry-After says.")
}

func encodeToken(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
