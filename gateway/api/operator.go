package api

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters/problem"
	"turnout/gateway/api/local"
	"turnout/gateway/store"
)

// TenantHeader names the tenant that a request over the operator's socket is about. A node with one tenant needs none.
const TenantHeader = "Turnout-Tenant"

// viaSocket marks requests that came over the operator's socket; its value is the principal's user id.
const viaSocket = "operator"

// ListenSocket serves the routes of administration on a Unix socket at file, which only the user of the process can open.
// Whoever does is the operator.
func (s *Server) ListenSocket(file string) error {
	ln, err := local.Listen(file)
	if err != nil {
		return fmt.Errorf("opening the operator's socket: %w", err)
	}
	s.serve(ln, s.local)
	return nil
}

// overSocket marks the requests of the operator.
func overSocket(h fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		uid := "unknown"
		if conn, ok := ctx.Conn().(*net.UnixConn); ok {
			if id, ok := local.Peer(conn); ok {
				uid = strconv.Itoa(id)
			}
		}
		ctx.SetUserValue(viaSocket, uid)
		h(ctx)
	}
}

// operator returns the operator as a principal: an owner of the tenant that the request names.
func (s *Server) operator(ctx *fasthttp.RequestCtx, r Route) (principal, bool, error) {
	uid, ok := ctx.UserValue(viaSocket).(string)
	if !ok {
		return principal{}, false, nil
	}
	p := principal{account: &Account{ID: uid, Name: "operator", Role: RoleOwner}, by: "socket", operator: true}
	if r.Access == Operator {
		return p, true, nil
	}
	tenants := s.auth.accounts().Tenants()
	name := string(ctx.Request.Header.Peek(TenantHeader))
	if name == "" && len(tenants) == 1 {
		name = tenants[0].Name()
	}
	i := slices.IndexFunc(tenants, func(t store.Tenant) bool { return t.Name() == name })
	if i < 0 {
		return p, true, refuse(problem.CodeBadRequest, "Name a tenant of this node (--tenant): "+names(tenants)+".")
	}
	p.account.Tenant = tenants[i]
	return p, true, nil
}

func names(tenants []store.Tenant) string {
	out := make([]string, len(tenants))
	for i, t := range tenants {
		out[i] = t.Name()
	}
	return strings.Join(out, ", ")
}

// status is the answer of GET /v1/admin/status.
type status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Status  string    `json:"status"` // ok, failing, stopping
	// Durability is the level in force; Reason what is wrong.
	Durability string  `json:"durability,omitempty"`
	Reason     string  `json:"reason,omitempty"`
	FreeBytes  int64   `json:"free_bytes"`
	FsyncMS    float64 `json:"fsync_ms"`
	Tenant     string  `json:"tenant"`
	// Places are how the tenant's places for calls stand.
	Places []tenantPlaces `json:"places"`
}

func (s *Server) getStatus(c *Call) (any, error) {
	h := s.health(c.Context())
	own := []tenantPlaces{}
	if s.o.Places != nil {
		for _, p := range s.o.Places(c.Context()) {
			for _, t := range p.Tenants {
				if t.Tenant == c.Tenant().Name() {
					own = append(own, tenantPlaces{
						Kind: p.Kind, Weight: t.Weight, Bound: t.Most, Held: t.Running, Waiting: t.Waiting, LongestS: t.Longest.Seconds(),
					})
				}
			}
		}
	}
	return status{
		Places:  own,
		Version: s.o.Version, Started: s.started.UTC(), Tenant: c.Tenant().Name(),
		Status: h.Status, Durability: h.Durability, Reason: h.Reason, FreeBytes: h.FreeBytes, FsyncMS: h.FsyncMS,
	}, nil
}
