package config

import (
	"errors"
	"slices"
	"time"

	"turnout/adapters"
)

// Tenant is one tenant with everything that belongs to it. The lists are sorted by name.
type Tenant struct {
	At   Pos    `yaml:"-"`
	Name string `yaml:"-"`

	// Title is the name that people see; the tenant's name by default.
	Title string `yaml:"title"`
	// DefaultQueue takes handoffs that name no queue, Bot answers on channels that name none. A tenant with only one
	// need not say so.
	DefaultQueue string `yaml:"default_queue"`
	Bot          string `yaml:"bot"`
	// BotByLanguage are the bots that answer in a language in place of Bot, by its tag: "de", "pt-BR". Once linked, the tags are in
	// lower case.
	BotByLanguage map[string]string `yaml:"bot_by_language"`
	// Languages are those that the tenant serves, the first is the fallback; "en" by default.
	Languages []string `yaml:"languages"`
	// IdleNew is after how long without a message a conversation that no person was involved in ends.
	IdleNew time.Duration `yaml:"idle_new"`
	// ReopenWithin is how long after its close a message reopens a conversation; 0 leaves it to each channel's default.
	ReopenWithin time.Duration `yaml:"reopen_within"`
	BotLadder    BotLadder     `yaml:"bot_ladder"`
	// Retention is how long what is kept; nothing said is for good.
	Retention Retention `yaml:"retention"`
	// BareRequests says that a bare word for a person ("agent") hands over without any rule.
	BareRequests bool `yaml:"bare_requests"`

	Channels []*Channel `yaml:"-"`
	Bots     []*Bot     `yaml:"-"`
	Queues   []*Queue   `yaml:"-"`
	Agents   []*Agent   `yaml:"-"`
	// Profile is how the tenant's own system is asked who a customer is; nil: it is not.
	Profile *Profile `yaml:"-"`
	// Rules are the sources of the tenant's rules, sorted by name.
	Rules []RuleSource `yaml:"-"`
	// RulesPublished is set when rules are published to the running node; Rules is empty then. RulesFrom is the resource
	// file that says where rules come from, empty when none does.
	RulesPublished bool   `yaml:"-"`
	RulesFrom      string `yaml:"-"`

	// Canonical is the tenant's resources as JSON, the same however the files are laid out; Digest is its SHA-256 in
	// hex, the identity of the tenant's version.
	Canonical []byte `yaml:"-"`
	Digest    string `yaml:"-"`

	// Stored is set for a tenant that no file has. It may be without bot and queue until it has a channel.
	Stored bool `yaml:"-"`
	// Resources are all that the tenant consists of, sorted by kind and name, as Canonical has them.
	Resources []Resource `yaml:"-"`

	spec      Section
	ruleFiles []document
}

// Retention is how long a tenant keeps what of a conversation after its close; 0 is for good.
type Retention struct {
	// Attachments are files, Messages everything that was said and known, Figures what reports count when that is gone.
	Attachments time.Duration `yaml:"attachments"`
	Messages    time.Duration `yaml:"messages"`
	Figures     time.Duration `yaml:"figures"`
}

// BotLadder says what happens to conversations whose bot is down.
type BotLadder struct {
	// CaptureOver is the number of waiting conversations from which on they are captured instead of queued; 0: never.
	CaptureOver int `yaml:"capture_over"`
}

// Connection is one app or account of a provider that channels of several tenants share. It belongs to the operator: it is in
// files only, and belongs to no tenant.
type Connection struct {
	At      Pos    `yaml:"-"`
	Name    string `yaml:"-"`
	Adapter string `yaml:"adapter"`
	// Tenants are those whose channels may be members: a number of the app is nobody's to take who is not named.
	Tenants []string `yaml:"tenants"`
	// Config is the adapter's.
	Config Section `yaml:"config"`

	spec Section
}

// Channel is a channel that customers write on.
type Channel struct {
	At      Pos    `yaml:"-"`
	Name    string `yaml:"-"`
	Adapter string `yaml:"adapter"`
	// Key is the channel's public name in URLs, unique on the node; "<tenant>.<name>" by default.
	Key string `yaml:"key"`
	// Bot answers, or by the language of the conversation a bot of BotByLanguage; the tenant's by default. A channel that says
	// either takes nothing of the tenant's table.
	Bot           string            `yaml:"bot"`
	BotByLanguage map[string]string `yaml:"bot_by_language"`
	// ReopenWithin is the tenant's by default, or else 30 minutes for web, 14 days for email and 24 hours for others.
	ReopenWithin time.Duration `yaml:"reopen_within"`
	// BotCalls and Sends bound the calls of bots for the channel, and the sends over it, that are under way; 0: nothing but
	// the bounds of its bots and its adapter does.
	BotCalls int `yaml:"bot_calls"`
	Sends    int `yaml:"sends"`
	// Config is the adapter's.
	Config Section `yaml:"config"`

	spec Section
}

// Bot is a bot that answers.
type Bot struct {
	At      Pos    `yaml:"-"`
	Name    string `yaml:"-"`
	Adapter string `yaml:"adapter"`
	// Deadline is how long a whole answer may take.
	Deadline time.Duration `yaml:"deadline"`
	// Concurrency is the number of calls under way at a time.
	Concurrency int     `yaml:"concurrency"`
	Breaker     Breaker `yaml:"breaker"`
	// Budget bounds what the bot may cost.
	Budget Budget `yaml:"budget"`
	// Alternate is the bot to ask when this one fails; empty for none.
	Alternate string `yaml:"alternate"`
	// Config is the adapter's.
	Config Section `yaml:"config"`

	spec Section
}

