// Package gateway puts turnout together: New wires every part, Start lets it work, Stop ends it in the reverse order.
//
// This file is what is wired to what, on one screen; lifecycle.go is when it starts and stops; assembly.go is what the
// configuration makes of it, and reload.go how the next configuration takes the place of the running one.
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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters"
	"turnout/adapters/netguard"
	"turnout/gateway/admin"
	"turnout/gateway/alarm"
	"turnout/gateway/api"
	"turnout/gateway/archive"
	"turnout/gateway/audit"
	"turnout/gateway/audit/notary"
	"turnout/gateway/config"
	"turnout/gateway/console"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/lookup"
	"turnout/gateway/metrics"
	"turnout/gateway/outbox"
	"turnout/gateway/pipeline"
	"turnout/gateway/privacy"
	"turnout/gateway/queue"
	"turnout/gateway/store"
	"turnout/gateway/vault"
	"turnout/rules/signal"
)

// Options are what a gateway is made of. Config and Registry are required; the rest has the defaults of a real process.
type Options struct {
	Config   *config.Config
	Registry adapters.Registry
	// Secrets resolves references of the configuration; nil reads the environment and files.
	Secrets func(adapters.SecretRef) (adapters.Secret, error)
	Log     *slog.Logger
	// OneTime are passwords that sign in once each.
	OneTime []api.OneTime

	Now    func() time.Time
	Rand   io.Reader
	FS     vfs.FS
	Faults fault.Injector
	// Events is what the node knows of the event encoding; 0 is what this build knows.
	Events conversation.Format
	// Fatal is called when the process must not go on: the disk gave back an error on a synchronous write.
	Fatal func(error)

	damaged func(store.Ref, error) // told by the store of an archived part that cannot be read; set by New
}

// Gateway is a node.
type Gateway struct {
	o        Options
	log      *slog.Logger
	cfg      *config.Config // as the node began; its Settings are in force until the end
	root     []byte
	deps     adapters.Deps // without what belongs to one instance
	store    *nodeStore
	vault    *vault.Vault
	pipeline *pipeline.Pipeline
	queue    *queue.Queue
	server   *api.Server
	notary   *notary.Notary
	outbox   *outbox.Outbox
	dead     *outbox.Dead
	reports  *outbox.Reports
	rules    *ruleWatch
	now      func() time.Time
	privacy  *privacy.Privacy
	archive  atomic.Pointer[archive.Archiver] // of a store that archives
	policies policies
	people   people
	looked   func(tenant, outcome string, took time.Duration)
	profiles atomic.Pointer[map[string]*lookup.Lookup] // by tenant, those in force
	windows  atomic.Pointer[map[string]time.Duration]  // by channel, how long replies are taken
	cleanup  cleanup
	cancel   context.CancelFunc
	// endOutbox ends the dispatching of sends; nil before Start.
	endOutbox func()
	done      chan struct{}

	changing sync.Mutex // one change of the configuration at a time; guards what follows
	running  *assembly
	followed [sha256.Size]byte // see follow
	halfway  *halfway          // of a change that failed and has to be taken back; nil: there is none
	retired  map[io.Closer]*time.Timer
	stopped  bool
}

