package config

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"turnout/adapters"
)

// Settings are a node's own: the content of turnout.yaml.
type Settings struct {
	// Listen is where customers, agents and admins come in; OpsListen serves health, readiness and metrics.
	Listen    string `yaml:"listen"`
	OpsListen string `yaml:"ops_listen"`
	// Data is the folder of everything that must last. In the file it may be relative to the file.
	Data  string `yaml:"data"`
	Store Store  `yaml:"store"`
	// RootKey is what the tenants' keys are wrapped with. Without it the data cannot be read.
	RootKey adapters.SecretRef `yaml:"root_key"`
	Audit   Audit              `yaml:"audit"`
	API     API                `yaml:"api"`
	Limits  Limits             `yaml:"limits"`
	// Resources are globs, relative to the file.
	Resources []string `yaml:"resources"`

	resources []glob
}

// Store says where the data live.
type Store struct {
	// Kind is "embedded", a folder in Data that one process opens, or "redis", a server that several nodes share.
	Kind string `yaml:"kind"`
	// ReserveBytes is the free space on the disk under which nothing new is accepted; 256 MiB by default. Embedded only, as
	// what follows is of redis only.
	ReserveBytes int64 `yaml:"reserve_bytes"`

	// Address is the server's, "host:port"; Username and Password sign in to it, TLS encrypts the way there.
	Address string `yaml:"address"`
	// Sentinels, "host:port" each, know in the place of Address which server is the primary that they watch as Master.
	Sentinels []string `yaml:"sentinels"`
	Master    string   `yaml:"master"`
	// SentinelUsername and SentinelPassword sign in to the sentinels, where they ask for it.
	SentinelUsername string             `yaml:"sentinel_username"`
	SentinelPassword adapters.SecretRef `yaml:"sentinel_password"`
	// Cluster, "host:port" each, are some of the servers of a Redis Cluster, in the place of both.
	Cluster  []string           `yaml:"cluster"`
	Username string             `yaml:"username"`
	Password adapters.SecretRef `yaml:"password"`
	TLS      bool               `yaml:"tls"`
	// Prefix begins every key; "turnout:" by default.
	Prefix string `yaml:"prefix"`
	// Wait is the number of replicas that must have a write before it is acknowledged.
	Wait int `yaml:"wait"`
	// AllowUnsafe lets the node work on a server whose settings lose what was acknowledged.
	AllowUnsafe bool `yaml:"allow_unsafe"`
	// WayBack is for how long after an upgrade nodes of the release before may come back, where the two write events
	// differently; 24 h by default.
	WayBack time.Duration `yaml:"way_back"`
	// Blobs says where attachments are, and what is archived, which all nodes need; DATA/blobs by default.
	Blobs Blobs `yaml:"blobs"`
	// ArchiveAfter is how long a conversation has been closed when it is moved out of the server's memory into files beside
	// the blobs; 7 days by default, 0 for never.
	ArchiveAfter time.Duration `yaml:"archive_after"`
}

// Blobs says where attachments are: in the file it is the name of a folder, which may be relative to the file, or
// {s3: {…}}.
type Blobs struct {
	Folder string
	S3     *S3 // in the place of a folder
}

