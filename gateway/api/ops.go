package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/pprofhandler"

	"turnout/adapters/problem"
	"turnout/gateway/alarm"
	"turnout/gateway/fair"
)

// health is the answer of /healthz and /readyz.
type health struct {
	Status string `json:"status"` // ok, failing, stopping
	// Durability is the level in force; Reason what is wrong.
	Durability string  `json:"durability,omitempty"`
	Reason     string  `json:"reason,omitempty"`
	FreeBytes  int64   `json:"free_bytes"`
	FsyncMS    float64 `json:"fsync_ms"`
	// Places are how the node's places for calls stand.
	Places []places `json:"places,omitempty"`
	// Audit is how the checkpoints are. A node works on without them, and says so here.
	Audit *Checkpoints `json:"audit,omitempty"`
	// Alarms are what is wrong although the node serves; the first one's reason is Reason when there is no graver one.
	Alarms []alarm.Alarm `json:"alarms,omitempty"`
}

// places is how those of one kind stand: how many the node has, how many are held, and how many wait for one.
type places struct {
	Kind    string `json:"kind"` // bot_calls, sends
	Bound   int    `json:"bound"`
	Held    int    `json:"held"`
	Waiting int    `json:"waiting"`
}

// tenantPlaces are those of one tenant.
type tenantPlaces struct {
	Kind    string `json:"kind"` // bot_calls, sends
	Weight  int    `json:"weight"`
	Bound   int    `json:"bound"`
	Held    int    `json:"held"`
	Waiting int    `json:"waiting"`
	// LongestS is how long the first of those who wait has, in seconds.
	LongestS float64 `json:"longest_wait_s"`
}

// Places is how the places for one kind of calls stand, of the node and of its tenants.
type Places struct {
	Kind    string
	Total   fair.Total
	Tenants []fair.Stats
}

// Checkpoints is how those of the audit chains are.
type Checkpoints struct {
	// SealedAt is when everything was last sealed; Failing why it was not since.
	SealedAt time.Time `json:"sealed_at,omitzero"`
	Failing  string    `json:"failing,omitempty"`
	// Unsent are those whose copies are not outside, SendFailing why, since Since.
	Unsent      uint64    `json:"unsent"`
	SendFailing string    `json:"send_failing,omitempty"`
	Since       time.Time `json:"since,omitzero"`
}

// opsRouter serves the listener of operators. /healthz says that the process lives and how the store is; /readyz is 200
// only while the node can take work. /metrics is for Prometheus, /debug/pprof/ for whoever looks for what a node does.
func (s *Server) opsRouter() fasthttp.RequestHandler {
	r := router.New()
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleOPTIONS = false, false, false
	r.NotFound = s.chain(Route{Path: "(none)", Access: Public, handler: func(ctx *fasthttp.RequestCtx) {
		problem.Write(ctx, fasthttp.StatusNotFound, problem.CodeNotFound, "There is nothing at this path.")
	}})
	r.MethodNotAllowed = s.chain(Route{Path: "(method)", Access: Public, handler: func(ctx *fasthttp.RequestCtx) {
		problem.Write(ctx, fasthttp.StatusMethodNotAllowed, problem.CodeBadRequest, "This path takes GET.")
	}})
	for path, needed := range map[string]bool{"/healthz": false, "/readyz": true} {
		// Probes come every few seconds: like the channels' routes they are logged only when they fail.
		r.GET(path, s.chain(Route{Method: fasthttp.MethodGet, Path: path, Access: Channel, handler: s.getHealth(needed)}))
	}
	if s.o.Metrics != nil {
		r.GET("/metrics", s.chain(Route{Method: fasthttp.MethodGet, Path: "/metrics", Access: Channel, handler: s.o.Metrics}))
	}
	// Profiles run longer than a response may take to be written; whoever can reach this listener may take them.
	r.GET("/debug/pprof/{profile:*}", s.chain(Route{
		Method: fasthttp.MethodGet, Path: "/debug/pprof/{profile:*}", Access: Channel, handler: pprofhandler.PprofHandler,
	}))
	return r.Handler
}

func (s *Server) getHealth(needed bool) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		work, cancel := context.WithTimeout(s.life, requestTime)
		defer cancel()
		out := s.health(work)
		body, err := json.Marshal(out)
		if err != nil {
			panic("encoding health: " + err.Error()) // plain fields
		}
		if needed && out.Status != "ok" {
			ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
		}
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
		ctx.Response.Header.SetContentType("application/json")
		ctx.Response.SetBodyRaw(body)
	}
}

// Ready reports whether the node takes work.
func (s *Server) Ready(ctx context.Context) bool { return s.health(ctx).Status == "ok" }

func (s *Server) health(ctx context.Context) health {
	h := s.o.Health(ctx)
	out := health{
		Status: "ok", Durability: h.Level, Reason: h.Reason, FreeBytes: h.Free, FsyncMS: float64(h.Fsync.Microseconds()) / 1000,
	}
	if s.o.Places != nil {
		for _, p := range s.o.Places(ctx) {
			out.Places = append(out.Places, places{Kind: p.Kind, Bound: p.Total.Most, Held: p.Total.Running, Waiting: p.Total.Waiting})
		}
	}
	if s.o.Checkpoints != nil {
		c := s.o.Checkpoints()
		out.Audit = &c
	}
	if s.o.Alarms != nil {
		out.Alarms = s.o.Alarms()
	}
	var behind error
	if s.o.Ready != nil {
		behind = s.o.Ready()
	}
	switch {
	case s.stopping.Load():
		out.Status = "stopping"
	case !h.OK:
		out.Status = "failing"
	case behind != nil:
		out.Status, out.Reason = "failing", behind.Error()
	}
	if out.Reason == "" && len(out.Alarms) > 0 {
		out.Reason = out.Alarms[0].Reason
	}
	return out
}
