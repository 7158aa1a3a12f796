package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"turnout/adapters"
	"turnout/adapters/netguard"
	"turnout/gateway/config"
	"turnout/gateway/id"
	"turnout/gateway/resource"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/gateway/vault"
)

// Finding is one thing that Connect looked at.
type Finding struct {
	OK bool `json:"ok"`
	// What was looked at; At is its place in the configuration, where it has one.
	What string `json:"what"`
	At   string `json:"at,omitempty"`
	// Message is what is wrong and how to mend it, or how it was found.
	Message string `json:"message"`
}

func (f Finding) String() string {
	verdict := "ok   "
	if !f.OK {
		verdict = "FAULT"
	}
	if f.At != "" {
		return fmt.Sprintf("%s %s: %s: %s", verdict, f.At, f.What, f.Message)
	}
	return fmt.Sprintf("%s %s: %s", verdict, f.What, f.Message)
}

// reachTime is how long a server may take to be reached.
const reachTime = 5 * time.Second

// connection is one run of Connect.
type connection struct {
	o     Options
	found []Finding
}

// Connect looks at what Check leaves alone, and what a start would fail of or go wrong with later: that the keys and all
// secrets can be read, and by nobody else; that the data folder can be written; that the store opens and its root key is
// this one, or which process has it; and that the servers of bots and of profile lookups can be reached. It sends nothing to
// anybody, but for asking a profile lookup for the made-up customer that its section names for this, and changes nothing but
// for what opening a store does, and for an object that is put into a bucket of attachments and removed again. cfg is free of faults.
func Connect(ctx context.Context, o Options) []Finding {
	o = o.withDefaults()
	c := &connection{o: o}
	root, err := rootKey(o, o.Config)
	c.add("root key", "", "can be read", err)
	_, err = auditSigner(o, o.Config)
	c.add("key of the audit log", "", "can be read", err)
	c.keyFiles()
	if !c.folder() {
		return c.found
	}
	cfg := o.Config
	secrets := func(store.Tenant) (secretFunc, error) { return o.Secrets, nil }
	s := c.store(ctx, root)
	if s != nil {
		defer func() { c.add("store", "", "closes", s.Close()) }()
		v := vault.New(s, derive(root, "vault", "digests"))
		secrets = func(t store.Tenant) (secretFunc, error) { return tenantSecrets(ctx, v, t, o.Secrets) }
		whole, err := withStored(ctx, s, cfg)
		if c.add("resources of the store", "", "fit the files", err); err != nil {
			return c.found
		}
		cfg = whole
	}
	for _, t := range cfg.Tenants {
		c.tenant(ctx, t, secrets, s != nil)
	}
	return c.found
}

// add writes down how something was found. Faults of a configuration are one finding each.
func (c *connection) add(what, at, ok string, err error) {
	var faults config.Faults
	switch {
	case err == nil:
		c.found = append(c.found, Finding{OK: true, What: what, At: at, Message: ok})
	case errors.As(err, &faults):
		for _, f := range faults {
			c.found = append(c.found, Finding{What: what, At: f.Pos.String(), Message: f.Message})
		}
	default:
		c.found = append(c.found, Finding{What: what, At: at, Message: err.Error()})
	}
}

// keyFiles looks at every file in DATA/keys, also those that nothing refers to: whoever reads a root key reads everything.
func (c *connection) keyFiles() {
	dir := filepath.Join(c.o.Config.Data, "keys")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return // keys may lie elsewhere
	}
	if err != nil {
		c.add("folder of keys", "", "", err)
		return
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			err = fmt.Errorf("other users can use it (mode %04o); run: chmod 600 %s", info.Mode().Perm(), file)
		}
		if err != nil {
			c.add("key file "+file, "", "", err)
		}
	}
}

// folder reports whether there is a data folder to go on with.
func (c *connection) folder() bool {
	dir := c.o.Config.Data
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.add("data folder "+dir, "", "is not there yet; the first start makes it", nil)
		return true
	case err == nil && !info.IsDir():
		err = errors.New("is no folder")
	case err == nil:
		var probe *os.File
		if probe, err = os.CreateTemp(dir, ".check-*"); err == nil {
			err = errors.Join(probe.Close(), os.Remove(probe.Name()))
		}
	}
	c.add("data folder "+dir, "", "can be written", err)
	return err == nil
}

// store opens the store, if there is one and nobody has it open.
func (c *connection) store(ctx context.Context, root []byte) *nodeStore {
	if c.o.Config.Store.Kind == "redis" {
		return c.redis(ctx, root)
	}
	dir := filepath.Join(c.o.Config.Data, "store")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		c.add("store "+dir, "", "is not there yet; the first start makes it", nil)
		return nil
	}
	if root == nil {
		return nil // it was said why
	}
	s, err := openStore(ctx, c.o, c.o.Config, root, id.NewSource(c.o.Rand, c.o.Now), toRead, nil)
	var used *embedded.InUseError
	if errors.As(err, &used) {
		c.add("store "+dir, "", used.Error()+": a node runs; its root key and what is sealed in it are not looked at", nil)
		return nil
	}
	c.add("store "+dir, "", "opens with this root key", err)
	if err != nil {
		return nil
	}
	return s
}