// Budget bounds the calls of one bot and, for bots that count in tokens, what they take. 0: no limit.
type Budget struct {
	CallsPerHour  int64 `yaml:"calls_per_hour"`
	CallsPerDay   int64 `yaml:"calls_per_day"`
	TokensPerHour int64 `yaml:"tokens_per_hour"`
	TokensPerDay  int64 `yaml:"tokens_per_day"`
}

// Breaker stops calls to a bot for OpenFor after Failures failed ones within Window.
type Breaker struct {
	Failures int           `yaml:"failures"`
	Window   time.Duration `yaml:"window"`
	OpenFor  time.Duration `yaml:"open_for"`
}

// Profile is how a tenant's own system is asked who a customer is to it.
type Profile struct {
	At      Pos    `yaml:"-"`
	Name    string `yaml:"-"`
	Adapter string `yaml:"adapter"` // "http" by default
	// Channels are those whose customers it is asked for; all by default.
	Channels []string `yaml:"channels"`
	// Levels are the ways of authentication, as channels report them, that are enough; any by default.
	Levels []string `yaml:"levels"`
	// LateWait is how long a bot's turn waits for the first answer about a customer, at most.
	LateWait time.Duration `yaml:"late_wait"`
	// FreshFor is how long an answer is as good as a new one, StaleFor how long after that it may be used while the system is
	// asked again.
	FreshFor time.Duration `yaml:"fresh_for"`
	StaleFor time.Duration `yaml:"stale_for"`
	// Deadline bounds one call, Concurrency the calls at a time, CacheEntries and CacheBytes what is kept in memory.
	Deadline     time.Duration `yaml:"deadline"`
	Concurrency  int           `yaml:"concurrency"`
	CacheEntries int           `yaml:"cache_entries"`
	CacheBytes   int64         `yaml:"cache_bytes"`
	Breaker      Breaker       `yaml:"breaker"`
	// Config is the adapter's.
	Config Section `yaml:"config"`

	spec Section
}

// Serves reports whether the customers of a channel are asked for.
func (p *Profile) Serves(channel string) bool {
	return len(p.Channels) == 0 || slices.Contains(p.Channels, channel)
}

// Queue is where conversations wait for people.
type Queue struct {
	At   Pos    `yaml:"-"`
	Name string `yaml:"-"`
	// Title is the name that people see; the queue's name by default.
	Title string `yaml:"title"`
	// Priority is that of handoffs into the queue that name none; normal by default.
	Priority Priority `yaml:"priority"`
}

// Priority orders handoffs, higher first. In a file it is low, normal, high or urgent, as in a rule.
type Priority int

// The priorities of handoffs.
const (
	PriorityLow    Priority = 3
	PriorityNormal Priority = 5
	PriorityHigh   Priority = 7
	PriorityUrgent Priority = 9
)

// UnmarshalText reads the name of a priority.
func (p *Priority) UnmarshalText(text []byte) error {
	switch string(text) {
	case "low":
		*p = PriorityLow
	case "normal":
		*p = PriorityNormal
	case "high":
		*p = PriorityHigh
	case "urgent":
		*p = PriorityUrgent
	default:
		return errors.New("want a priority: low, normal, high or urgent")
	}
	return nil
}

// Agent is somebody, or some program, with access to a tenant.
type Agent struct {
	At Pos `yaml:"-"`
	// ID is the resource's name. It stays the same for ever.
	ID string `yaml:"-"`
	// Name is what customers and colleagues see.
	Name string `yaml:"name"`
	// Login is for signing in with a password; the ID by default.
	Login string `yaml:"login"`
	// Password refers to an argon2id hash ("$argon2id$…"); empty: no sign-in by password.
	Password adapters.SecretRef `yaml:"password"`
	Keys     []Key              `yaml:"keys"`
	Role     Role               `yaml:"role"`
	// Queues are those that the agent works in. In the file "*" stands for all; here they are spelt out.
	Queues []string `yaml:"queues"`
	// Capacity is the number of conversations at a time; 5 by default.
	Capacity int `yaml:"capacity"`
	// Disabled shuts the agent out, without forgetting who it was.
	Disabled bool `yaml:"disabled"`

	spec Section
}

// Key is an API key, known by its digest only.
type Key struct {
	// ID names the key in the audit log; unique for the agent.
	ID string `yaml:"id"`
	// SHA256 is the digest in hex, or a reference to it. Digest tells them apart.
	SHA256 string `yaml:"sha256"`
	// Expires is when the key ends to work; zero: never.
	Expires time.Time `yaml:"expires"`
	// Scopes are what the key of an integration may do.
	Scopes []string `yaml:"scopes"`
}

// Digest returns the key's digest in hex, or the secret that holds it: one of the two is empty.
func (k Key) Digest() (hex string, ref adapters.SecretRef) {
	if digestForm.MatchString(k.SHA256) {
		return k.SHA256, ""
	}
	return "", adapters.SecretRef(k.SHA256)
}

// Role is what an agent may do.
type Role string

// The roles.
const (
	RoleAgent       Role = "agent"
	RoleSupervisor  Role = "supervisor"
	RoleAdmin       Role = "admin"
	RoleOwner       Role = "owner"
	RoleAuditor     Role = "auditor"
	RoleAuthor      Role = "author"
	RoleReviewer    Role = "reviewer"
	RoleIntegration Role = "integration"
)
