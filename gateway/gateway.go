// Package gateway puts turnout together: New wires every part, Start lets it work, Stop ends it in the reverse order.
//
// This file is what is wired to what, on one screen; lifecycle.go is when it starts and stops.
package gateway

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters"
	"turnout/adapters/netguard"
	"turnout/gateway/admin"
	"turnout/gateway/alarm"
	"turnout/gateway/api"
	"turnout/gateway/audit/notary"
	"turnout/gateway/config"
	"turnout/gateway/console"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/metrics"
	"turnout/gateway/outbox"
	"turnout/gateway/pipeline"
	"turnout/gateway/queue"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/rules/signal"
)

// Options are what a gateway is made of. Config and Registry are required; the rest has the defaults of a real process.
type Options struct {
	Config   *config.Config
	Registry adapters.Registry
	// Secrets resolves references of the configuration; nil reads the environment and files.
	Secrets func(adapters.SecretRef) (adapters.Secret, error)
	Log     *slog.Logger

	Now    func() time.Time
	Rand   io.Reader
	FS     vfs.FS
	Faults fault.Injector
	// Fatal is called when the process must not go on: the disk gave back an error on a synchronous write.
	Fatal func(error)
}

// Gateway is a node.
type Gateway struct {
	log      *slog.Logger
	store    *embedded.Store
	pipeline *pipeline.Pipeline
	queue    *queue.Queue
	server   *api.Server
	notary   *notary.Notary
	now      func() time.Time
	outbox   *outbox.Outbox
	channels []adapters.Channel // pull: they end with the intake
	senders  []adapters.Channel // push: they end after the outbox
	rules    *ruleWatch
	cleanup  cleanup
	cfg      *config.Config
	cancel   context.CancelFunc
	// endOutbox ends the dispatching of sends; nil before Start.
	endOutbox func()
	done      chan struct{}
}

// New wires a gateway. On an error everything that was opened is closed again. Errors in an adapter's section are
// config.Faults with their places.
func New(ctx context.Context, o Options) (_ *Gateway, err error) {
	o = o.withDefaults()
	cfg := o.Config
	g := &Gateway{log: o.Log, cfg: cfg, now: o.Now, done: make(chan struct{})}
	defer func() {
		if err == nil {
			return
		}
		for _, ch := range append(g.channels, g.senders...) {
			ch.Close()
		}
		if g.pipeline != nil {
			g.pipeline.Stop(ctx)
		}
		if g.outbox != nil {
			g.outbox.Stop(ctx)
		}
		g.cleanup.run(ctx, o.Log)
	}()

	root, err := rootKey(o, cfg)
	if err != nil {
		return nil, err
	}
	signer, err := auditSigner(o, cfg)
	if err != nil {
		return nil, err
	}
	ids := id.NewSource(o.Rand, o.Now)
	dir := filepath.Join(cfg.Data, "store")
	if g.store, err = embedded.Open(embedded.Options{
		Dir: dir, FS: o.FS, Root: root, IDs: ids, Now: o.Now, Faults: o.Faults, Log: o.Log.With("component", "store"),
		Reserve: cfg.Store.ReserveBytes, Fatal: o.Fatal,
	}); err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", dir, err)
	}
	g.cleanup.add("store", func(context.Context) error { return g.store.Close() })

	figures := metrics.New(version(), g.figures)
	counted := g.store.Subscribe(figures.Commit)
	g.cleanup.add("metrics", func(context.Context) error { return counted.Close() })

	detector, err := signal.NewLexical()
	if err != nil {
		return nil, fmt.Errorf("building signals: %w", err)
	}
	detector = detector.Keyed(derive(root, "signal", "digests"))
	g.rules = newRuleWatch(g.store, detector, o.Now, o.Log.With("component", "rules"), g.alarmed)
	watching := g.store.Subscribe(g.rules.committed)
	g.cleanup.add("rules", func(context.Context) error { return watching.Close() })
	guard := netguard.New(cfg.Limits.AllowNetworks)
	deps := adapters.Deps{
		Secret: o.Secrets, Dial: guard.Dial, Now: o.Now, NewID: ids.Bytes, Limits: adapterLimits(cfg.Limits),
	}

	var channels []*pipeline.Channel
	var files []channelOf
	for _, t := range cfg.Tenants {
		tenant, err := g.tenant(ctx, t)
		if err != nil {
			return nil, err
		}
		bots, err := g.buildBots(t, o.Registry, deps, root)
		if err != nil {
			return nil, err
		}
		for _, c := range t.Channels {
			channels = append(channels, &pipeline.Channel{
				Key: c.Key, Tenant: tenant, Bot: bots[c.Bot], ReopenWithin: c.ReopenWithin, Push: o.Registry.Pushes(c.Adapter),
			})
			files = append(files, channelOf{t, c})
		}
	}
	g.pipeline = pipeline.New(ctx, pipeline.Options{
		Store: g.store, IDs: ids, Now: o.Now, Detector: detector, Channels: channels, Faults: o.Faults,
		Log: o.Log.With("component", "pipeline"), Meter: figures, Notify: g.notify,
	})
	reports := &outbox.Reports{Store: g.store, IDs: ids, Now: o.Now}
	routes, push, err := g.buildChannels(files, o.Registry, deps, reports, root)
	if err != nil {
		return nil, err
	}
	g.outbox = outbox.New(ctx, outbox.Options{
		Store: g.store, IDs: ids, Now: o.Now, Channels: push, Faults: o.Faults, Log: o.Log.With("component", "outbox"),
	})
	accounts, err := accounts(cfg, o.Secrets)
	if err != nil {
		return nil, err
	}
	g.queue, err = queue.New(queue.Options{
		Pipeline: g.pipeline, Store: g.store, Directory: accounts, IDs: ids, Now: o.Now, Faults: o.Faults,
		Key: derive(root, "queue", "idempotency"), Blobs: g.store.Blobs(), Log: o.Log.With("component", "queue"),
	})
	if err != nil {
		return nil, err
	}
	g.cleanup.add("queue", func(context.Context) error { return g.queue.Close() })
	pages, err := console.Routes()
	if err != nil {
		return nil, err
	}
	g.server, err = api.New(ctx, api.Options{
		Queue: g.queue, Audit: g.store, Accounts: accounts, Routes: routes, Pages: pages, Health: g.store.Health, Checkpoints: g.checkpoints,
		Ready: g.rules.ready, Alarms: g.rules.board.Active,
		Admin:      append(g.auditRoutes(o, signer, detector), admin.Rules{Book: g.rules.Book, Log: g.store.Log}.Routes()...),
		SessionKey: derive(root, "api", "session"), PlainCookie: loopback(cfg.Listen), Limits: limits(cfg.Limits),
		Version: version(), Requested: figures.Requested, Metrics: figures.Handler(),
		Now: o.Now, Rand: o.Rand, Log: o.Log.With("component", "api"),
	})
	if err != nil {
		return nil, err
	}
	if g.notary, err = g.newNotary(o, signer, accounts.Tenants); err != nil {
		return nil, err
	}
	return g, nil
}

