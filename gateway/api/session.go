package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"turnout/gateway/store"
)

// sessionLife is how long a login lasts.
const sessionLife = 12 * time.Hour

const sessionPrefix = "ts_"

// session is what a session token says. The token is "ts_" base64url(JSON) "." base64url(HMAC): nothing is kept of it
// but, after a logout, its nonce.
type session struct {
	Tenant  string `json:"t"`
	Account string `json:"a"`
	Expires int64  `json:"e"` // seconds since 1970
	// Print is a keyed digest of the password hash: a changed password ends the session. That of an account without one
	// stands in sessions that began with a one-time password, and in no other.
	Print string `json:"p"`
	Nonce string `json:"n"`
}

var errSession = errors.New("the session is not valid")

// sessions signs and reads session tokens. Logouts are remembered in memory until the session would have ended: a restart
// forgets them, and then such a token lives on until it expires or the password changes.
type sessions struct {
	key  []byte
	now  func() time.Time
	rand io.Reader

	mu    sync.Mutex
	ended map[string]int64 // nonce -> expiry in seconds
	sweep int              // size of ended at which the expired are dropped
}

func newSessions(o Options) *sessions {
	return &sessions{key: o.SessionKey, now: o.Now, rand: o.Rand, ended: map[string]int64{}, sweep: 256}
}

func (s *sessions) mac(purpose, v string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(purpose + "\x00" + v))
	return h.Sum(nil)
}

func (s *sessions) print(a *Account) string {
	return base64.RawURLEncoding.EncodeToString(s.mac("password", a.Password)[:16])
}

// begin returns the token of a new session.
func (s *sessions) begin(a *Account) (token string, expires time.Time, err error) {
	nonce := make([]byte, 16)
	if _, err := io.ReadFull(s.rand, nonce); err != nil {
		return "", time.Time{}, fmt.Errorf("reading randomness: %w", err)
	}
	expires = s.now().Add(sessionLife).Truncate(time.Second)
	body, err := json.Marshal(session{
		Tenant: a.Tenant.Name(), Account: a.ID, Expires: expires.Unix(), Print: s.print(a),
		Nonce: base64.RawURLEncoding.EncodeToString(nonce),
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("encoding session: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	return sessionPrefix + text + "." + base64.RawURLEncoding.EncodeToString(s.mac("session", text)), expires, nil
}

// read returns the account and the session of a token, or errSession.
func (s *sessions) read(token string, accounts *Accounts) (*Account, session, error) {
	rest, ok := strings.CutPrefix(token, sessionPrefix)
	text, sum, cut := strings.Cut(rest, ".")
	mac, err := base64.RawURLEncoding.DecodeString(sum)
	if !ok || !cut || err != nil || !hmac.Equal(mac, s.mac("session", text)) {
		return nil, session{}, errSession
	}
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, session{}, errSession
	}
	var v session
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, session{}, errSession
	}
	t, err := store.NewTenant(v.Tenant)
	if err != nil {
		return nil, session{}, errSession
	}
	a := accounts.byID[accountKey{t, v.Account}]
	if a == nil || a.Disabled || !hmac.Equal([]byte(v.Print), []byte(s.print(a))) ||
		s.now().Unix() >= v.Expires || s.over(v.Nonce) {
		return nil, session{}, errSession
	}
	return a, v, nil
}

func (s *sessions) over(nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.ended[nonce]
	return ok
}

// finish ends a session before its time.
func (s *sessions) finish(v session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ended) >= s.sweep {
		now := s.now().Unix()
		for nonce, expires := range s.ended {
			if expires <= now {
				delete(s.ended, nonce)
			}
		}
		s.sweep = max(256, 2*len(s.ended))
	}
	s.ended[v.Nonce] = v.Expires
}