// redis looks at a store that nodes share, beside those that work on it.
func (c *connection) redis(ctx context.Context, root []byte) *nodeStore {
	if root == nil {
		return nil // it was said why
	}
	s, err := openStore(ctx, c.o, c.o.Config, root, id.NewSource(c.o.Rand, c.o.Now), toRead, nil)
	if err != nil {
		c.add("store "+storeName(c.o.Config), "", "", err)
		return nil
	}
	h := s.Health(ctx)
	if !h.OK {
		err = errors.New(h.Reason)
	}
	c.add("store "+storeName(c.o.Config), "", "opens with this root key: "+h.Level, err)
	if s.bucket != nil {
		c.add(fmt.Sprintf("attachments in bucket %q", c.o.Config.Store.Blobs.S3.Bucket), "", "an object was put, read and removed", s.bucket.Try(ctx))
	}
	return s
}

// withStored is cfg with what the store has.
func withStored(ctx context.Context, s store.Versions, cfg *config.Config) (*config.Config, error) {
	sets, err := setsOf(ctx, s)
	if err != nil {
		return nil, err
	}
	return cfg.With(storedOf(sets))
}

// tenant looks at the secrets and the servers of a tenant.
func (c *connection) tenant(ctx context.Context, t *config.Tenant, secrets func(store.Tenant) (secretFunc, error), opened bool) {
	handle, err := store.NewTenant(t.Name)
	var secret secretFunc
	if err == nil {
		secret, err = secrets(handle)
	}
	if err != nil {
		c.add("tenant "+t.Name, "", "", err)
		return
	}
	if !opened {
		inner := secret
		secret = func(ref adapters.SecretRef) (adapters.Secret, error) {
			if _, sealed := config.Sealed(ref); sealed {
				return adapters.NewSecret("not looked at"), nil
			}
			return inner(ref)
		}
	}
	for _, b := range t.Bots {
		bot, err := c.o.Registry.BuildBot(b.Adapter, b.Config, c.deps(t.Name, b.Name, secretsAt(b.At, secret)))
		if err == nil {
			err = errors.Join(c.reach(ctx, bot), bot.Close())
		}
		c.located("bot "+b.Name, b.At, b.Config, "can be reached", err)
	}
	for _, ch := range t.Channels {
		channel, err := c.o.Registry.BuildChannel(ch.Adapter, ch.Config, c.deps(t.Name, ch.Key, secretsAt(ch.At, secret)))
		if err == nil {
			err = errors.Join(c.reach(ctx, channel), channel.Close())
		}
		c.located("channel "+ch.Name, ch.At, ch.Config, "can be built", err)
	}
	if p := t.Profile; p != nil {
		dir, err := c.o.Registry.BuildDirectory(p.Adapter, p.Config, c.deps(t.Name, p.Name, secretsAt(p.At, secret)))
		if err == nil {
			err = errors.Join(c.reach(ctx, dir), dir.Close())
		}
		c.located("profile "+p.Name, p.At, p.Config, "can be reached", err)
	}
	for _, a := range t.Agents {
		if _, err := account(handle, a, secretsAt(a.At, secret)); err != nil {
			c.add("agent "+a.ID, a.At.String(), "", err)
		}
	}
}

// located is add for what has a section of its own.
func (c *connection) located(what string, at config.Pos, section config.Section, ok string, err error) {
	if err != nil {
		c.add(what, "", "", section.Locate(err))
		return
	}
	c.add(what, at.String(), ok, nil)
}

func (c *connection) reach(ctx context.Context, adapter any) error {
	r, ok := adapter.(adapters.Reacher)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	return r.Reach(ctx)
}

func (c *connection) deps(tenant, key string, secret secretFunc) adapters.Deps {
	ids := id.NewSource(c.o.Rand, c.o.Now)
	return adapters.Deps{
		Tenant: tenant, Key: key, Secret: secret, Dial: netguard.New(c.o.Config.Limits.AllowNetworks).Dial,
		Derive: func(string) []byte { return make([]byte, 32) },
		Now:    c.o.Now, NewID: ids.Bytes, Limits: adapterLimits(c.o.Config.Limits), Log: c.o.Log,
	}
}

// setsOf returns the newest version of every tenant's set.
func setsOf(ctx context.Context, s store.Versions) (map[string]resource.Version, error) {
	tenants, err := s.Tenants(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	sets := map[string]resource.Version{}
	for _, t := range tenants {
		if sets[t.Name()], err = resource.Current(ctx, s, t); err != nil {
			return nil, err
		}
	}
	return sets, nil
}

// ConnectReport is how findings are printed.
func ConnectReport(found []Finding) string {
	lines := make([]string, len(found))
	for i, f := range found {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}
