package message

import (
	"maps"
	"slices"
	"time"
)

// Account is what the tenant's own system said of a customer: the state of the account, for rules and agents, and what the
// customer wanted before. It was asked for by a profile, that is by an identity that a channel verified.
type Account struct {
	// Subject is that of the profile. The account is nobody else's.
	Subject string `json:"subject"`
	// At is when the system said so.
	At time.Time `json:"at"`
	// Unknown says that the system knows no such customer. Nothing below is set then.
	Unknown bool `json:"unknown,omitempty"`
	// Name is how the system calls the customer.
	Name string `json:"name,omitempty"`
	// Fields are the state of the account. Values are string, float64 or bool.
	Fields map[string]any `json:"fields,omitempty"`
	// Tickets are what the customer wanted before, in the order of the system.
	Tickets []Ticket `json:"tickets,omitempty"`
}

// Ticket is one past request of a customer in the tenant's own system.
type Ticket struct {
	ID      string    `json:"id"`
	Subject string    `json:"subject,omitempty"`
	Status  string    `json:"status,omitempty"` // in the words of the system
	At      time.Time `json:"at,omitzero"`
	// URL is where agents find it, http or https only; empty where the system has none.
	URL string `json:"url,omitempty"`
}

// Says reports whether a and b say the same, whenever they said it. Either may be nil.
func (a *Account) Says(b *Account) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Subject == b.Subject && a.Unknown == b.Unknown && a.Name == b.Name && maps.Equal(a.Fields, b.Fields) &&
		slices.EqualFunc(a.Tickets, b.Tickets, func(s, t Ticket) bool {
			return s.ID == t.ID && s.Subject == t.Subject && s.Status == t.Status && s.At.Equal(t.At) && s.URL == t.URL
		})
}
