package openai

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"turnout/adapters"
	"turnout/adapters/hook"
	"turnout/adapters/wire/openai"
	"turnout/rules/safeexpr"
)

// Config is the section of an openai bot. The zero value of a field means its default.
type Config struct {
	// URL is the base of the server's API: "https://api.openai.com/v1". "/chat/completions" is added to its path; a query stays.
	URL   string `yaml:"url"`
	Model string `yaml:"model"`
	// Key is sent as "Authorization: Bearer …". Servers that take it elsewhere get it by Headers, see hook.Headers.
	Key     adapters.SecretRef `yaml:"key"`
	Headers map[string]string  `yaml:"headers"`
	// Prompt is the system prompt. Facts are added to it: what expressions know of the customer, each under its name.
	Prompt string            `yaml:"prompt"`
	Facts  map[string]string `yaml:"facts"`
	// History bounds what each call brings of the conversation before.
	History HistoryConfig `yaml:"history"`
	// Parameters are further members of each request: temperature, max_tokens and the like.
	Parameters map[string]any `yaml:"parameters"`
	// Handoff says how the model learns that it can ask for a person: tool (default), sentinel, or off. Both are read in
	// any case.
	Handoff string `yaml:"handoff"`
	// Stream asks for an event stream (default true), Usage for the count of tokens at its end (default true).
	Stream *bool `yaml:"stream"`
	Usage  *bool `yaml:"usage"`
	// Timeout is the most that one call may take; default 60 s. An earlier deadline of the caller counts. Idle is the most that may
	// pass before the first and between two pieces of an answer; default 30 s.
	Timeout time.Duration `yaml:"timeout"`
	Idle    time.Duration `yaml:"idle"`
	// MaxResponse is the largest response in bytes; default 4 MiB: every piece of a stream carries several hundred bytes beside its
	// text. MaxConns bounds calls at a time; default 64.
	MaxResponse int `yaml:"max_response"`
	MaxConns    int `yaml:"max_conns"`
}

// HistoryConfig bounds the history: the last Messages (default 40, -1 none), as far as they have no more than Bytes of text
// (default 32768) and no more than about Tokens (default: no limit of its own).
type HistoryConfig struct {
	Messages int `yaml:"messages"`
	Bytes    int `yaml:"bytes"`
	Tokens   int `yaml:"tokens"`
}

// The ways of Config.Handoff.
const (
	byTool     = "tool"
	bySentinel = "sentinel"
	notOffered = "off"
)

const (
	defaultTimeout     = 60 * time.Second
	defaultIdle        = 30 * time.Second
	maxTimeout         = 10 * time.Minute
	defaultMaxResponse = 4 << 20
	defaultMaxConns    = 64
	defaultMessages    = 40
	defaultBytes       = 32 << 10
	maxPrompt          = 64 << 10
	maxFacts           = 32
)

// bytesPerToken is what a token is taken for: English text has about four bytes to the token, most others less.
const bytesPerToken = 3

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// complete fills in defaults and returns the URL that requests go to.
func (c *Config) complete() (*url.URL, error) {
	fill(&c.Handoff, byTool)
	fill(&c.Timeout, defaultTimeout)
	fill(&c.Idle, defaultIdle)
	fill(&c.MaxResponse, defaultMaxResponse)
	fill(&c.MaxConns, defaultMaxConns)
	fill(&c.History.Messages, defaultMessages)
	fill(&c.History.Bytes, defaultBytes)
	yes := true
	fill(&c.Stream, &yes)
	fill(&c.Usage, &yes)
	var errs []error
	to, err := hook.ParseURL(c.URL)
	if err != nil {
		errs = append(errs, fmt.Errorf("url: %w", err))
	} else if strings.HasSuffix(strings.TrimRight(to.Path, "/"), path) {
		errs = append(errs, fmt.Errorf("url: is the base of the API; leave %s out", path))
	}
	check := func(ok bool, msg string) {
		if !ok {
			errs = append(errs, errors.New(msg))
		}
	}
	check(strings.TrimSpace(c.Model) != "", "model: is missing")
	check(len(c.Prompt) <= maxPrompt, "prompt: must have at most 65536 bytes")
	check(len(c.Facts) <= maxFacts, "facts: must be at most 32")
	check(slices.Contains([]string{byTool, bySentinel, notOffered}, c.Handoff), "handoff: must be tool, sentinel or off")
	check(c.Timeout > 0 && c.Timeout <= maxTimeout, "timeout: must lie between 0s and 10m")
	check(c.Idle > 0 && c.Idle <= maxTimeout, "idle: must lie between 0s and 10m")
	check(c.MaxResponse > 0 && c.MaxResponse <= 64<<20, "max_response: must lie between 1 byte and 64 MiB")
	check(c.MaxConns > 0 && c.MaxConns <= 10_000, "max_conns: must lie between 1 and 10000")
	check(c.History.Messages >= -1 && c.History.Messages <= 1000, "history.messages: must lie between -1 (none) and 1000")
	check(c.History.Bytes > 0 && c.History.Bytes <= 1<<20, "history.bytes: must lie between 1 and 1048576")
	check(c.History.Tokens >= 0 && c.History.Tokens <= 1_000_000, "history.tokens: must lie between 0 (no limit of its own) and 1000000")
	for _, name := range slices.Sorted(maps.Keys(c.Parameters)) {
		check(!openai.Reserved(name), "parameters."+name+": is set by turnout")
	}
	trial := openai.Request{Parameters: c.Parameters}
	if _, err := trial.Encode(); err != nil && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("parameters: %w", err))
	}
	return to, errors.Join(errs...)
}

// path is where requests go below the base of the API.
const path = "/chat/completions"

// fact is a line of the system prompt.
type fact struct {
	name  string
	value *safeexpr.Program
}

// factShape declares the names of facts' expressions; a nil value is of unknown type. What the customer writes is not among them.
func factShape() map[string]any {
	return map[string]any{"tenant": "", "channel": "", "contact": "", "lang": "", "profile": nil}
}

func compileFacts(facts map[string]string) ([]fact, error) {
	var out []fact
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		p, err := safeexpr.Compile(facts[name], factShape(), safeexpr.Options{})
		if err != nil {
			errs = append(errs, fmt.Errorf("facts.%s: %w", name, err))
		}
		out = append(out, fact{name: name, value: p})
	}
	return out, errors.Join(errs...)
}
