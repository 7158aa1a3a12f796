package web

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"turnout/adapters"
)

// Config is the section of a web channel. The zero value of every field means its default.
type Config struct {
	// Title is shown on the chat page.
	Title string `yaml:"title"`
	// Origins lists the web origins ("https://www.example.org") whose pages may speak to the channel. A request that
	// names any other origin is refused. Programs that are no browsers send none and need no entry.
	Origins []string `yaml:"origins"`
	// AllowNoOrigin lets sockets open without an Origin header: for apps and tools, which are no browsers.
	AllowNoOrigin bool `yaml:"allow_no_origin"`
	// Identity, if set, lets the tenant's site vouch for its users.
	Identity    *IdentityConfig  `yaml:"identity"`
	Attachments AttachmentConfig `yaml:"attachments"`
	// Wait is how long a POST of a message waits for its outcome before it answers 202; default 25 s, at most 60 s.
	Wait time.Duration `yaml:"wait"`
	// SessionTTL is the life of a visitor's token; default 30 days.
	SessionTTL time.Duration `yaml:"session_ttl"`
	Limits     LimitConfig   `yaml:"limits"`
	// Widget is how the chat looks on the tenant's site.
	Widget WidgetConfig `yaml:"widget"`
}

// IdentityConfig says how a profile is proven: a JWT, HS256, signed with a secret that the tenant's site and the
// channel share. It must carry sub and exp; name, email, phone, level and fields are taken over.
type IdentityConfig struct {
	Secret adapters.SecretRef `yaml:"secret"`
	// Audience, if set, must be among the token's.
	Audience string `yaml:"audience"`
}

// AttachmentConfig bounds what customers may send as files.
type AttachmentConfig struct {
	// MaxBytes is the largest file; default 10 MiB. -1 refuses files altogether. The node's limit is the upper bound.
	MaxBytes int64 `yaml:"max_bytes"`
	// Types are the media types taken, by content and not by name; the default is common images, PDF, plain text and
	// voice notes. Types that a browser would run (HTML, SVG, XML) cannot be listed.
	Types []string `yaml:"types"`
}

// LimitConfig bounds what one visitor, and the channel as a whole, can take.
type LimitConfig struct {
	// TextBytes is the longest text of a message; default 8192. The node's limit is the upper bound.
	TextBytes int `yaml:"text_bytes"`
	// Rate is the number of messages per second that one visitor may send for long, Burst how many at once; defaults 5
	// and 50.
	Rate  float64 `yaml:"rate"`
	Burst int     `yaml:"burst"`
	// VisitorStreams and ChannelStreams are the sockets and event streams open at a time; defaults 8 and 20000.
	VisitorStreams int `yaml:"visitor_streams"`
	ChannelStreams int `yaml:"channel_streams"`
}

const (
	defaultTitle       = "Chat with us"
	defaultWait        = 25 * time.Second
	maxWait            = 60 * time.Second
	defaultSessionTTL  = 30 * 24 * time.Hour
	defaultMaxFile     = 10 << 20
	defaultTextBytes   = 8 << 10
	maxTextBytes       = 64 << 10
	defaultRate        = 5
	defaultBurst       = 50
	defaultPerVisitor  = 8
	defaultPerChannel  = 20_000
	maxAttachmentCount = 10
)

var defaultTypes = []string{
	"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/plain",
	"audio/ogg", "audio/mpeg", "audio/mp4", "audio/x-m4a", "audio/wav", "audio/webm", "video/mp4", "video/webm",
}

// complete fills in defaults and checks the rest. An error names the key that it is about.
func (c *Config) complete() error {
	fill(&c.Title, defaultTitle)
	fill(&c.Wait, defaultWait)
	fill(&c.SessionTTL, defaultSessionTTL)
	fill(&c.Attachments.MaxBytes, defaultMaxFile)
	fill(&c.Limits.TextBytes, defaultTextBytes)
	fill(&c.Limits.Rate, defaultRate)
	fill(&c.Limits.Burst, defaultBurst)
	fill(&c.Limits.VisitorStreams, defaultPerVisitor)
	fill(&c.Limits.ChannelStreams, defaultPerChannel)
	if len(c.Attachments.Types) == 0 {
		c.Attachments.Types = defaultTypes
	}
	var errs []error
	for i, o := range c.Origins {
		clean, err := cleanOrigin(o)
		if err != nil {
			errs = append(errs, fmt.Errorf("origins[%d]: %w", i, err))
		}
		c.Origins[i] = clean
	}
	for i, t := range c.Attachments.Types {
		if activeType(t) {
			errs = append(errs, fmt.Errorf("attachments.types[%d]: a browser would run files of this type; leave it out", i))
		}
	}
	if c.Identity != nil && c.Identity.Secret == "" {
		errs = append(errs, errors.New("identity.secret: is missing; name it as env:NAME or file:/path"))
	}
	check := func(ok bool, msg string) {
		if !ok {
			errs = append(errs, errors.New(msg))
		}
	}
	if err := c.Widget.complete(); err != nil {
		errs = append(errs, err)
	}
	check(c.Wait > 0 && c.Wait <= maxWait, "wait: must lie between 0s and 60s")
	check(c.SessionTTL >= time.Minute, "session_ttl: must be at least 1m")
	check(c.Attachments.MaxBytes >= -1, "attachments.max_bytes: must be a number of bytes, or -1 to refuse files")
	check(c.Limits.TextBytes > 0 && c.Limits.TextBytes <= maxTextBytes, "limits.text_bytes: must lie between 1 and 65536")
	check(c.Limits.Rate > 0, "limits.rate: must be more than 0")
	check(c.Limits.Burst > 0, "limits.burst: must be more than 0")
	check(c.Limits.VisitorStreams > 0, "limits.visitor_streams: must be more than 0")
	check(c.Limits.ChannelStreams > 0, "limits.channel_streams: must be more than 0")
	return errors.Join(errs...)
}

// within keeps the limits of the channel within those of the node.
func (c *Config) within(l adapters.Limits) {
	if l.TextBytes > 0 {
		c.Limits.TextBytes = min(c.Limits.TextBytes, l.TextBytes)
	}
	if l.AttachmentBytes != 0 { // -1, no files, is the least of both
		c.Attachments.MaxBytes = min(c.Attachments.MaxBytes, l.AttachmentBytes)
	}
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func cleanOrigin(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || strings.Contains(u.Host, "*") {
		return "", errors.New(`an origin is written "https://host" or "https://host:port", without wildcards`)
	}
	if u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", errors.New("an origin ends after the host and port, without a slash")
	}
	return strings.ToLower(u.Scheme + "://" + u.Host), nil
}

// activeType reports whether browsers run what a file of this type says.
func activeType(t string) bool {
	t, _, _ = strings.Cut(strings.ToLower(t), ";")
	return strings.Contains(t, "html") || strings.Contains(t, "xml") || strings.Contains(t, "svg") ||
		strings.Contains(t, "javascript") || strings.Contains(t, "ecmascript") || strings.Contains(t, "*")
}
