package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"turnout/adapters/problem"
)

// Access says who may use a route. The zero value is nobody.
type Access byte

// The kinds of access.
const (
	// Public is for everybody: the route does its own checks, or needs none.
	Public Access = 'p'
	// Channel is a route of an adapter, which knows its own customers or provider.
	Channel Access = 'c'
	// People is for signed-in accounts with one of the route's Roles.
	People Access = 'a'
)

// Route is one row of the table of what exists.
type Route struct {
	Method  string
	Path    string // in the form of fasthttp/router: "/v1/agent/conversations/{id}"
	Access  Access
	Roles   []Role // for People
	MaxBody int64  // 0: the server's limit; else the handler reads the body as a stream
	Person  bool   // of a channel: the request asks for a person
	handler fasthttp.RequestHandler
}

// table lists all routes.
func (s *Server) table() []Route {
	conv := "/v1/agent/conversations/{id}"
	get, post := fasthttp.MethodGet, fasthttp.MethodPost
	routes := []Route{
		{Method: post, Path: "/v1/agent/login", Access: Public, handler: s.postLogin},
		{Method: get, Path: "/v1/agent/socket", Access: Public, handler: s.getSocket}, // signs in by its first frame
		s.agents(post, "/v1/agent/logout", s.postLogout, everybody...),
		s.agents(get, "/v1/agent/me", s.getMe, everybody...),
		s.agents(post, "/v1/agent/presence", s.postPresence),
		s.agents(get, "/v1/agent/queue", s.getQueue),
		s.agents(get, conv, s.getConversation),
		s.agents(post, conv+"/claim", s.postClaim),
		s.agents(post, conv+"/reply", s.postReply),
		s.agents(post, conv+"/undo", s.postUndo),
		s.agents(post, conv+"/note", s.postNote),
		s.agents(post, conv+"/transfer", s.postTransfer),
		s.agents(post, conv+"/escalate", s.postEscalate),
		s.agents(post, conv+"/release", s.postRelease),
		s.agents(post, conv+"/resolve", s.postResolve),
		s.agents(post, conv+"/snooze", s.postSnooze),
		s.agents(post, conv+"/typing", s.postTyping),
		s.agents(get, conv+"/attachments/{attachment}", s.getAttachment),
	}
	for _, r := range s.o.Routes {
		routes = append(routes, Route{Method: r.Method, Path: r.Path, Access: Channel, MaxBody: r.MaxBody, Person: r.Person, handler: r.Handler})
	}
	return routes
}

// agents is a row for people: those who take conversations, or the given roles.
func (s *Server) agents(method, path string, h handler, roles ...Role) Route {
	if len(roles) == 0 {
		roles = []Role{RoleAgent, RoleSupervisor}
	}
	return Route{Method: method, Path: path, Access: People, Roles: roles, handler: s.signedIn(roles, h)}
}

// router mounts the table.
func (s *Server) router(routes []Route) (fasthttp.RequestHandler, error) {
	r := router.New()
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleOPTIONS = false, false, false
	r.NotFound = s.chain(Route{Path: "(none)", Access: Public, handler: func(ctx *fasthttp.RequestCtx) {
		problem.Write(ctx, fasthttp.StatusNotFound, problem.CodeNotFound, "There is nothing at this path.")
	}})
	r.MethodNotAllowed = s.chain(Route{Path: "(method)", Access: Public, handler: func(ctx *fasthttp.RequestCtx) {
		problem.Write(ctx, fasthttp.StatusMethodNotAllowed, problem.CodeBadRequest,
			"This path does not take this method. The header Allow lists those that it takes.")
	}})
	seen := map[string]bool{}
	for _, route := range routes {
		key := route.Method + " " + route.Path
		if seen[key] {
			return nil, fmt.Errorf("mounting %s: it is served twice", key)
		}
		seen[key] = true
		if err := mount(r, route, s.chain(route)); err != nil {
			return nil, err
		}
	}
	return r.Handler, nil
}

// mount turns the router's panic about a path that it cannot take into an error.
func mount(r *router.Router, route Route, h fasthttp.RequestHandler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("mounting %s %s: %v", route.Method, route.Path, v)
		}
	}()
	r.Handle(route.Method, route.Path, h)
	return nil
}

// bodyLimit is the largest body for a request that no handler has seen yet.
func (s *Server) bodyLimit(method, path string) int64 {
	for _, r := range s.large {
		if r.Method == method && matches(r.Path, path) {
			return r.MaxBody
		}
	}
	return int64(s.o.Limits.BodyBytes)
}

// matches reports whether a path is one of a pattern, segment by segment.
func matches(pattern, path string) bool {
	p, q := strings.Split(pattern, "/"), strings.Split(path, "/")
	return slices.EqualFunc(p, q, func(want, got string) bool {
		return want == got || strings.HasPrefix(want, "{") && got != ""
	})
}
