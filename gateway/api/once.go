package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"sync"

	"turnout/gateway/store"
)

// OneTime is a password that signs in once: for a first visit, before there is any other. It is random and long, so that
// its digest needs no cost of its own, and it is gone when the process ends.
type OneTime struct {
	Tenant store.Tenant
	// Account is the id of the account that it is for. Logging in by it needs that account and no password in it.
	Account string
	SHA256  [sha256.Size]byte
}

// oneTimes are those that nobody has used yet.
type oneTimes struct {
	mu   sync.Mutex
	list []OneTime
}

// spend returns the account that a password signs in, and makes the password worth nothing; back takes that back, for a login
// that came to nothing. Nil: it is none of an account by that login. How long it takes says nothing about the password.
func (o *oneTimes) spend(accounts *Accounts, tenant, login, password string) (_ *Account, back func()) {
	digest := sha256.Sum256([]byte(password))
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, p := range o.list {
		a := accounts.byID[accountKey{p.Tenant, p.Account}]
		if a == nil || a.Disabled || a.Login != login || tenant != "" && a.Tenant.Name() != tenant {
			continue
		}
		if subtle.ConstantTimeCompare(digest[:], p.SHA256[:]) == 1 {
			o.list = append(o.list[:i:i], o.list[i+1:]...)
			return a, func() {
				o.mu.Lock()
				defer o.mu.Unlock()
				o.list = append(o.list, p)
			}
		}
	}
	return nil, nil
}
