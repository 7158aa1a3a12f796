package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/problem"
)

// Doc is what the OpenAPI document says of a route beside what the row itself says. The document is made of the rows and
// of the Go types that handlers read and write, so it cannot say anything else than they do.
type Doc struct {
	// Summary is one sentence.
	Summary string
	// Body and Answer are values of the types that the handler decodes and returns; nil: there is none, and with Answer nil
	// the answer is 204. File, if set, is the media type of an answer that is no JSON; several, behind a comma each.
	Body, Answer any
	// Answers, of a channel's route, is what adapters.Route says.
	Answers map[int]any
	File    string
	// Query is the route's query arguments and what they say.
	Query map[string]string
	// Codes are the problem codes of this route beside those of every route, each behind its status: "409 already_claimed".
	Codes []string
}

// usualCodes are the codes that every route may answer with.
var usualCodes = []string{
	problem.CodeBadRequest, problem.CodeRateLimited, problem.CodeTooLarge, problem.CodeInternal, problem.CodeStoreUnavailable,
	problem.CodeUnknownOutcome,
}

// codesOf lists the problem codes of a route with their statuses.
func codesOf(r Route) map[int][]string {
	codes := map[int][]string{}
	add := func(status int, code string) {
		if !slices.Contains(codes[status], code) {
			codes[status] = append(codes[status], code)
		}
	}
	for _, c := range usualCodes {
		add(problem.StatusOf(c), c)
	}
	add(http.StatusRequestTimeout, problem.CodeBadRequest)
	add(http.StatusUnsupportedMediaType, problem.CodeBadRequest)
	if r.Access == People || r.Access == Operator {
		add(http.StatusUnauthorized, problem.CodeUnauthenticated)
		add(http.StatusForbidden, problem.CodeForbidden)
	}
	if strings.Contains(r.Path, "{") {
		add(http.StatusNotFound, problem.CodeNotFound)
	}
	if strings.Contains(r.Path, "conversations/{") {
		add(http.StatusGone, CodeErased)
	}
	if r.keyed() {
		add(http.StatusUnprocessableEntity, problem.CodeIdempotencyMismatch)
	}
	for _, c := range r.Doc.Codes {
		text, code, _ := strings.Cut(c, " ")
		status, err := strconv.Atoi(text)
		if err != nil {
			panic("a code without its status: " + c)
		}
		add(status, code)
	}
	return codes
}

// keyed reports whether a route takes an Idempotency-Key.
func (r Route) keyed() bool {
	return r.Handle != nil && r.Method != fasthttp.MethodGet && r.Method != fasthttp.MethodHead
}

type object = map[string]any

// document returns the OpenAPI document of a table.
func (s *Server) document(routes []Route) ([]byte, error) {
	schemas := newSchemas()
	paths := map[string]object{}
	tags := map[string]bool{}
	for _, r := range routes {
		pattern := cmp.Or(r.Pattern, r.Path)
		if r.Method == fasthttp.MethodOptions || r.page {
			continue // preflights are CORS', pages are for browsers
		}
		op, err := operation(r, pattern, schemas)
		if err != nil {
			return nil, fmt.Errorf("describing %s %s: %w", r.Method, r.Path, err)
		}
		for _, t := range op["tags"].([]string) {
			tags[t] = true
		}
		item := paths[pattern]
		if item == nil {
			item = object{}
			paths[pattern] = item
		}
		item[strings.ToLower(r.Method)] = op
	}
	var tagList []object
	for _, t := range slices.Sorted(maps.Keys(tags)) {
		tagList = append(tagList, object{"name": t})
	}
	schemas.of(problem.Details{}, false)
	schemas.named["Details"]["additionalProperties"] = true
	return json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "turnout", "version": cmp.Or(s.o.Version, "devel"),
			"description": "The API of a turnout gateway. Names are stable; new fields may come. Errors are application/problem+json with a stable code.",
			"license":     object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers": []object{{"url": "/"}},
		"tags":    tagList,
		"paths":   paths,
		"components": object{
			"schemas": schemas.named,
			"securitySchemes": object{
				"key":     object{"type": "http", "scheme": "bearer", "description": "An API key, or the token of a login."},
				"session": object{"type": "apiKey", "in": "cookie", "name": s.auth.cookie, "description": "The cookie of a login, for the server's own pages."},
				"visitor": object{"type": "http", "scheme": "bearer", "description": "The token of a channel's session, or what its protocol has."},
			},
		},
	})
}

