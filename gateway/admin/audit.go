package admin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"turnout/gateway/api"
	"turnout/gateway/audit"
	"turnout/gateway/store"
)

// AuditLog is what is exported.
type AuditLog struct {
	// Source returns a tenant's part of the store.
	Source func(store.Tenant) audit.Source
	// Seal makes a checkpoint now, so that an export is covered to its end.
	Seal func(context.Context) error
	// Key is the verifier's key of the node.
	Key string
	Now func() time.Time
	Log *slog.Logger
}

// Audit returns the routes of the audit log: of a tenant for those who look after what was decided, and of the node for the
// operator. They show ids, names of rules and of people, and no text.
func Audit(l AuditLog) []api.Route {
	roles := []api.Role{api.RoleOwner, api.RoleAuditor}
	return []api.Route{
		{
			Method: "GET", Path: "/v1/admin/audit/export", Access: api.People, Roles: roles, Scope: api.ScopeAuditRead,
			Handle: func(c *api.Call) (any, error) {
				if err := c.Record("audit.exported", ""); err != nil {
					return nil, err
				}
				return l.export(c, c.Tenant()), nil
			},
		},
		{
			Method: "GET", Path: "/v1/admin/audit/key", Access: api.People, Roles: roles, Scope: api.ScopeAuditRead,
			Handle: func(*api.Call) (any, error) {
				return verifierKey{l.Key}, nil
			},
		},
		{
			Method: "GET", Path: "/v1/admin/node/audit/export", Access: api.Operator,
			Handle: func(c *api.Call) (any, error) { return l.export(c, store.Operator), nil },
		},
	}
}

// verifierKey is the key with which checkpoints are verified.
type verifierKey struct {
	Key string `json:"key"`
}

// export writes as fast as the client reads. What goes wrong on the way leaves the export without its last line.
func (l AuditLog) export(c *api.Call, t store.Tenant) *api.Stream {
	if err := l.Seal(c.Context()); err != nil { // what is not covered then the verdict says
		l.Log.Warn("sealing before an export", "err", err)
	}
	name := fmt.Sprintf("audit-%s-%s.jsonl", t.Name(), l.Now().UTC().Format(fileTime))
	return piped(c, l.Log, "application/jsonl", name, func(ctx context.Context, w io.Writer) error {
		_, err := audit.Export(ctx, w, l.Source(t), t.Name(), l.Key, l.Now())
		return err
	})
}