// New wires a gateway. On an error everything that was opened is closed again. Errors in an adapter's section are
// config.Faults with their places.
func New(ctx context.Context, o Options) (_ *Gateway, err error) {
	o = o.withDefaults()
	cfg := o.Config
	g := &Gateway{o: o, log: o.Log, cfg: cfg, now: o.Now, done: make(chan struct{}), retired: map[io.Closer]*time.Timer{}}
	defer func() {
		if err == nil {
			return
		}
		if g.running != nil {
			closeAll(g.running.channelsWithout(nil))
		}
		if g.pipeline != nil {
			g.pipeline.Stop(ctx)
		}
		if g.outbox != nil {
			g.outbox.Stop(ctx)
		}
		g.cleanup.run(ctx, o.Log)
	}()

	if g.root, err = rootKey(o, cfg); err != nil {
		return nil, err
	}
	signer, err := auditSigner(o, cfg)
	if err != nil {
		return nil, err
	}
	ids := id.NewSource(o.Rand, o.Now)
	o.damaged = g.damaged
	if g.store, err = openStore(ctx, o, cfg, g.root, ids, toServe, g.reconciled); err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", storeName(cfg), err)
	}
	g.cleanup.add("store", func(context.Context) error { return g.store.Close() })
	g.vault = vault.New(g.store, derive(g.root, "vault", "digests"))

	figures := metrics.New(version(), g.figures)
	g.looked = figures.Looked
	counted := g.store.Subscribe(figures.Commit)
	g.cleanup.add("metrics", func(context.Context) error { return counted.Close() })

	detector, err := signal.NewLexical()
	if err != nil {
		return nil, fmt.Errorf("building signals: %w", err)
	}
	detector = detector.Keyed(derive(g.root, "signal", "digests"))
	g.rules = newRuleWatch(g.store, g.store.nodes, detector, o.Now, o.Log.With("component", "rules"), g.alarmed)
	watching := g.store.Subscribe(g.rules.committed)
	g.cleanup.add("rules", func(context.Context) error { return watching.Close() })
	guard := netguard.New(cfg.Limits.AllowNetworks)
	g.deps = adapters.Deps{Dial: guard.Dial, Now: o.Now, NewID: ids.Bytes, Limits: adapterLimits(cfg.Limits)}
	g.pipeline = pipeline.New(ctx, pipeline.Options{
		Store: g.store, IDs: ids, Now: o.Now, Detector: detector, Faults: o.Faults,
		Log: o.Log.With("component", "pipeline"), Meter: figures, Notify: g.notify,
		BotCalls: cfg.Limits.BotCalls,
	})
	g.reports = &outbox.Reports{Store: g.store, IDs: ids, Now: o.Now}

	// What the configuration makes: reload.go does the same again while the node runs.
	sets, err := setsOf(ctx, g.store)
	if err != nil {
		return nil, err
	}
	if stored := storedOf(sets); len(stored) > 0 {
		if cfg, err = cfg.With(stored); err != nil {
			return nil, err
		}
	}
	if g.running, err = g.assemble(ctx, cfg, sets, nil); err != nil {
		return nil, err
	}
	g.cleanup.add("bots", func(context.Context) error { return g.closeBots() })
	if _, err := g.publishFirst(ctx); err != nil {
		return nil, err
	}
	g.pipeline.Replace(g.running.list)
	g.people.Store(g.running.accounts)
	g.profiles.Store(g.running.lookups())
	g.windows.Store(g.running.windows())
	g.policies.set(g.running.cfg)
	g.outbox = outbox.New(ctx, outbox.Options{
		Store: g.store, IDs: ids, Now: o.Now, Channels: g.running.push, Faults: o.Faults, Alarm: g.channelAlarm,
		Sends: cfg.Limits.Sends, Log: o.Log.With("component", "outbox"),
	})

	g.dead = &outbox.Dead{Store: g.store, IDs: ids, Now: o.Now}
	g.privacy = privacy.New(privacy.Options{
		Store: g.store, Blobs: g.store.blobs, IDs: ids, Now: o.Now, Policy: g.policies.of, Forget: g.forget, Faults: o.Faults,
		Log: o.Log.With("component", "privacy"),
	})
	g.newArchiver(ids)
	g.queue, err = queue.New(queue.Options{
		Pipeline: g.pipeline, Store: g.store, Directory: &g.people, IDs: ids, Now: o.Now, Faults: o.Faults,
		Key: derive(g.root, "queue", "idempotency"), Blobs: g.store.blobs, Dead: g.dead, Window: g.window, Log: o.Log.With("component", "queue"),
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
		Queue: g.queue, Audit: g.store, Accounts: g.running.accounts, OneTime: o.OneTime, Routes: g.running.routes(), Pages: append(pages, o.Registry.Shared()...),
		Admin: g.admin(signer, detector), Memory: g.store, Health: g.store.Health, Checkpoints: g.checkpoints, Places: g.places, Ready: g.rules.ready,
		Alarms: g.rules.board.Active, Requested: figures.Requested, Metrics: figures.Handler(), Version: version(),
		SessionKey: derive(g.root, "api", "session"), PlainCookie: loopback(cfg.Listen), Origins: cfg.API.Origins, Limits: limits(cfg.Limits),
		Now: o.Now, Rand: o.Rand, Log: o.Log.With("component", "api"),
	})
	if err != nil {
		return nil, err
	}
	if g.notary, err = g.newNotary(o, signer); err != nil {
		return nil, err
	}
	return g, nil
}

// admin are the routes of administration, by area.
func (g *Gateway) admin(signer *audit.Signer, detector signal.Detector) []api.Route {
	return admin.Documented(slices.Concat(
		g.auditRoutes(g.o, signer, detector),
		admin.Exports{Store: g.store, Now: g.o.Now, Log: g.log.With("component", "export")}.Routes(),
		admin.Rules{Book: g.rules.Book, Log: g.store.Log}.Routes(),
		admin.Outbox{Dead: g.dead, Stats: g.outbox.Stats}.Routes(),
		admin.Privacy{Of: g.privacy, Now: g.o.Now, Log: g.log.With("component", "privacy")}.Routes(),
		admin.Storage{Backup: g.backup, Check: g.checkStore, Log: g.log.With("component", "store")}.Routes(),
		admin.Config(g, g.store),
		admin.Secrets(g, g.vault, g.store, g.o.Now),
		admin.Tenants(g, g.store),
		admin.Users(g, g.vault, g.store, g.o.Now, g.o.Rand),
	))
}

// closeBots closes the bots and the profile lookups that are in force, and all that no longer is.
func (g *Gateway) closeBots() error {
	g.changing.Lock()
	defer g.changing.Unlock()
	for c := range g.retired {
		g.bury(c)
	}
	return closeAll(append(g.running.botsWithout(nil), g.running.profilesWithout(nil)...))
}

func closeAll(list []io.Closer) error {
	var errs []error
	for _, c := range list {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// notify writes down who a rule wants to have told. The way to people's pagers hangs on it.
func (g *Gateway) notify(n pipeline.Notice) {
	g.log.Warn("a rule asks for somebody to be told", "conversation", n.Ref.ID, "rule", n.Rule, "who", strings.Join(n.Who, ","))
}

// alarmed tells people that something is wrong, in the way of notices.
func (g *Gateway) alarmed(a alarm.Alarm) {
	g.log.Warn("somebody should be told of an alarm", "alarm", a.Name, "tenant", a.Tenant, "subject", a.Subject)
}

// channelAlarm shows that a channel needs an operator, and that it does no more.
func (g *Gateway) channelAlarm(a outbox.Alarm) {
	const name = "outbox.needs_operator"
	if a.Over {
		g.rules.board.Clear(name, a.Tenant, a.Channel)
		return
	}
	reason := "The provider takes nothing that is sent (code " + a.Code + "). Look at the channel's credentials and address; what waits is sent after that."
	if a.Code == outbox.CodeRemoved {
		reason = "The channel was removed and messages wait for it. Put it back and they are sent; 24 hours after they were said they become dead letters, which turnout outbox list shows, to be replayed over the channel or discarded."
	}
	g.rules.board.Raise(alarm.Alarm{Name: name, Tenant: a.Tenant, Subject: a.Channel, Reason: reason})
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
