package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"turnout/gateway/admin"
	"turnout/gateway/api"
	"turnout/gateway/audit"
	"turnout/gateway/audit/notary"
	"turnout/gateway/config"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/rules"
	"turnout/rules/signal"
)

// ErrNoAuditKey says that the configuration names none.
var ErrNoAuditKey = errors.New(`audit.signing_key is missing: make one with "turnout admin init DATA" and write audit: {signing_key: "file:DATA/keys/audit.key"}`)

func auditSigner(o Options, cfg *config.Config) (*audit.Signer, error) {
	if cfg.Audit.SigningKey == "" {
		return nil, ErrNoAuditKey
	}
	seed, err := secretKey(o, cfg.Audit.SigningKey, "audit")
	if err != nil {
		return nil, err
	}
	return audit.NewSigner(seed)
}

// newNotary makes what seals the audit chains.
func (g *Gateway) newNotary(o Options, signer *audit.Signer) (*notary.Notary, error) {
	n := notary.Options{
		Ledger: g.store, Signer: signer, Count: g.server.RecordRefusals,
		Now: o.Now, Log: o.Log.With("component", "audit"), Faults: o.Faults,
	}
	if to := g.cfg.Audit.SendTo; to != "" {
		var err error
		if n.To, err = notary.To(to, g.cfg.Dir); err != nil {
			return nil, fmt.Errorf("audit.send_to: %w", err)
		}
	}
	return notary.New(n), nil
}

// auditRoutes are those of the audit log and of stories.
func (g *Gateway) auditRoutes(o Options, signer *audit.Signer, d signal.Detector) []api.Route {
	log := admin.AuditLog{
		Source: func(t store.Tenant) audit.Source { return notary.Source(g.store, t) },
		Seal:   func(ctx context.Context) error { return g.notary.Round(ctx) },
		Key:    signer.VerifierKey(), Now: o.Now, Log: o.Log.With("component", "audit"),
	}
	judges := admin.Judges{Detector: d, Rules: func(ctx context.Context, t store.Tenant, version int) (*rules.Set, error) {
		book, ok := g.rules.Book(t)
		if !ok {
			return nil, store.ErrNotFound
		}
		return book.Whole(ctx, version)
	}}
	return append(admin.Audit(log), admin.Replay(g.store, judges)...)
}

// checkpoints is what health says of them.
func (g *Gateway) checkpoints() api.Checkpoints {
	if g.notary == nil {
		return api.Checkpoints{}
	}
	h := g.notary.Health()
	return api.Checkpoints{
		SealedAt: h.SealedAt, Failing: h.SealFailing, Unsent: h.Unsent, SendFailing: h.SendFailing, Since: h.Since,
	}
}

// lastWork is what the last checkpoint may take beyond the time for stopping: without it the end of every chain is open.
const lastWork = 5 * time.Second

func (g *Gateway) lastCheckpoint(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWork)
	defer cancel()
	if err := g.notary.Round(ctx); err != nil {
		return fmt.Errorf("making the last checkpoint: %w", err)
	}
	if err := g.notary.Deliver(ctx); err != nil { // the next process sends it
		g.log.Warn("sending the last checkpoint outside: it is sent after the next start", "err", err)
	}
	return nil
}

// AuditKey returns the key with which anybody can verify what a node signs.
func AuditKey(o Options) (string, error) {
	signer, err := auditSigner(o.withDefaults(), o.Config)
	if err != nil {
		return "", err
	}
	return signer.VerifierKey(), nil
}

// ExportAudit writes the audit export of a tenant from the data folder of a node that does not run; while one does, the
// error names its process. A store that nodes share is read beside them. An empty tenant is the only one that there is, store.Operator's name that of the node itself.
func ExportAudit(ctx context.Context, o Options, tenant string, w io.Writer) (_ audit.Counts, err error) {
	o = o.withDefaults()
	signer, err := auditSigner(o, o.Config)
	if err != nil {
		return audit.Counts{}, err
	}
	root, err := rootKey(o, o.Config)
	if err != nil {
		return audit.Counts{}, err
	}
	s, err := openStore(ctx, o, o.Config, root, id.NewSource(o.Rand, o.Now), toRead, nil)
	if err != nil {
		return audit.Counts{}, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	t, err := tenantIn(ctx, s, tenant)
	if err != nil {
		return audit.Counts{}, err
	}
	return audit.Export(ctx, w, notary.Source(s, t), t.Name(), signer.VerifierKey(), o.Now())
}

// tenantIn finds the tenant that a store has under a name.
func tenantIn(ctx context.Context, s store.Versions, name string) (store.Tenant, error) {
	tenants, err := s.Tenants(ctx)
	if err != nil {
		return store.Tenant{}, err
	}
	if name == store.Operator.Name() {
		return store.Operator, nil
	}
	var names []string
	for _, t := range tenants {
		if t.Name() == name {
			return t, nil
		}
		names = append(names, t.Name())
	}
	if name == "" && len(names) == 1 {
		return store.NewTenant(names[0])
	}
	return store.Tenant{}, fmt.Errorf("name a tenant of this node (--tenant): %s", strings.Join(names, ", "))
}
