package api

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"turnout/adapters"
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
	// People is for signed-in accounts with one of the route's Roles, or with a key that has its Scope; and for the
	// operator, who is an owner, if the path is below /v1/admin/.
	People Access = 'a'
	// Operator is for whoever reaches the node's own socket, and about the node as a whole: no account of a tenant may.
	Operator Access = 'o'
)

// Route is one row of the table of what exists.
type Route struct {
	Method string
	Path   string // in the form of fasthttp/router: "/v1/agent/conversations/{id}"
	Access Access
	Roles  []Role // for People
	// Scope lets in the key of an integration that has it; empty: none.
	Scope   Scope
	MaxBody int64 // 0: the server's limit; else the handler reads the body as a stream
	Person  bool  // of a channel: the request asks for a person
	// Handle answers on routes for People and the Operator.
	Handle Handler
	// Doc is for the OpenAPI document. Pattern is the path in it; empty: Path.
	Doc     Doc
	Pattern string

	page bool // for browsers

	handler fasthttp.RequestHandler
}

// admits reports whether a route for people lets somebody in.
func (r Route) admits(p principal) bool {
	switch {
	case r.Access == Operator:
		return p.operator
	case p.account.Role == RoleIntegration && r.Scope != "" && slices.Contains(p.scopes, r.Scope):
		return true
	}
	return slices.Contains(r.Roles, p.account.Role)
}

// table lists all routes, those of channels last.
func (s *Server) table(channels []adapters.Route) ([]Route, error) {
	routes := s.own()
	for _, r := range s.o.Pages {
		routes = append(routes, Route{Method: r.Method, Path: r.Path, Access: Public, handler: r.Handler, page: true})
	}
	for _, r := range s.o.Admin {
		if err := r.sound(); err != nil {
			return nil, fmt.Errorf("mounting %s %s: %w", r.Method, r.Path, err)
		}
		routes = append(routes, r)
	}
	for i := range routes {
		if routes[i].Handle != nil {
			routes[i].handler = s.signedIn(routes[i])
		}
	}
	for _, r := range channels {
		routes = append(routes, Route{Method: r.Method, Path: r.Path, Access: Channel, MaxBody: r.MaxBody, Person: r.Person, Pattern: r.Pattern, Doc: Doc{Summary: r.Summary, Body: r.Body, Answers: r.Answers}, handler: r.Handler})
	}
	return routes, nil
}

// adminPath is where the routes of administration are: those that the operator's socket serves as well.
const adminPath = "/v1/admin/"

// sound checks a row that comes from outside.
func (r Route) sound() error {
	switch {
	case r.Access != People && r.Access != Operator:
		return errors.New("it is for people or for the operator")
	case r.Access == Operator && len(r.Roles)+len(r.Scope) > 0:
		return errors.New("a route for the operator has neither roles nor a scope")
	case r.Access == People && len(r.Roles) == 0:
		return errors.New("it names no roles")
	case !strings.HasPrefix(r.Path, adminPath):
		return errors.New("it is not below " + adminPath)
	case r.Handle == nil:
		return errors.New("it has no handler")
	case r.Scope != "" && !slices.Contains(Scopes, r.Scope):
		return errors.New("unknown scope")
	}
	for _, role := range r.Roles {
		if !slices.Contains(everybody, role) || role == RoleIntegration {
			return fmt.Errorf("the role %q is not known, or is let in by a scope", role)
		}
	}
	return nil
}

// agents is a row for people: those who take conversations, or the given roles.
func agents(method, path string, h Handler, d Doc, roles ...Role) Route {
	if len(roles) == 0 {
		roles = []Role{RoleAgent, RoleSupervisor}
	}
	return Route{Method: method, Path: path, Access: People, Roles: roles, Handle: h, Doc: d}
}

// router mounts the table.
func (s *Server) router(routes []Route) (fasthttp.RequestHandler, error) {
	r := router.New()
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleOPTIONS = false, false, false
	r.NotFound = s.chain(Route{Path: "(none)", Access: Public, handler: func(ctx *fasthttp.RequestCtx) {
		if name := path.Base(string(ctx.Path())); s.page(string(ctx.Path()) + "/") {
			// Relative, so that a proxy that serves the gateway under a path of its own needs no rewriting.
			ctx.Response.Header.Set(fasthttp.HeaderLocation, name+"/")
			ctx.Response.SetStatusCode(fasthttp.StatusTemporaryRedirect)
			return
		}
		problem.Write(ctx, fasthttp.StatusNotFound, problem.CodeNotFound, "There is nothing at this path.")
	}})
	r.MethodNotAllowed = s.chain(Route{Path: "(method)", Access: Public, handler: func(ctx *fasthttp.RequestCtx) {
		if s.preflight(ctx) {
			return
		}
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

// page reports whether one of the pages is at a path.
func (s *Server) page(at string) bool {
	return slices.ContainsFunc(s.o.Pages, func(r adapters.Route) bool { return r.Path == at })
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
	for _, r := range s.face.Load().large {
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