// S3 names a bucket of a server that speaks the S3 API.
type S3 struct {
	// Endpoint is the server's URL; Region is what it calls the place of the bucket, "us-east-1" by default.
	Endpoint string `yaml:"endpoint"`
	Region   string `yaml:"region"`
	Bucket   string `yaml:"bucket"`
	// Prefix begins the name of every object and ends in a slash.
	Prefix string `yaml:"prefix"`
	// PathStyle says that the bucket stands in the path of a URL, or in the name of its host; without it the endpoint decides.
	PathStyle *bool              `yaml:"path_style"`
	AccessKey adapters.SecretRef `yaml:"access_key"`
	SecretKey adapters.SecretRef `yaml:"secret_key"`
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (b *Blobs) UnmarshalYAML(read func(any) error) error {
	const want = `blobs must be the name of a folder, or a bucket such as {s3: {endpoint: "https://s3.eu-central-1.amazonaws.com", bucket: acme, access_key: env:NAME, secret_key: env:NAME}}`
	var either any
	err := read(&either)
	switch v := either.(type) {
	case string:
		b.Folder = v
		return nil
	case map[string]any:
		if len(v) == 0 && err == nil {
			return errors.New(want)
		}
	default:
		return errors.New(want)
	}
	var bucket struct {
		S3 *S3 `yaml:"s3"`
	}
	err = read(&bucket)
	b.S3 = bucket.S3
	return err
}

// archiveAfter is the default of Store.ArchiveAfter: by then most of those who come back have come.
const archiveAfter = 7 * 24 * time.Hour

// resolve makes folders that are relative to the settings file in dir what they are for the process.
func (s *Settings) resolve(dir string) {
	for _, p := range []*string{&s.Data, &s.Store.Blobs.Folder} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// Audit says how the audit log is vouched for.
type Audit struct {
	// SigningKey signs checkpoints.
	SigningKey adapters.SecretRef `yaml:"signing_key"`
	// SendTo is where copies of checkpoints go: an http or https URL, a folder (with a slash at its end) or a file.
	SendTo string `yaml:"send_to"`
}

// API says who may use the API of agents and administration from a browser.
type API struct {
	// Origins are pages of other hosts whose scripts may, such as "https://desk.example.com". The node's own always may.
	Origins []string `yaml:"origins"`
}

// Limits bound what clients can take of a node. All are in force by default.
type Limits struct {
	BodyBytes       int64 `yaml:"body_bytes"`
	HeaderBytes     int64 `yaml:"header_bytes"`
	AttachmentBytes int64 `yaml:"attachment_bytes"`
	TextBytes       int64 `yaml:"text_bytes"`
	// Connections are those open at a time on the listener, ConnectionsPerIP those of one peer: behind a proxy that is
	// the proxy.
	Connections      int           `yaml:"connections"`
	ConnectionsPerIP int           `yaml:"connections_per_ip"`
	ReadTimeout      time.Duration `yaml:"read_timeout"`
	WriteTimeout     time.Duration `yaml:"write_timeout"`
	IdleTimeout      time.Duration `yaml:"idle_timeout"`
	// MessagesPerMinute are customers' messages.
	MessagesPerMinute Rates `yaml:"messages_per_minute"`
	// BotCallsPerDay are those of one tenant.
	BotCallsPerDay int64 `yaml:"bot_calls_per_day"`
	// BotTokensPerDay are the tokens that those of one tenant may take; 0: no limit.
	BotTokensPerDay int64 `yaml:"bot_tokens_per_day"`
	// BotCalls and Sends bound the calls of bots and the sends over push channels that are under way on the node. Shares say
	// what tenants get of them, by their names; who is not named has weight 1, and half while there are others. These three
	// change with a reload.
	BotCalls int              `yaml:"bot_calls"`
	Sends    int              `yaml:"sends"`
	Shares   map[string]Share `yaml:"shares"`
	// AllowNetworks are networks that bots may be in although they are not public: loopback and private ones are
	// refused otherwise.
	AllowNetworks []netip.Prefix `yaml:"allow_networks"`
	// TrustedProxies are the networks of proxies in front of the node: what they write into X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
}

// Share is what a tenant gets of a node.
type Share struct {
	// Weight is how often it is a tenant's turn when places are scarce, compared with others; 0 means 1.
	Weight int `yaml:"weight"`
	// BotCalls and Sends are the tenant's that may be under way; 0 means half of the node's while there are other tenants.
	BotCalls int `yaml:"bot_calls"`
	Sends    int `yaml:"sends"`
}

const (
	mostPlaces = 100_000
	mostWeight = 1000
)

// Fixed returns the limits without what changes with a reload.
func (l Limits) Fixed() Limits {
	l.BotCalls, l.Sends, l.Shares = 0, 0, nil
	return l
}

// Rates are a limit at three levels: one visitor of a channel, one network address, one tenant.
type Rates struct {
	Visitor int `yaml:"visitor"`
	Address int `yaml:"address"`
	Tenant  int `yaml:"tenant"`
}

func defaultSettings() Settings {
	return Settings{
		Listen:    "127.0.0.1:8080",
		OpsListen: "127.0.0.1:8081",
		Store:     Store{Kind: "embedded", ReserveBytes: 256 << 20},
		Limits: Limits{
			BodyBytes:         256 << 10,
			HeaderBytes:       16 << 10,
			AttachmentBytes:   10 << 20,
			TextBytes:         8 << 10,
			Connections:       20_000,
			ConnectionsPerIP:  5_000,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       60 * time.Second,
			MessagesPerMinute: Rates{Visitor: 60, Address: 600, Tenant: 60_000},
			BotCallsPerDay:    1_000_000,
			BotCalls:          2048,
			Sends:             256,
		},
	}
}

// readSettings decodes and checks the settings file.
func (l *loader) readSettings(data []byte) Settings {
	s := defaultSettings()
	file := l.shown(l.settings)
	docs, faults := parse(file, data)
	l.faults = append(l.faults, faults...)
	switch {
	case len(faults) > 0:
		return s
	case len(docs) != 1:
		l.faults.add(Pos{File: file}, "want one document of settings, found %d; resources stand in files of their own", len(docs))
		return s
	}
	whole := Section{file: file, node: docs[0].Body, at: position(file, docs[0].Body)}
	l.decode(whole, &s)
	l.checkSettings(whole, &s)
	for i, pattern := range s.Resources {
		s.resources = append(s.resources, glob{pattern: pattern, at: whole.find("resources", strconv.Itoa(i))})
	}
	return s
}

// decode fills v from a section and keeps the faults.
func (l *loader) decode(s Section, v any) {
	if s.node == nil {
		return
	}
	d := decoder{file: s.file}
	d.value(s.node, reflect.ValueOf(v).Elem(), s.key)
	l.faults = append(l.faults, d.faults...)
}

func (l *loader) checkSettings(whole Section, s *Settings) {
	l.need(whole, "data", "name the folder that keeps everything")
	l.need(whole, "root_key", `make it with "turnout admin init DATA" and write "root_key: file:DATA/keys/root.key"`)
	if whole.sub("resources").node == nil { // an empty list is one
		l.need(whole, "resources", `list globs such as "resources/*.yaml", or write [] where all is made over the API`)
	}
	l.need(whole, "audit", `make a key with "turnout admin init DATA" and write "audit: {signing_key: file:DATA/keys/audit.key}"`)
	if audit := whole.sub("audit"); audit.node != nil {
		l.need(audit, "signing_key", `make it with "turnout admin init DATA" and write "signing_key: file:DATA/keys/audit.key"`)
	}
	l.notSealed(whole, "root_key", s.RootKey)
	l.notSealed(whole.sub("audit"), "signing_key", s.Audit.SigningKey)
	for name, address := range map[string]string{"listen": s.Listen, "ops_listen": s.OpsListen} {
		if !isHostPort(address) {
			l.faults.add(whole.find(name), `%s must be an address and a port, such as "127.0.0.1:8080"`, name)
		}
	}
	if s.Listen == s.OpsListen && !endsInZero(s.Listen) {
		l.faults.add(whole.find("ops_listen"), "ops_listen must differ from listen: health and metrics are not for customers")
	}
	l.checkStore(whole.sub("store"), &s.Store)
	if s.Audit.SendTo != "" {
		if hint := checkSendTo(s.Audit.SendTo, s.Data); hint != "" {
			l.faults.add(whole.find("audit", "send_to"), "%s", hint)
		}
	}
	for i, origin := range s.API.Origins {
		if u, err := url.Parse(origin); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			l.faults.add(whole.find("api", "origins", strconv.Itoa(i)), `an origin is a scheme and a host without anything behind, such as "https://desk.example.com"`)
		}
	}
	l.checkLimits(whole, &s.Limits)
}

// redisKeys are those of a store's settings that only a Redis store has.
var redisKeys = []string{"address", "sentinels", "master", "sentinel_username", "sentinel_password", "cluster", "username", "password", "tls", "prefix", "wait", "allow_unsafe", "blobs", "archive_after", "way_back"}

// mostReplicas bounds how many replicas can be waited for.
const mostReplicas = 16

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9:_.-]{1,64}$`)

func (l *loader) checkStore(store Section, s *Store) {
	switch s.Kind {
	case "embedded":
		for _, name := range redisKeys {
			if name == "blobs" && s.Blobs.S3 != nil {
				l.faults.add(store.find("blobs", "s3"), "an embedded store keeps attachments in its own folder: its backup is of one instant with them, and would lack what lies in a bucket")
			} else if store.sub(name).node != nil {
				l.faults.add(store.find(name), `%s is for a store of "kind: redis"`, name)
			}
		}
		return
	case "redis":
	default:
		l.faults.add(store.find("kind"), `unknown store; write "kind: embedded" or "kind: redis"`)
		return
	}
	if store.sub("reserve_bytes").node != nil {
		l.faults.add(store.find("reserve_bytes"), `reserve_bytes is for a store of "kind: embedded"; the server's memory is bounded by its maxmemory`)
	}
	l.checkServers(store, s)
	l.notSealed(store, "password", s.Password)
	l.notSealed(store, "sentinel_password", s.SentinelPassword)
	if len(s.Sentinels) == 0 {
		for _, name := range []string{"sentinel_username", "sentinel_password"} {
			if store.sub(name).node != nil {
				l.faults.add(store.find(name), `%s signs in to sentinels; list them, such as "sentinels: [sentinel-1.internal:26379]"`, name)
			}
		}
	} else if s.SentinelUsername != "" && s.SentinelPassword == "" {
		l.faults.add(store.find("sentinel_username"), "sentinel_username needs a sentinel_password, such as env:SENTINEL_PASSWORD")
	}
	if s.Username != "" && s.Password == "" {
		l.faults.add(store.find("username"), `a username needs a password; write "password: file:path" or "password: env:NAME"`)
	}
	if s.Prefix != "" && !prefixForm.MatchString(s.Prefix) {
		l.faults.add(store.find("prefix"), "prefix must be 1 to 64 letters, digits, colons, underscores, dots and hyphens")
	}
	if store.sub("archive_after").node == nil {
		s.ArchiveAfter = archiveAfter
	}
	if s.WayBack < 0 || s.WayBack > 30*24*time.Hour {
		l.faults.add(store.find("way_back"), `way_back must lie between "0s" (the default, 24h) and "30d"`)
	}
	if s.Wait < 0 || s.Wait > mostReplicas {
		l.faults.add(store.find("wait"), "wait must lie between 0 and %d", mostReplicas)
	}
	if s.Blobs.S3 != nil {
		l.checkS3(store.sub("blobs").sub("s3"), s.Blobs.S3)
	}
}

