package gateway

import (
	"fmt"
	"io"
	"time"

	"turnout/gateway/config"
	"turnout/gateway/lookup"
	"turnout/gateway/pipeline"
)

// profilePart is how a tenant's own system is asked who a customer is.
type profilePart struct {
	instance
	lookup *lookup.Lookup
	cfg    *config.Profile
}

// profileOf builds a tenant's profile lookup. One that is alike goes on, with what it keeps.
func (g *Gateway) profileOf(a *assembly, t *config.Tenant, old *assembly, secret secretFunc) error {
	c := t.Profile
	if c == nil {
		return nil
	}
	key := partKey{t.Name, c.Name}
	secret = secretsAt(c.At, secret)
	settings := lookup.Settings{
		FreshFor: c.FreshFor, StaleFor: c.StaleFor, Timeout: c.Deadline, Concurrency: c.Concurrency, Entries: c.CacheEntries,
		Bytes: c.CacheBytes, Failures: uint(c.Breaker.Failures), Window: c.Breaker.Window, OpenFor: c.Breaker.OpenFor, Levels: c.Levels,
	}
	p := &profilePart{cfg: c, instance: instanceOf(c.Adapter+fmt.Sprint(settings), c.Config, t.Name, c.Name)}
	before := part(old, func(o *assembly) *profilePart { return o.profiles[key] })
	if before != nil && before.same(p.print, secret) {
		p.lookup, p.secrets = before.lookup, before.secrets
	} else {
		dir, err := g.o.Registry.BuildDirectory(c.Adapter, c.Config, g.depsOf(t.Name, c.Name, p.recording(secret)))
		if err != nil {
			return c.Config.Locate(err)
		}
		p.lookup = lookup.New(lookup.Options{
			Directory: dir, Settings: settings, Now: g.o.Now, Log: g.log.With("component", "lookup", "tenant", t.Name),
			Looked: func(outcome string, took time.Duration) { g.looked(t.Name, outcome, took) },
		})
	}
	a.profiles[key] = p
	return nil
}

// served gives a channel its tenant's profile lookup, if there is one and it is asked for the channel's customers.
func (a *assembly) served(t *config.Tenant, c *config.Channel, pc *pipeline.Channel) {
	if t.Profile == nil || !t.Profile.Serves(c.Name) {
		return
	}
	p := a.profiles[partKey{t.Name, t.Profile.Name}]
	pc.Lookup, pc.LateWait, pc.AccountFor = p.lookup, p.cfg.LateWait, p.cfg.FreshFor+p.cfg.StaleFor
}

// lookups are the profile lookups by tenant.
func (a *assembly) lookups() *map[string]*lookup.Lookup {
	out := make(map[string]*lookup.Lookup, len(a.profiles))
	for key, p := range a.profiles {
		out[key.tenant] = p.lookup
	}
	return &out
}

// lookups are those in force.
func (g *Gateway) lookups() map[string]*lookup.Lookup {
	if p := g.profiles.Load(); p != nil {
		return *p
	}
	return nil
}

// profilesWithout returns the profile lookups of a that next does not have.
func (a *assembly) profilesWithout(next *assembly) (out []io.Closer) {
	for key, p := range a.profiles {
		if now := part(next, func(n *assembly) *profilePart { return n.profiles[key] }); now == nil || now.lookup != p.lookup {
			out = append(out, p.lookup)
		}
	}
	return out
}
