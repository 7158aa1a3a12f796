package whatsapp

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"turnout/adapters"
	"turnout/adapters/hook"
	wire "turnout/adapters/wire/whatsapp"
)

// Config is the section of a WhatsApp channel: one number. The zero value of a field means its default.
type Config struct {
	// Connection is the name of the connection over which the number's webhooks come.
	Connection string `yaml:"connection"`
	// Number is the id of the business's number (phone_number_id), which is not the number itself.
	Number string `yaml:"number"`
	// Token is the access token of a system user with whatsapp_business_messaging.
	Token adapters.SecretRef `yaml:"token"`
	// Graph is the address of the Graph API, with its version; default https://graph.facebook.com/v25.0.
	Graph string `yaml:"graph"`
	// Person offers the way to a person as a quick reply below what the bot says; default true. Texts are its words by language, at
	// most 20 characters each, beside those that are built in.
	Person      *bool             `yaml:"person_button"`
	PersonTexts map[string]string `yaml:"person_texts"`
	// ListButton is what opens a list, by language.
	ListTexts map[string]string `yaml:"list_texts"`
	// Read shows customers that what they wrote has come in, and that the bot is writing; default true.
	Read  *bool       `yaml:"read"`
	Media MediaConfig `yaml:"media"`
	// Timeout is the most that one call may take; default 15 s. Concurrency bounds the calls at a time; default 16.
	Timeout     time.Duration `yaml:"timeout"`
	Concurrency int           `yaml:"concurrency"`
	Pace        PaceConfig    `yaml:"pace"`
	// Attempts and MaxAge bound how often and how long one message is tried; defaults 10 and 24 h.
	Attempts int           `yaml:"attempts"`
	MaxAge   time.Duration `yaml:"max_age"`
	// TextBytes is the longest text that is taken in; default 8192. The node's limit is the upper bound.
	TextBytes int `yaml:"text_bytes"`
}

// MediaConfig says which files of customers are fetched.
type MediaConfig struct {
	// MaxBytes bounds one file; default 25 MB, at most 100 MB. The node's limit is the upper bound.
	MaxBytes int64 `yaml:"max_bytes"`
	// Hosts are those to which the token may go beside the Graph API's own; ".example.com" means all below it. Default: those
	// of the platform.
	Hosts []string `yaml:"hosts"`
	// Wait is for how long a file that cannot be fetched keeps its message from being acknowledged, counted from when it was
	// written: until then the platform brings the message again. After it the message comes without the file. Default 1 h.
	Wait time.Duration `yaml:"wait"`
}

// PaceConfig says how fast the channel sends, in messages per second. The defaults are the platform's: 80 for a number, and
// for one recipient one in 6 s, 45 at once (documentation/business-messaging/whatsapp/throughput).
type PaceConfig struct {
	PerSecond          float64 `yaml:"per_second"`
	Burst              int     `yaml:"burst"`
	RecipientPerSecond float64 `yaml:"recipient_per_second"`
	RecipientBurst     int     `yaml:"recipient_burst"`
}

const (
	defaultGraph   = "https://graph.facebook.com/v25.0"
	defaultMedia   = 25 << 20
	mostMedia      = 100 << 20 // what the platform takes from customers
	defaultWait    = time.Hour
	defaultTimeout = 15 * time.Second
	maxTextBytes   = 64 << 10

	// serviceWindow is how long after a person's last message the platform takes free text for them; after it only templates
	// (error 131047).
	serviceWindow = 24 * time.Hour
)

// platformHosts are where files of customers lie.
var platformHosts = []string{".fbsbx.com", ".fbcdn.net", ".facebook.com", ".whatsapp.net"}

