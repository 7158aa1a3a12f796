package web

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"turnout/adapters"
)

// A token is a sealed body (sealer) of one byte of version, 16 bytes of visitor id, 8 bytes of expiry in Unix seconds, the language behind its length in one byte, and the subject if the
// visitor proved one. A ticket's body is the first three of these, 8 bytes of its own expiry, and a nonce. Each key is
// derived for this channel and one purpose, so tokens of other channels, and tickets, do not pass as tokens.

const (
	tokenVersion = 1
	visitorBytes = 16
	tokenHead    = 1 + visitorBytes + 8
	maxSubject   = 256
	ticketLife   = time.Minute
	ticketNonce  = 16
	minSweep     = 256
)

var (
	errToken   = errors.New("the token is not valid")
	errExpired = errors.New("the token has expired")

	visitorEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
)

// visitor is who a token speaks for.
type visitor struct {
	id      [visitorBytes]byte
	expires time.Time
	lang    string // what the client said at the start; may be empty
	subject string // proven by an identity; empty: anonymous
}

// address is the visitor as an address of the channel.
func (v visitor) address() string {
	var b [len(addressPrefix) + (visitorBytes*8+4)/5]byte
	visitorEncoding.Encode(b[copy(b[:], addressPrefix):], v.id[:])
	return string(b[:])
}

const addressPrefix = "v_"

type tokens struct {
	seals *sealer
	now   func() time.Time
}

func newTokens(d adapters.Deps) tokens {
	return tokens{seals: newSealer(d.Derive("visitor-token")), now: d.Now}
}

func (t tokens) sign(v visitor) string {
	body := v.head(tokenHead + 1 + len(v.lang) + len(v.subject))
	body = append(body, byte(len(v.lang)))
	body = append(body, v.lang...)
	return t.seals.seal(append(body, v.subject...))
}

// read returns the visitor of a token, errExpired or errToken.
func (t tokens) read(token []byte) (visitor, error) {
	st := t.seals.get()
	defer t.seals.put(st)
	body, ok := st.unseal(token)
	if !ok {
		return visitor{}, errToken
	}
	v, rest, ok := readHead(body)
	if !ok || len(rest) == 0 || len(rest) < 1+int(rest[0]) {
		return visitor{}, errToken
	}
	v.lang = string(rest[1 : 1+rest[0]])
	v.subject = string(rest[1+rest[0]:])
	if !t.now().Before(v.expires) {
		return visitor{}, errExpired
	}
	return v, nil
}

// head returns the beginning that tokens and tickets have in common, with room for capacity bytes.
func (v visitor) head(capacity int) []byte {
	body := make([]byte, tokenHead, capacity)
	body[0] = tokenVersion
	copy(body[1:], v.id[:])
	binary.BigEndian.PutUint64(body[1+visitorBytes:], uint64(v.expires.Unix()))
	return body
}

func readHead(body []byte) (v visitor, rest []byte, ok bool) {
	if len(body) < tokenHead || body[0] != tokenVersion {
		return visitor{}, nil, false
	}
	copy(v.id[:], body[1:])
	v.expires = unixTime(body[1+visitorBytes:])
	return v, body[tokenHead:], true
}

func unixTime(b []byte) time.Time { return time.Unix(int64(binary.BigEndian.Uint64(b)), 0) }

// tickets are single-use permissions to open one event stream. They are for EventSource, which can send no header: a
// ticket may stand in a URL because it is spent with the first use and worthless after a minute. Used ones are
// remembered in memory until they expire, so a restart or a second node may let one be used again within its minute.
type tickets struct {
	seals *sealer
	now   func() time.Time
	newID func(int) []byte

	mu      sync.Mutex
	used    map[string]time.Time // nonce -> expiry
	sweepAt int                  // size of used at which the expired are dropped
}

func newTickets(d adapters.Deps) *tickets {
	return &tickets{
		seals: newSealer(d.Derive("stream-ticket")), now: d.Now, newID: d.NewID, used: map[string]time.Time{}, sweepAt: minSweep,
	}
}

// issue returns a ticket for the visitor, and when it becomes worthless.
func (t *tickets) issue(v visitor) (string, time.Time) {
	expires := t.now().Add(ticketLife)
	body := v.head(tokenHead + 8 + ticketNonce)
	body = binary.BigEndian.AppendUint64(body, uint64(expires.Unix()))
	return t.seals.seal(append(body, t.newID(ticketNonce)...)), expires
}

// redeem spends a ticket and returns its visitor, errExpired or errToken.
func (t *tickets) redeem(ticket string) (visitor, error) {
	st := t.seals.get()
	defer t.seals.put(st)
	body, ok := st.unseal([]byte(ticket))
	if !ok || len(body) != tokenHead+8+ticketNonce {
		return visitor{}, errToken
	}
	v, rest, ok := readHead(body)
	if !ok {
		return visitor{}, errToken
	}
	expires, nonce, now := unixTime(rest), string(rest[8:]), t.now()
	if !now.Before(expires) || !now.Before(v.expires) {
		return visitor{}, errExpired
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, spent := t.used[nonce]; spent {
		return visitor{}, errToken
	}
	if len(t.used) >= t.sweepAt {
		for n, e := range t.used {
			if !now.Before(e) {
				delete(t.used, n)
			}
		}
		t.sweepAt = max(minSweep, 2*len(t.used))
	}
	t.used[nonce] = expires
	return v, nil
}
