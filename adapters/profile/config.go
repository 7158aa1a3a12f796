package profile

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"turnout/adapters/hook"
)

// Config is the section of a directory behind a URL. The zero value of a field means its default.
type Config struct {
	// URL is where to ask: http or https, without credentials. In its path and query, {subject}, {email} and {phone} stand
	// for what the channel verified; a customer of whom one of them is not known is not asked for.
	URL string `yaml:"url"`
	// Method is GET (default) or POST.
	Method string `yaml:"method"`
	// Headers are sent with every request; a value is a literal, or a reference to a secret, as those of a webhook bot.
	Headers map[string]string `yaml:"headers"`
	// Request maps JSON fields of the body of a POST to expressions over subject, email, phone, name, level and fields.
	Request map[string]string `yaml:"request"`
	// Response says where in the answer to find what.
	Response ResponseConfig `yaml:"response"`
	// MaxResponse is the largest answer in bytes; default 256 KiB. MaxConns bounds requests at a time; default 16.
	MaxResponse int `yaml:"max_response"`
	MaxConns    int `yaml:"max_conns"`
	// MaxTickets is how many past tickets are kept, the first ones; default 10.
	MaxTickets int `yaml:"max_tickets"`
	// Probe is the subject of a customer, made up for this, whom "turnout check --connect" may ask for.
	Probe string `yaml:"probe"`
}

// ResponseConfig holds the expressions over an answer: body, the decoded JSON, and status.
type ResponseConfig struct {
	// Known says whether the system knows the customer. Without it every answer but 404 and 204 is one about somebody known.
	Known string `yaml:"known"`
	Name  string `yaml:"name"`
	// Fields are the state of the account by the names that rules read them by. A value is a text, a number or a boolean;
	// one that is null, or that the answer has not, is absent.
	Fields map[string]string `yaml:"fields"`
	// Tickets is a list of {id, subject, status, at, url}.
	Tickets string `yaml:"tickets"`
}

const (
	defaultMaxResponse = 256 << 10
	defaultMaxConns    = 16
	defaultMaxTickets  = 10
	maxTickets         = 20
	maxFields          = 32
)

func (c *Config) complete() (*template, error) {
	fill(&c.Method, "GET")
	fill(&c.MaxResponse, defaultMaxResponse)
	fill(&c.MaxConns, defaultMaxConns)
	fill(&c.MaxTickets, defaultMaxTickets)
	var errs []error
	t, err := parseTemplate(c.URL)
	if err != nil {
		errs = append(errs, fmt.Errorf("url: %w", err))
	}
	check := func(ok bool, msg string) {
		if !ok {
			errs = append(errs, errors.New(msg))
		}
	}
	check(c.Method == "GET" || c.Method == "POST", "method: must be GET or POST")
	check(c.Method == "POST" || len(c.Request) == 0, "request: is the body of a POST; write method: POST, or put what is asked for into the url")
	check(err != nil || len(t.holes) > 0 || len(c.Request) > 0,
		"url: says nothing of whom to ask for; put {subject}, {email} or {phone} into it, or into request")
	check(c.MaxResponse > 0 && c.MaxResponse <= 4<<20, "max_response: must lie between 1 byte and 4 MiB")
	check(c.MaxConns > 0 && c.MaxConns <= 1000, "max_conns: must lie between 1 and 1000")
	check(c.MaxTickets > 0 && c.MaxTickets <= maxTickets, "max_tickets: must lie between 1 and 20")
	r := &c.Response
	check(r.Known != "" || r.Name != "" || r.Tickets != "" || len(r.Fields) > 0, "response: maps nothing; give fields, tickets or name")
	check(len(r.Fields) <= maxFields, "response.fields: are more than 32")
	return t, errors.Join(errs...)
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// template is a URL with holes.
type template struct {
	url   *url.URL
	holes []string // the names of the holes, in order
	path  []piece
	query []piece
}

// piece is text as it goes into the URL, or a hole.
type piece struct{ text, hole string }

// identities are what a hole may stand for.
var identities = []string{"subject", "email", "phone"}

// parseTemplate reads a URL with holes. Its errors do not repeat the URL.
func parseTemplate(s string) (*template, error) {
	u, err := hook.ParseURL(s)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(u.Host, "{}") {
		return nil, errors.New("the host must be written out")
	}
	t := &template{url: u}
	if t.path, err = t.pieces(u.EscapedPath()); err != nil {
		return nil, err
	}
	t.query, err = t.pieces(u.RawQuery)
	return t, err
}

// pieces takes an escaped text apart. The braces of holes may be escaped.
func (t *template) pieces(s string) (out []piece, err error) {
	s = strings.NewReplacer("%7B", "{", "%7b", "{", "%7D", "}", "%7d", "}").Replace(s)
	for s != "" {
		text, rest, found := strings.Cut(s, "{")
		if text != "" {
			out = append(out, piece{text: text})
		}
		if !found {
			break
		}
		hole, after, closed := strings.Cut(rest, "}")
		known := false
		for _, name := range identities {
			known = known || hole == name
		}
		if !closed || !known {
			return nil, errors.New("in braces stand subject, email or phone only")
		}
		out = append(out, piece{hole: hole})
		t.holes = append(t.holes, hole)
		s = after
	}
	return out, nil
}
