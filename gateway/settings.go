package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"turnout/adapters"
	"turnout/gateway/api"
	"turnout/gateway/config"
	"turnout/gateway/pipeline"
	"turnout/gateway/queue"
	"turnout/gateway/resource"
	"turnout/gateway/store"
	"turnout/gateway/store/blob"
)

// accounts reads the tenants' people from the configuration; references to secrets are resolved here, once. Who serves a
// tenant's default queue serves the queues that were archived as well: what still waits there is not forgotten.
func accounts(cfg *config.Config, archived map[string][]resource.Archived, secrets func(tenant string) secretFunc) (*api.Accounts, error) {
	var list []api.Account
	var faults config.Faults
	queues := map[store.Tenant][]string{}
	for _, t := range cfg.Tenants {
		handle, err := store.NewTenant(t.Name)
		if err != nil {
			return nil, err
		}
		queues[handle] = nil
		for _, q := range t.Queues {
			queues[handle] = append(queues[handle], q.Name)
		}
		closed := archivedQueues(archived[t.Name])
		for _, a := range t.Agents {
			account, err := account(handle, a, secretsAt(a.At, secrets(t.Name)))
			if err != nil {
				faults = append(faults, config.Fault{Pos: a.At, Message: err.Error()})
				continue
			}
			if slices.Contains(account.Queues, t.DefaultQueue) {
				account.Queues = slices.Concat(account.Queues, closed)
			}
			list = append(list, account)
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return api.NewAccounts(list, queues)
}

// people is the accounts that are in force, as the queue asks for them.
type people struct{ atomic.Pointer[api.Accounts] }

// Agent implements queue.Directory.
func (p *people) Agent(t store.Tenant, id string) (queue.Agent, bool) { return p.Load().Agent(t, id) }

// Agents implements queue.Directory.
func (p *people) Agents(t store.Tenant) []queue.Agent { return p.Load().Agents(t) }

// Queues implements queue.Directory.
func (p *people) Queues(t store.Tenant) []string { return p.Load().Queues(t) }

// HasQueue implements queue.Directory.
func (p *people) HasQueue(t store.Tenant, name string) bool { return p.Load().HasQueue(t, name) }

func account(t store.Tenant, a *config.Agent, secret func(adapters.SecretRef) (adapters.Secret, error)) (api.Account, error) {
	out := api.Account{
		Tenant: t, ID: a.ID, Name: a.Name, Login: a.Login, Role: api.Role(a.Role), Queues: a.Queues, Capacity: a.Capacity,
		Disabled: a.Disabled,
	}
	if a.Disabled {
		return out, nil // its secrets may be gone
	}
	if a.Password != "" {
		s, err := secret(a.Password)
		if err != nil {
			return out, fmt.Errorf("the password of %s: %w", a.ID, err)
		}
		out.Password = s.Reveal()
	}
	for _, k := range a.Keys {
		digest, ref := k.Digest()
		if ref != "" {
			s, err := secret(ref)
			if err != nil {
				return out, fmt.Errorf("key %s of %s: %w", k.ID, a.ID, err)
			}
			digest = s.Reveal()
		}
		key := api.Key{ID: k.ID, SHA256: digest, Expires: k.Expires}
		for _, s := range k.Scopes {
			key.Scopes = append(key.Scopes, api.Scope(s))
		}
		out.Keys = append(out.Keys, key)
	}
	return out, nil
}

func limits(l config.Limits) api.Limits {
	return api.Limits{
		BodyBytes: int(l.BodyBytes), HeaderBytes: int(l.HeaderBytes), TextBytes: int(l.TextBytes),
		Connections: l.Connections, ConnectionsPerIP: l.ConnectionsPerIP,
		ReadTimeout: l.ReadTimeout, WriteTimeout: l.WriteTimeout, IdleTimeout: l.IdleTimeout,
		PostsPerMinute: l.MessagesPerMinute.Address, TrustedProxies: l.TrustedProxies,
	}
}

// tenantLimits are those of each tenant's turns.
func tenantLimits(l config.Limits) pipeline.Limits {
	return pipeline.Limits{
		VisitorPerMinute: l.MessagesPerMinute.Visitor, TenantPerMinute: l.MessagesPerMinute.Tenant, BotCallsPerDay: l.BotCallsPerDay,
		BotTokensPerDay: l.BotTokensPerDay,
	}
}

// adapterLimits are those that no adapter's section goes beyond. In the settings no bytes for files means no files.
func adapterLimits(l config.Limits) adapters.Limits {
	out := adapters.Limits{TextBytes: int(l.TextBytes), AttachmentBytes: l.AttachmentBytes}
	if out.AttachmentBytes == 0 {
		out.AttachmentBytes = -1
	}
	return out
}

// formSlack is what the form around a file may take.
const formSlack = 64 << 10

// largestBody is the largest request body that any route may ask for.
func largestBody(l config.Limits) int64 { return max(l.BodyBytes, l.AttachmentBytes+formSlack) }

// loopback reports whether an address is reached from this machine only: there is no TLS in front then, and browsers
// would drop a cookie that asks for it.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// blobs is the store's blobs as the pipeline wants them.
type blobs struct{ blobStore }

func (blobs) TooLarge(err error) bool { return errors.Is(err, blob.ErrTooLarge) }

// version names the build: the version of the module, or the commit that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
}