type channelOf struct {
	tenant  *config.Tenant
	channel *config.Channel
}

// tenant brings the tenant's rules into force and returns what turns need to know of it.
func (g *Gateway) tenant(ctx context.Context, t *config.Tenant) (*pipeline.Tenant, error) {
	handle, err := store.NewTenant(t.Name)
	if err != nil {
		return nil, err
	}
	book, err := g.rules.configure(ctx, handle, t)
	if err != nil {
		return nil, fmt.Errorf("bringing the rules of tenant %s into force: %w", t.Name, err)
	}
	tenant := &pipeline.Tenant{
		Handle: handle, Rules: book, Queue: t.DefaultQueue, Queues: map[string]bool{}, BareRequests: t.BareRequests,
		IdleNew: t.IdleNew, CaptureOver: t.BotLadder.CaptureOver, Limits: tenantLimits(g.cfg.Limits),
	}
	for _, q := range t.Queues {
		tenant.Queues[q.Name] = true
	}
	return tenant, nil
}

// buildBots builds a tenant's bots and ties each to its alternate.
func (g *Gateway) buildBots(t *config.Tenant, reg adapters.Registry, deps adapters.Deps, root []byte) (map[string]*pipeline.Bot, error) {
	bots := map[string]*pipeline.Bot{}
	for _, b := range t.Bots {
		bot, err := reg.BuildBot(b.Adapter, b.Config, g.instance(deps, root, t.Name, b.Name))
		if err != nil {
			return nil, b.Config.Locate(err)
		}
		g.cleanup.add("bot "+b.Name, func(context.Context) error { return bot.Close() })
		bots[b.Name] = &pipeline.Bot{
			Name: b.Name, Bot: bot, Deadline: b.Deadline, Concurrency: b.Concurrency,
			Breaker: pipeline.BreakerSettings{Failures: uint(b.Breaker.Failures), Window: b.Breaker.Window, OpenFor: b.Breaker.OpenFor},
		}
	}
	for _, b := range t.Bots {
		bots[b.Name].Alternate = bots[b.Alternate]
	}
	return bots, nil
}

