package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"turnout/adapters"
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
	// The text of a parse error repeats the URL, which may hold a password.
	u, err := url.Parse(s)
	switch {
	case s == "":
		return target{}, errors.New("is missing")
	case err != nil:
		return target{}, errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return target{}, errors.New("must begin with http:// or https:// and a host")
	case u.User != nil:
		return target{}, errors.New("must not hold credentials; use headers with a reference to a secret")
	case u.Fragment != "":
		return target{}, errors.New("must not have a fragment")
	}
	to := target{uri: u.String(), tls: u.Scheme == "https"}
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: "80", true: "443"}[to.tls]
	}
	to.addr = net.JoinHostPort(u.Hostname(), port)
	return to, nil
}

// header is a header of every call, resolved.
type header struct{ name, value string }

// ownHeaders are set by the call itself.
var ownHeaders = []string{
	"host", "content-length", "transfer-encoding", "connection", "content-type", "content-encoding", "accept-encoding",
	"idempotency-key", "x-turnout-attempt", "x-turnout-timestamp", "x-turnout-signature",
}

func resolveHeaders(headers map[string]string, d adapters.Deps) ([]header, error) {
	var out []header
	for name, value := range headers {
		if !headerName(name) {
			return nil, errors.New("headers: a name has characters that no header name can have")
		}
		for _, own := range ownHeaders {
			if strings.EqualFold(name, own) {
				return nil, fmt.Errorf("headers.%s: is set by turnout", name)
			}
		}
		prefix, ref := "", value
		if scheme, rest, ok := strings.Cut(value, " "); ok && isRef(rest) {
			prefix, ref = scheme+" ", rest
		}
		if isRef(ref) {
			secret, err := d.Secret(adapters.SecretRef(ref))
			if err != nil {
				return nil, fmt.Errorf("headers.%s: %w", name, err)
			}
			value = prefix + secret.Reveal()
		} else if secretHeader(name) {
			return nil, fmt.Errorf("headers.%s: carries a secret; name it as env:NAME or file:/path", name)
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("headers.%s: has a line end in its value", name)
		}
		out = append(out, header{name: name, value: value})
	}
	return out, nil
}

func isRef(s string) bool { return strings.HasPrefix(s, "env:") || strings.HasPrefix(s, "file:") }

func secretHeader(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "auth-key"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

func headerName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != ""
}