var (
	numberForm = regexp.MustCompile(`^[0-9]{3,32}$`)
	hostForm   = regexp.MustCompile(`^\.?[a-z0-9-]+(\.[a-z0-9-]+)*$`)
	langForm   = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$`)
)

// complete fills in defaults and checks the rest. An error names the key that it is about.
func (c *Config) complete() error {
	yes := true
	for _, b := range []**bool{&c.Person, &c.Read} {
		if *b == nil {
			*b = &yes
		}
	}
	fill(&c.Graph, defaultGraph)
	fill(&c.Media.MaxBytes, defaultMedia)
	fill(&c.Media.Wait, defaultWait)
	fill(&c.Timeout, defaultTimeout)
	fill(&c.Concurrency, 16)
	fill(&c.Attempts, 10)
	fill(&c.MaxAge, 24*time.Hour)
	fill(&c.TextBytes, 8<<10)
	fill(&c.Pace.PerSecond, 80)
	fill(&c.Pace.Burst, 80)
	fill(&c.Pace.RecipientPerSecond, 1.0/6)
	fill(&c.Pace.RecipientBurst, 45)
	if len(c.Media.Hosts) == 0 {
		c.Media.Hosts = platformHosts
	}
	c.Graph = strings.TrimSuffix(c.Graph, "/")
	var errs []error
	check := func(ok bool, msg string) {
		if !ok {
			errs = append(errs, errors.New(msg))
		}
	}
	check(c.Connection != "", "connection: is missing; it is the name of a resource of kind connection")
	check(numberForm.MatchString(c.Number), "number: must be the id of the number (phone_number_id), digits only, as the app's dashboard shows it")
	check(c.Token != "", "token: is missing; name it as env:NAME or file:/path")
	if u, err := hook.ParseURL(c.Graph); err != nil {
		errs = append(errs, fmt.Errorf("graph: %w", err))
	} else {
		check(u.RawQuery == "", "graph: must not have a query")
	}
	for key, texts := range map[string]map[string]string{"person_texts": c.PersonTexts, "list_texts": c.ListTexts} {
		for lang, text := range texts {
			check(langForm.MatchString(lang), key+": a key must be a language tag such as de or pt-BR")
			check(text != "" && wire.Units(text) <= wire.MaxButtonTitle, fmt.Sprintf("%s.%s: must have 1 to %d characters", key, lang, wire.MaxButtonTitle))
		}
	}
	check(c.Media.MaxBytes > 0 && c.Media.MaxBytes <= mostMedia, "media.max_bytes: must lie between 1 and 104857600")
	check(c.Media.Wait > 0 && c.Media.Wait <= 6*24*time.Hour, "media.wait: must lie between 0s and 144h; the platform brings a message again for 7 days")
	for _, h := range c.Media.Hosts {
		check(hostForm.MatchString(h), "media.hosts: must hold names of hosts in lower case, without a port")
	}
	check(c.Timeout > 0 && c.Timeout <= time.Minute, "timeout: must lie between 0s and 1m")
	check(c.Concurrency > 0 && c.Concurrency <= 256, "concurrency: must lie between 1 and 256")
	check(c.Attempts > 0 && c.Attempts <= 100, "attempts: must lie between 1 and 100")
	check(c.MaxAge >= time.Minute && c.MaxAge <= 7*24*time.Hour, "max_age: must lie between 1m and 168h")
	check(c.Pace.PerSecond > 0 && c.Pace.Burst > 0 && c.Pace.RecipientPerSecond > 0 && c.Pace.RecipientBurst > 0, "pace: must not be negative")
	check(c.TextBytes > 0 && c.TextBytes <= maxTextBytes, "text_bytes: must lie between 1 and 65536")
	return errors.Join(errs...)
}

// within keeps the limits of the channel within those of the node.
func (c *Config) within(l adapters.Limits) {
	if l.TextBytes > 0 {
		c.TextBytes = min(c.TextBytes, l.TextBytes)
	}
	if l.AttachmentBytes > 0 {
		c.Media.MaxBytes = min(c.Media.MaxBytes, l.AttachmentBytes)
	}
}

// Policy implements adapters.Sender. The platform knows no idempotency key.
func (c *Channel) Policy() adapters.SendPolicy {
	return adapters.SendPolicy{
		Timeout: c.cfg.Timeout, Concurrency: c.cfg.Concurrency, PerSecond: c.cfg.Pace.PerSecond, Burst: c.cfg.Pace.Burst,
		RecipientPerSecond: c.cfg.Pace.RecipientPerSecond, RecipientBurst: c.cfg.Pace.RecipientBurst,
		Attempts: c.cfg.Attempts, MaxAge: c.cfg.MaxAge, Window: serviceWindow,
	}
}

// mayHaveToken reports whether an address of a file is one to which the token may go: the platform's, over TLS, or the Graph
// API's own.
func (c *Channel) mayHaveToken(u *url.URL) bool {
	if u.Host == c.graph.Host && u.Scheme == c.graph.Scheme {
		return true
	}
	host := strings.ToLower(u.Hostname())
	for _, h := range c.cfg.Media.Hosts {
		if u.Scheme == "https" && (host == strings.TrimPrefix(h, ".") || h[0] == '.' && strings.HasSuffix(host, h)) {
			return true
		}
	}
	return false
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