var (
	bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionForm = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	// No two slashes, no step that begins with a dot.
	objectForm = regexp.MustCompile(`^([A-Za-z0-9_-][A-Za-z0-9._-]*/)+$`)
)

func (l *loader) checkS3(s Section, b *S3) {
	if l.need(s, "endpoint", `name the server, such as "endpoint: https://s3.eu-central-1.amazonaws.com"`); b.Endpoint != "" {
		u, err := url.Parse(b.Endpoint)
		switch {
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
			l.faults.add(s.find("endpoint"), `endpoint must be a scheme and a host, such as "https://s3.eu-central-1.amazonaws.com"; the bucket has a line of its own`)
		case u.User != nil:
			l.faults.add(s.find("endpoint"), "endpoint has a name or a password in it, which do not belong into a file; write access_key and secret_key")
		}
	}
	if l.need(s, "bucket", `name the bucket, such as "bucket: acme-turnout"`); b.Bucket != "" && !bucketForm.MatchString(b.Bucket) {
		l.faults.add(s.find("bucket"), "bucket must be 3 to 63 small letters, digits, dots and hyphens")
	}
	if b.Region != "" && !regionForm.MatchString(b.Region) {
		l.faults.add(s.find("region"), `region must be letters, digits and hyphens, such as "eu-central-1"`)
	}
	if b.Prefix != "" && (len(b.Prefix) > 256 || !objectForm.MatchString(b.Prefix)) {
		l.faults.add(s.find("prefix"), `prefix must end in a slash, and be letters, digits, dots, underscores and hyphens between single slashes, such as "turnout/"`)
	}
	l.need(s, "access_key", `write "access_key: env:NAME" or "access_key: file:path"`)
	l.need(s, "secret_key", `write "secret_key: env:NAME" or "secret_key: file:path"`)
	l.notSealed(s, "access_key", b.AccessKey)
	l.notSealed(s, "secret_key", b.SecretKey)
}

