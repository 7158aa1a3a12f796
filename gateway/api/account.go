package api

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// Role is what an account may do. Nothing is allowed that a route does not name.
type Role string

// The roles.
const (
	RoleOwner       Role = "owner"
	RoleAdmin       Role = "admin"
	RoleAuthor      Role = "author"
	RoleReviewer    Role = "reviewer"
	RoleSupervisor  Role = "supervisor"
	RoleAgent       Role = "agent"
	RoleAuditor     Role = "auditor"
	RoleIntegration Role = "integration"
)

var everybody = []Role{
	RoleOwner, RoleAdmin, RoleAuthor, RoleReviewer, RoleSupervisor, RoleAgent, RoleAuditor, RoleIntegration,
}

// Scope is what the key of an integration may do: an area, and whether to read or to change it.
type Scope string

// The scopes. What could give its holder more rights (configuration, people, secrets) has none: it is for people.
const (
	ScopeStatus            Scope = "status:read"
	ScopeRulesRead         Scope = "rules:read"
	ScopeRulesWrite        Scope = "rules:write"
	ScopeAuditRead         Scope = "audit:read"
	ScopeConversationsRead Scope = "conversations:read"
	ScopeOutboxRead        Scope = "outbox:read"
	ScopeOutboxWrite       Scope = "outbox:write"
	ScopeReportsRead       Scope = "reports:read"
)

// Scopes are all of them.
var Scopes = []Scope{
	ScopeStatus, ScopeRulesRead, ScopeRulesWrite, ScopeAuditRead, ScopeConversationsRead, ScopeOutboxRead, ScopeOutboxWrite,
	ScopeReportsRead,
}

// Account is somebody, or something, that may sign in.
type Account struct {
	Tenant store.Tenant
	ID     string // stays the same for ever
	Name   string // what customers and colleagues see
	// Login is for signing in with a password, Password its hash as HashPassword makes it; empty: not by password.
	Login    string
	Password string
	Keys     []Key
	Role     Role
	Queues   []string
	Capacity int
	// Disabled shuts the account out: it cannot sign in and gets no conversation.
	Disabled bool
}

// Key is an API key as it is kept: by its digest.
type Key struct {
	ID string
	// SHA256 is the digest of the whole key in hex.
	SHA256 string
	// Expires is when the key ends; zero: never.
	Expires time.Time
	// Scopes are what the key of an integration may do. The keys of others do what their account may.
	Scopes []Scope
}

func (a *Account) agent() queue.Agent {
	return queue.Agent{
		Tenant: a.Tenant, ID: a.ID, Name: a.Name, Queues: a.Queues, Capacity: a.Capacity, Supervisor: a.Role == RoleSupervisor,
	}
}

// Accounts are the people of all tenants and the queues that they work in. It does not change once built.
type Accounts struct {
	byID    map[accountKey]*Account
	byLogin map[string][]*Account // tenants may have the same logins
	byKey   map[string][]keyed    // as accounts may have keys of the same name
	queues  map[store.Tenant][]string
}

type accountKey struct {
	tenant store.Tenant
	id     string
}

// OldKey ends the id of a key that was rotated and still works: "laptop-old" was "laptop".
const OldKey = "-old"

type keyed struct {
	account *Account
	id      string
	digest  [sha256.Size]byte
	expires time.Time
	scopes  []Scope
}

var _ queue.Directory = (*Accounts)(nil)

// NewAccounts builds the directory. Ids and logins are unique within a tenant; queues has an entry for each tenant.
func NewAccounts(list []Account, queues map[store.Tenant][]string) (*Accounts, error) {
	d := &Accounts{
		byID: map[accountKey]*Account{}, byLogin: map[string][]*Account{}, byKey: map[string][]keyed{}, queues: queues,
	}
	for i := range list {
		a := list[i]
		if err := d.add(&a); err != nil {
			return nil, fmt.Errorf("account %s of %s: %w", a.ID, a.Tenant.Name(), err)
		}
	}
	return d, nil
}

