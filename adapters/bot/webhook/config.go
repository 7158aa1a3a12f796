package webhook

import (
	"errors"
	"fmt"
	"time"

	"turnout/adapters"
	"turnout/adapters/hook"
)

// Config is the section of a webhook bot. The zero value of a field means its default.
type Config struct {
	// URL is where turns go: http or https, without credentials.
	URL string `yaml:"url"`
	// Method is POST (default) or PUT.
	Method string `yaml:"method"`
	// Headers are sent with every call. A value is a literal, or a reference to a secret ("env:NAME", "file:/path"),
	// which may follow one word and a space ("Bearer env:NAME"). Headers that carry secrets take no literal.
	Headers map[string]string `yaml:"headers"`
	// Timeout is the most that one call may take; default 10 s. An earlier deadline of the caller counts.
	Timeout time.Duration `yaml:"timeout"`
	// Sign, if set, is the secret that calls are signed with.
	Sign adapters.SecretRef `yaml:"sign"`
	// Request maps JSON fields of the body to expressions; RequestBody is one expression for the whole body. Without
	// either the body is turnout's own.
	Request     map[string]string `yaml:"request"`
	RequestBody string            `yaml:"request_body"`
	// Response says where in the answer to find what. Without it the usual shapes are understood.
	Response *ResponseConfig `yaml:"response"`
	// MaxResponse is the largest answer in bytes; default 1 MiB. MaxConns bounds calls at a time; default 64.
	MaxResponse int `yaml:"max_response"`
	MaxConns    int `yaml:"max_conns"`
}

// ResponseConfig holds the expressions over an answer. Those that are left out give nothing.
type ResponseConfig struct {
	Text       string `yaml:"text"`  // a string or a list of strings
	Parts      string `yaml:"parts"` // a list of {text, lang, choices, link}, in place of text
	Confidence string `yaml:"confidence"`
	Intent     string `yaml:"intent"`
	Fallback   string `yaml:"fallback"`
	Handoff    string `yaml:"handoff"` // true, a reason, or {reason, queue}
	End        string `yaml:"end"`
	Sources    string `yaml:"sources"` // a list of strings or {title, url}
}

const (
	defaultTimeout     = 10 * time.Second
	maxTimeout         = 5 * time.Minute
	defaultMaxResponse = 1 << 20
	defaultMaxConns    = 64
)

// target is the URL of a bot, taken apart.
type target struct {
	uri  string
	addr string // host:port
	tls  bool
}

func (c *Config) complete() (target, error) {
	fill(&c.Method, "POST")
	fill(&c.Timeout, defaultTimeout)
	fill(&c.MaxResponse, defaultMaxResponse)
	fill(&c.MaxConns, defaultMaxConns)
	var errs []error
	to, err := parseTarget(c.URL)
	if err != nil {
		errs = append(errs, fmt.Errorf("url: %w", err))
	}
	check := func(ok bool, msg string) {
		if !ok {
			errs = append(errs, errors.New(msg))
		}
	}
	check(c.Method == "POST" || c.Method == "PUT", "method: must be POST or PUT")
	check(c.Timeout > 0 && c.Timeout <= maxTimeout, "timeout: must lie between 0s and 5m")
	check(c.MaxResponse > 0 && c.MaxResponse <= 64<<20, "max_response: must lie between 1 byte and 64 MiB")
	check(c.MaxConns > 0 && c.MaxConns <= 10_000, "max_conns: must lie between 1 and 10000")
	check(len(c.Request) == 0 || c.RequestBody == "", "request_body: cannot stand beside request; choose one")
	check(c.Response == nil || c.Response.Text == "" || c.Response.Parts == "", "response.parts: cannot stand beside response.text; choose one")
	return to, errors.Join(errs...)
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func parseTarget(s string) (target, error) {
	u, err := hook.ParseURL(s)
	if err != nil {
		return target{}, err
	}
	to := target{uri: u.String()}
	to.addr, to.tls = hook.Address(u)
	return to, nil
}