// checkServers looks at where a Redis store's server or servers are: named by exactly one of address, sentinels and cluster.
func (l *loader) checkServers(store Section, s *Store) {
	servers := func(name, what, example string, list []string) {
		if len(list) == 0 {
			l.faults.add(store.find(name), `list %s, such as "%s"`, what, example)
		}
		for i, a := range list {
			if !isServer(a) {
				l.faults.add(store.find(name, strconv.Itoa(i)), `a server is a host and a port, such as "%s"`, example)
			}
		}
	}
	switch {
	case store.sub("cluster").node != nil:
		for _, name := range []string{"address", "sentinels", "master"} {
			if store.sub(name).node != nil {
				l.faults.add(store.find(name), "%s and cluster exclude each other: the servers of a Cluster say themselves which of them are primaries", name)
			}
		}
		servers("cluster", "some servers of the Cluster", "redis-1.internal:6379", s.Cluster)
	case store.sub("sentinels").node != nil:
		if l.need(store, "master", `write what the sentinels call the primary, such as "master: turnout"`); s.Address != "" {
			l.faults.add(store.find("address"), "address and sentinels exclude each other: sentinels say where the primary is")
		}
		servers("sentinels", "the sentinels", "sentinel-1.internal:26379", s.Sentinels)
	default:
		if l.need(store, "address", `name the server, such as "address: redis.internal:6379"`); s.Address != "" && !isServer(s.Address) {
			l.faults.add(store.find("address"), `address must be a host and a port, such as "redis.internal:6379"`)
		}
		if s.Master != "" {
			l.faults.add(store.find("master"), `master is what sentinels call the primary; list them, such as "sentinels: [sentinel-1.internal:26379]"`)
		}
	}
}