func (d *Accounts) add(a *Account) error {
	key := accountKey{a.Tenant, a.ID}
	switch {
	case a.ID == "":
		return errors.New("an account needs an id")
	case d.byID[key] != nil:
		return errors.New("the id is taken")
	case !slices.Contains(everybody, a.Role):
		return fmt.Errorf("unknown role %q", a.Role)
	}
	d.byID[key] = a
	if a.Disabled {
		a.Password, a.Keys = "", nil
	}
	if a.Password != "" {
		if _, err := parsePHC(a.Password); err != nil {
			return err
		}
		if a.Login == "" {
			a.Login = a.ID
		}
		for _, other := range d.byLogin[a.Login] {
			if other.Tenant == a.Tenant {
				return errors.New("the login is taken")
			}
		}
		d.byLogin[a.Login] = append(d.byLogin[a.Login], a)
	}
	for _, k := range a.Keys {
		raw, err := hex.DecodeString(k.SHA256)
		if err != nil || len(raw) != sha256.Size || !keyForm.MatchString(k.ID) {
			return fmt.Errorf("key %q: want an id of letters, digits, - and _, and a SHA-256 digest in hex", k.ID)
		}
		for _, scope := range k.Scopes {
			if a.Role != RoleIntegration || !slices.Contains(Scopes, scope) {
				return fmt.Errorf("key %q: scope %q is not known, or the account is no integration", k.ID, scope)
			}
		}
		key := keyed{account: a, id: k.ID, digest: [sha256.Size]byte(raw), expires: k.Expires, scopes: k.Scopes}
		d.byKey[k.ID] = append(d.byKey[k.ID], key)
		if name, old := strings.CutSuffix(k.ID, OldKey); old { // the key itself says the name that it was made with
			d.byKey[name] = append(d.byKey[name], key)
		}
	}
	return nil
}

// Agent implements queue.Directory: only those who take conversations are agents.
func (d *Accounts) Agent(t store.Tenant, id string) (queue.Agent, bool) {
	a := d.byID[accountKey{t, id}]
	if a == nil || a.Disabled || a.Role != RoleAgent && a.Role != RoleSupervisor {
		return queue.Agent{}, false
	}
	return a.agent(), true
}

// Agents implements queue.Directory.
func (d *Accounts) Agents(t store.Tenant) (out []queue.Agent) {
	for key := range d.byID {
		if key.tenant != t {
			continue
		}
		if a, ok := d.Agent(t, key.id); ok {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b queue.Agent) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return out
}

// Queues implements queue.Directory.
func (d *Accounts) Queues(t store.Tenant) []string { return slices.Sorted(slices.Values(d.queues[t])) }

// HasQueue implements queue.Directory.
func (d *Accounts) HasQueue(t store.Tenant, name string) bool {
	return slices.Contains(d.queues[t], name)
}

// Tenants returns the tenants, sorted by name.
func (d *Accounts) Tenants() []store.Tenant {
	return slices.SortedFunc(maps.Keys(d.queues), func(a, b store.Tenant) int { return strings.Compare(a.Name(), b.Name()) })
}

// login finds the account of a login. Without a tenant the login must be somebody's in exactly one.
func (d *Accounts) login(tenant, login string) *Account {
	var found *Account
	for _, a := range d.byLogin[login] {
		if tenant != "" && a.Tenant.Name() != tenant {
			continue
		}
		if found != nil {
			return nil
		}
		found = a
	}
	return found
}

const keyPrefix = "tk_"

var keyForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// NewKey makes an API key with a name: what its holder gets, once, and the digest that is kept.
func NewKey(random io.Reader, id string) (key, digest string, err error) {
	if !keyForm.MatchString(id) {
		return "", "", fmt.Errorf("key %q: want 1 to 64 letters, digits, - and _", id)
	}
	var secret [32]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return "", "", fmt.Errorf("reading randomness: %w", err)
	}
	key = keyPrefix + id + "." + base64.RawURLEncoding.EncodeToString(secret[:])
	sum := sha256.Sum256([]byte(key))
	return key, hex.EncodeToString(sum[:]), nil
}

// keyID returns the name in an API key.
func keyID(key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, keyPrefix)
	if !ok {
		return "", false
	}
	id, _, ok := strings.Cut(rest, ".")
	return id, ok
}