// buildChannels builds the channels upon the pipeline and collects their routes, and those that the outbox sends for.
func (g *Gateway) buildChannels(list []channelOf, reg adapters.Registry, deps adapters.Deps, reports *outbox.Reports, root []byte) (routes []adapters.Route, push []outbox.Channel, err error) {
	for _, c := range list {
		edge, err := g.pipeline.Edge(c.channel.Key)
		if err != nil {
			return nil, nil, err
		}
		handle, err := store.NewTenant(c.tenant.Name)
		if err != nil {
			return nil, nil, err
		}
		d := g.instance(deps, root, c.tenant.Name, c.channel.Key)
		d.Inbox, d.Timeline, d.Blobs = edge, edge, edge.Files(blobs{g.store.Blobs()})
		pushes := reg.Pushes(c.channel.Adapter)
		if pushes {
			d.Deliveries = reports.Channel(handle, c.channel.Key)
		}
		ch, err := reg.BuildChannel(c.channel.Adapter, c.channel.Config, d)
		if err != nil {
			return nil, nil, c.channel.Config.Locate(err)
		}
		if sender, ok := ch.(adapters.Sender); ok && pushes {
			g.senders = append(g.senders, ch)
			push = append(push, outbox.Channel{Key: c.channel.Key, Tenant: handle, Sender: sender})
		} else {
			g.channels = append(g.channels, ch)
		}
		if _, ok := ch.(adapters.Sender); ok != pushes {
			return nil, nil, fmt.Errorf("adapter %s: whether it sends is not what its entry in the registry says", c.channel.Adapter)
		}
		for _, r := range ch.Routes() {
			r.MaxBody = min(r.MaxBody, largestBody(g.cfg.Limits))
			routes = append(routes, r)
		}
	}
	return routes, push, nil
}

// instance is what one adapter instance gets.
func (g *Gateway) instance(d adapters.Deps, root []byte, tenant, key string) adapters.Deps {
	d.Tenant, d.Key = tenant, key
	d.Derive = func(purpose string) []byte { return derive(root, tenant, key, purpose) }
	d.Log = g.log.With("component", "adapter", "instance", key)
	return d
}

// notify writes down who a rule wants to have told. The way to people's pagers hangs on it.
func (g *Gateway) notify(n pipeline.Notice) {
	g.log.Warn("a rule asks for somebody to be told", "conversation", n.Ref.ID, "rule", n.Rule, "who", strings.Join(n.Who, ","))
}

// alarmed tells people that something is wrong, in the way of notices.
func (g *Gateway) alarmed(a alarm.Alarm) {
	g.log.Warn("somebody should be told of an alarm", "alarm", a.Name, "tenant", a.Tenant, "subject", a.Subject)
}

// derive makes a key for a purpose from the root key (RFC 5869). The parts are kept apart, so that no two purposes meet.
func derive(root []byte, parts ...string) []byte {
	key, err := hkdf.Key(sha256.New, root, nil, "turnout\x00"+strings.Join(parts, "\x00"), 32)
	if err != nil {
		panic("deriving a key: " + err.Error()) // only for lengths out of range
	}
	return key
}

// ErrNoRootKey says that the configuration names none.
var ErrNoRootKey = errors.New(`root_key is missing: make one with "turnout admin init DATA" and write root_key: "file:DATA/keys/root.key"`)

// rootKey reads the root key.
func rootKey(o Options, cfg *config.Config) ([]byte, error) {
	if cfg.RootKey == "" {
		return nil, ErrNoRootKey
	}
	return secretKey(o, cfg.RootKey, "root")
}

// secretKey reads 32 bytes in base64 or hex.
func secretKey(o Options, ref adapters.SecretRef, name string) ([]byte, error) {
	s, err := o.Secrets(ref)
	if err != nil {
		return nil, fmt.Errorf("reading the %s key: %w", name, err)
	}
	v := strings.TrimSpace(s.Reveal())
	for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawURLEncoding.DecodeString} {
		if key, err := decode(v); err == nil && len(key) == 32 {
			return key, nil
		}
	}
	return nil, fmt.Errorf("reading the %s key: want 32 bytes in base64 or hex", name)
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Secrets == nil {
		o.Secrets = config.Secrets{Dir: o.Config.Dir, LookupEnv: os.LookupEnv}.Resolve
	}
	return o
}