// isServer reports whether a is the address of a server: a host, by name or number, and a port.
func isServer(a string) bool {
	host, port, err := net.SplitHostPort(a)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && host != "" && bad == nil && n != 0
}

// checkSendTo says what is wrong with where copies of checkpoints shall go.
func checkSendTo(to, data string) string {
	if !strings.Contains(to, "://") {
		inside, err := filepath.Rel(filepath.Clean(data), filepath.Clean(to))
		if err == nil && data != "" && inside != ".." && !strings.HasPrefix(inside, "../") {
			return "send_to lies in the data folder: a copy there proves nothing against whoever can write that folder"
		}
		return ""
	}
	u, err := url.Parse(to)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return `send_to must be a URL such as "https://archive.example.com/checkpoints", a folder such as "/mnt/audit/", or a file`
	case u.User != nil:
		return "send_to has a name or a password in it, which do not belong into a file; let the receiver know the node by its address, or put a path in between"
	}
	return ""
}

// notSealed reports a key that the store cannot keep: it is needed to open the store, or belongs to no tenant.
func (l *loader) notSealed(s Section, name string, ref adapters.SecretRef) {
	if strings.HasPrefix(string(ref), "sealed:") {
		l.faults.add(s.find(name), `%s cannot be sealed in the store; write "file:path" or "env:NAME"`, name)
	}
}

func (l *loader) checkLimits(whole Section, m *Limits) {
	const most = 1 << 30
	for _, n := range []struct {
		name     string
		value    int64
		min, max int64
	}{
		{"body_bytes", m.BodyBytes, 1 << 10, most},
		{"header_bytes", m.HeaderBytes, 1 << 10, 1 << 20},
		{"attachment_bytes", m.AttachmentBytes, 0, most},
		{"text_bytes", m.TextBytes, 1, 64 << 10},
		{"connections", int64(m.Connections), 1, 1 << 20},
		{"connections_per_ip", int64(m.ConnectionsPerIP), 1, 1 << 20},
		{"bot_calls_per_day", m.BotCallsPerDay, 1, 1 << 50},
		{"bot_tokens_per_day", m.BotTokensPerDay, 0, 1 << 50},
		{"bot_calls", int64(m.BotCalls), 1, mostPlaces},
		{"sends", int64(m.Sends), 1, mostPlaces},
	} {
		if n.value < n.min || n.value > n.max {
			l.faults.add(whole.find("limits", n.name), "%s must lie between %d and %d", n.name, n.min, n.max)
		}
	}
	for name, n := range map[string]int{
		"visitor": m.MessagesPerMinute.Visitor, "address": m.MessagesPerMinute.Address, "tenant": m.MessagesPerMinute.Tenant,
	} {
		if n < 1 {
			l.faults.add(whole.find("limits", "messages_per_minute", name), "messages_per_minute.%s must be 1 or more", name)
		}
	}
	for name, d := range map[string]time.Duration{
		"read_timeout": m.ReadTimeout, "write_timeout": m.WriteTimeout, "idle_timeout": m.IdleTimeout,
	} {
		if d < time.Second || d > time.Hour {
			l.faults.add(whole.find("limits", name), `%s must lie between "1s" and "1h"`, name)
		}
	}
	for tenant, s := range m.Shares {
		if !nameForm.MatchString(tenant) {
			l.faults.add(whole.find("limits", "shares", tenant), "shares go to tenants by their names: %s", nameRule)
		}
		if s.Weight < 0 || s.Weight > mostWeight {
			l.faults.add(whole.find("limits", "shares", tenant, "weight"), "weight must lie between 1 and %d", mostWeight)
		}
		for name, n := range map[string][2]int{"bot_calls": {s.BotCalls, m.BotCalls}, "sends": {s.Sends, m.Sends}} {
			if n[0] < 0 || n[0] > n[1] {
				l.faults.add(whole.find("limits", "shares", tenant, name), "%s must lie between 1 and the node's %d", name, n[1])
			}
		}
	}
	if m.TextBytes > m.BodyBytes {
		l.faults.add(whole.find("limits", "text_bytes"), "text_bytes must not be more than body_bytes: such a text would never come in")
	}
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false
	}
	if host == "" || host == "localhost" {
		return true
	}
	_, err = netip.ParseAddr(host)
	return err == nil
}

// endsInZero reports whether the system chooses the port, so that equal addresses are different ones.
func endsInZero(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == "0"
}