// operation describes one route.
func operation(r Route, pattern string, schemas *schemas) (object, error) {
	op := object{
		"operationId": operationID(r.Method, pattern), "tags": []string{tagOf(pattern)}, "summary": cmp.Or(r.Doc.Summary, "A route of a channel."),
		"x-access": map[Access]string{Public: "public", Channel: "channel", People: "people", Operator: "operator"}[r.Access],
	}
	switch r.Access {
	case Public:
		op["security"] = []object{}
	case Channel:
		op["security"] = []object{{}, {"visitor": []string{}}}
	default:
		op["security"] = []object{{"key": []string{}}, {"session": []string{}}}
	}
	if len(r.Roles) > 0 {
		op["x-roles"] = r.Roles
	}
	if r.Scope != "" {
		op["x-scope"] = r.Scope
	}
	var parameters []object
	for _, part := range strings.Split(pattern, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			parameters = append(parameters, object{
				"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": object{"type": "string"},
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Doc.Query)) {
		parameters = append(parameters, object{
			"name": name, "in": "query", "description": r.Doc.Query[name], "schema": object{"type": "string"},
		})
	}
	if r.keyed() {
		parameters = append(parameters, object{
			"name": keyHeader, "in": "header", "schema": object{"type": "string", "maxLength": maxKey},
			"description": "The same request with the same key is carried out once and answered alike, for 8 days.",
		})
	}
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	if r.Doc.Body != nil {
		op["requestBody"] = object{"content": object{"application/json": object{"schema": schemas.of(r.Doc.Body, true)}}}
	} else if r.Access == Channel && r.Method == fasthttp.MethodPost {
		op["requestBody"] = object{"content": object{"*/*": object{}}}
	}
	responses := object{}
	switch {
	case r.Access == Channel && r.Doc.Answers != nil:
		for status, v := range r.Doc.Answers {
			responses[strconv.Itoa(status)] = answered(v, schemas)
		}
		responses["default"] = problemOf("what went wrong, with its code", nil)
		op["responses"] = responses
		return op, nil
	case r.Access == Channel:
		responses["2XX"] = object{"description": "as the channel's protocol says", "content": object{"*/*": object{}}}
		responses["default"] = problemOf("as the channel's protocol says", nil)
		op["responses"] = responses
		return op, nil
	case r.Doc.File != "":
		content := object{}
		for _, kind := range strings.Split(r.Doc.File, ", ") {
			content[kind] = object{}
		}
		responses["200"] = object{"description": "the file", "content": content}
	case r.Doc.Answer != nil:
		responses["200"] = object{"description": "done", "content": object{"application/json": object{"schema": schemas.of(r.Doc.Answer, false)}}}
	default:
		responses["204"] = object{"description": "done"}
	}
	for status, codes := range codesOf(r) {
		responses[strconv.Itoa(status)] = problemOf(strings.Join(codes, ", "), codes)
	}
	op["responses"] = responses
	return op, nil
}

// answered describes an answer in JSON of a type, of one of several, or without a body.
func answered(v any, schemas *schemas) object {
	schema := object{}
	switch v := v.(type) {
	case nil:
		return object{"description": "done"}
	case adapters.OneOf:
		var types []object
		for _, one := range v {
			types = append(types, schemas.of(one, false))
		}
		schema["anyOf"] = types
	default:
		schema = schemas.of(v, false)
	}
	return object{"description": "done", "content": object{"application/json": object{"schema": schema}}}
}

func problemOf(description string, codes []string) object {
	out := object{
		"description": description,
		"content":     object{problem.ContentType: object{"schema": object{"$ref": "#/components/schemas/Details"}}},
	}
	if codes != nil {
		out["x-codes"] = codes
	}
	return out
}

// operationID makes a name of a route: "postAgentConversationsIdClaim".
func operationID(method, pattern string) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(method))
	for _, part := range strings.FieldsFunc(strings.TrimPrefix(pattern, "/v1/"), func(r rune) bool { return strings.ContainsRune("/{}-._", r) }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// tagOf groups routes: "agent", "admin", "web".
func tagOf(pattern string) string {
	parts := strings.Split(strings.TrimPrefix(pattern, "/v1"), "/")
	if len(parts) < 2 {
		return "other"
	}
	return strings.TrimSuffix(parts[1], ".json")
}

// getDocument serves the document.
func (s *Server) getDocument(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.SetContentType("application/json")
	ctx.Response.SetBodyRaw(s.face.Load().document)
}
