package notary

import (
	"context"

	"turnout/gateway/audit"
	"turnout/gateway/store"
)

// Source is a tenant's part of a store as an export reads it.
func Source(s store.Audit, t store.Tenant) audit.Source { return source{s, t} }

type source struct {
	s store.Audit
	t store.Tenant
}

func (s source) Checkpoints(ctx context.Context, after uint64, limit int) ([]audit.Sealed, error) {
	return s.s.Checkpoints(ctx, s.t, after, limit)
}

func (s source) Chains(ctx context.Context, after string, limit int) ([]string, error) {
	return s.s.Chains(ctx, s.t, after, limit)
}

func (s source) Entries(ctx context.Context, chain string, after uint64, limit int) ([][]byte, error) {
	return s.s.Entries(ctx, s.t, chain, after, limit)
}
