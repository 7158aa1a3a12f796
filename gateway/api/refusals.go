package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"turnout/gateway/audit"
	"turnout/gateway/store"
)

// refusals counts those who came without a valid sign-in. Anybody can make any number of them, so they are not chained one
// by one: an entry a minute and kind says how many there were.
type refusals struct {
	mu     sync.Mutex
	total  uint64
	counts map[refusal]int
}

// refusal is a kind ("request", "login", "socket", "channel") and where it is written down: with the tenant that somebody claimed to
// be of, else with the operator. There are as many as tenants and kinds, whatever is sent.
type refusal struct {
	tenant store.Tenant
	kind   string
}

func (s *Server) refused(t store.Tenant, kind string) {
	r := &s.auth.refused
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	if r.counts == nil {
		r.counts = map[refusal]int{}
	}
	r.counts[refusal{t, kind}]++
}

// tenantNamed returns the tenant of that name, or the operator.
func (s *Server) tenantNamed(name string) store.Tenant {
	for _, t := range s.auth.accounts().Tenants() {
		if t.Name() == name {
			return t
		}
	}
	return store.Operator
}

// RecordRefusals writes down how many came without a valid sign-in since it was last called: an entry for each tenant and
// kind that has any; it also says in the log how many refusals were left out of it. It is to be called every minute and at the end. What could not be written down is counted on.
func (s *Server) RecordRefusals(ctx context.Context) error {
	s.logRepeats(s.stopping.Load())
	r := &s.auth.refused
	r.mu.Lock()
	counts := r.counts
	r.counts = nil
	r.mu.Unlock()
	var errs []error
	for which, n := range counts {
		err := s.recordRefusal(ctx, which, n)
		if err == nil {
			s.o.Log.Warn("refused requests without a valid sign-in", "tenant", which.tenant.Name(), "kind", which.kind, "count", n)
			continue
		}
		errs = append(errs, fmt.Errorf("recording refusals: %w", err))
		r.mu.Lock()
		if r.counts == nil {
			r.counts = map[refusal]int{}
		}
		r.counts[which] += n
		r.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (s *Server) recordRefusal(ctx context.Context, which refusal, n int) error {
	op := make([]byte, 16)
	if _, err := io.ReadFull(s.o.Rand, op); err != nil {
		return err
	}
	return s.o.Audit.Append(ctx, which.tenant, audit.Entry{
		At: s.o.Now().UnixMilli(), Type: "access.refused", Kind: which.kind, Op: encodeToken(op), Actor: "nobody", Count: n,
	})
}

// Refused returns how many requests came without a valid sign-in since the server was built.
func (s *Server) Refused() uint64 {
	s.auth.refused.mu.Lock()
	defer s.auth.refused.mu.Unlock()
	return s.auth.refused.total
}
