package callback

import (
	"errors"
	"fmt"
	"time"

	"turnout/adapters"
	"turnout/adapters/hook"
)

// Config is the section of a callback channel. The zero value of a field means its default.
type Config struct {
	// URL is where what is said goes: http or https, without credentials.
	URL string `yaml:"url"`
	// Headers are sent with every call. A value is a literal, or a reference to a secret ("env:NAME", "file:/path"), which
	// may follow one word and a space ("Bearer env:NAME"). Headers that carry secrets take no literal.
	Headers map[string]string `yaml:"headers"`
	// Secret is what the app's server signs with, at least 32 bytes; PreviousSecret is taken too while it is exchanged.
	Secret         adapters.SecretRef `yaml:"secret"`
	PreviousSecret adapters.SecretRef `yaml:"previous_secret"`
	// Sign, if set, is the secret that calls of the channel are signed with: another one.
	Sign adapters.SecretRef `yaml:"sign"`
	// Tolerance is how far the time of a signed request may be off; default 5 m, at most 1 h.
	Tolerance time.Duration `yaml:"tolerance"`
	// Inbound says where in a request to find what. Without it requests have turnout's own form.
	Inbound *InboundConfig `yaml:"inbound"`
	// Idempotent says that the app's server takes a message id once, however often it comes. Without it a call whose answer
	// is lost is not simply repeated.
	Idempotent bool `yaml:"idempotent"`
	// Timeout is the most that one call may take; default 10 s. Concurrency bounds calls at a time; default 8.
	Timeout     time.Duration `yaml:"timeout"`
	Concurrency int           `yaml:"concurrency"`
	Pace        PaceConfig    `yaml:"pace"`
	// Attempts and MaxAge bound how often and how long one message is tried; defaults 10 and 24 h.
	Attempts int           `yaml:"attempts"`
	MaxAge   time.Duration `yaml:"max_age"`
	Limits   LimitConfig   `yaml:"limits"`
}

// InboundConfig holds the expressions over a request. The name body is the decoded body; with Each, item is one of the
// list that Each finds, and else the body. ID, From and Text have to be there.
type InboundConfig struct {
	Each    string `yaml:"each"`
	ID      string `yaml:"id"`
	From    string `yaml:"from"`
	Text    string `yaml:"text"`
	Kind    string `yaml:"kind"`
	Choice  string `yaml:"choice"`
	Lang    string `yaml:"lang"`
	Profile string `yaml:"profile"`
}

// PaceConfig says how fast the channel sends, in messages per second. 0 is no limit.
type PaceConfig struct {
	PerSecond          float64 `yaml:"per_second"`
	Burst              int     `yaml:"burst"`
	RecipientPerSecond float64 `yaml:"recipient_per_second"`
	RecipientBurst     int     `yaml:"recipient_burst"`
}

// LimitConfig bounds what a request may hold.
type LimitConfig struct {
	// TextBytes is the longest text of a message; default 8192. The node's limit is the upper bound.
	TextBytes int `yaml:"text_bytes"`
	// Batch is how many messages or receipts one request may hold; default and most 100.
	Batch int `yaml:"batch"`
}

const (
	defaultTolerance   = 5 * time.Minute
	defaultTimeout     = 10 * time.Second
	defaultConcurrency = 8
	defaultAttempts    = 10
	defaultMaxAge      = 24 * time.Hour
	defaultTextBytes   = 8 << 10
	maxTextBytes       = 64 << 10
	mostBatch          = 100
	minSecret          = 32
)

// complete fills in defaults and checks the rest. An error names the key that it is about.
func (c *Config) complete() error {
	fill(&c.Tolerance, defaultTolerance)
	fill(&c.Timeout, defaultTimeout)
	fill(&c.Concurrency, defaultConcurrency)
	fill(&c.Attempts, defaultAttempts)
	fill(&c.MaxAge, defaultMaxAge)
	fill(&c.Limits.TextBytes, defaultTextBytes)
	fill(&c.Limits.Batch, mostBatch)
	var errs []error
	if _, err := hook.ParseURL(c.URL); err != nil {
		errs = append(errs, fmt.Errorf("url: %w", err))
	}
	check := func(ok bool, msg string) {
		if !ok {
			errs = append(errs, errors.New(msg))
		}
	}
	check(c.Secret != "", "secret: is missing; name it as env:NAME or file:/path")
	check(c.PreviousSecret == "" || c.PreviousSecret != c.Secret, "previous_secret: is the same as secret; leave it out")
	check(c.Sign == "" || c.Sign != c.Secret && c.Sign != c.PreviousSecret,
		"sign: must be another secret than secret: what is sent out could be sent back in")
	check(c.Tolerance > 0 && c.Tolerance <= time.Hour, "tolerance: must lie between 0s and 1h")
	check(c.Timeout > 0 && c.Timeout <= time.Minute, "timeout: must lie between 0s and 1m")
	check(c.Concurrency > 0 && c.Concurrency <= 256, "concurrency: must lie between 1 and 256")
	check(c.Attempts > 0 && c.Attempts <= 100, "attempts: must lie between 1 and 100")
	check(c.MaxAge >= time.Minute && c.MaxAge <= 7*24*time.Hour, "max_age: must lie between 1m and 168h")
	check(c.Pace.PerSecond >= 0, "pace.per_second: must not be negative")
	check(c.Pace.Burst >= 0, "pace.burst: must not be negative")
	check(c.Pace.Burst == 0 || c.Pace.PerSecond > 0, "pace.burst: means nothing without pace.per_second")
	check(c.Pace.RecipientPerSecond >= 0, "pace.recipient_per_second: must not be negative")
	check(c.Pace.RecipientBurst >= 0, "pace.recipient_burst: must not be negative")
	check(c.Pace.RecipientBurst == 0 || c.Pace.RecipientPerSecond > 0, "pace.recipient_burst: means nothing without pace.recipient_per_second")
	check(c.Limits.TextBytes > 0 && c.Limits.TextBytes <= maxTextBytes, "limits.text_bytes: must lie between 1 and 65536")
	check(c.Limits.Batch > 0 && c.Limits.Batch <= mostBatch, "limits.batch: must lie between 1 and 100")
	if in := c.Inbound; in != nil {
		check(in.ID != "", "inbound.id: is missing: without an id a repeat would be a second message")
		check(in.From != "", "inbound.from: is missing")
		check(in.Text != "", "inbound.text: is missing")
	}
	return errors.Join(errs...)
}

// within keeps the limits of the channel within those of the node.
func (c *Config) within(l adapters.Limits) {
	if l.TextBytes > 0 {
		c.Limits.TextBytes = min(c.Limits.TextBytes, l.TextBytes)
	}
}

// Policy implements adapters.Sender.
func (c *Channel) Policy() adapters.SendPolicy {
	return adapters.SendPolicy{
		Idempotent: c.cfg.Idempotent, Timeout: c.cfg.Timeout, Concurrency: c.cfg.Concurrency,
		PerSecond: c.cfg.Pace.PerSecond, Burst: c.cfg.Pace.Burst,
		RecipientPerSecond: c.cfg.Pace.RecipientPerSecond, RecipientBurst: c.cfg.Pace.RecipientBurst,
		Attempts: c.cfg.Attempts, MaxAge: c.cfg.MaxAge,
	}
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
