// Package apitest holds the API's OpenAPI document against what goes over the wire: a test hands in requests and answers,
// and every one that the document does not allow is an error. The document is read and judged by a library that knows
// nothing of this server.
package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// Document is an OpenAPI document that was found sound.
type Document struct{ *openapi3.T }

// Load reads a document and validates it.
func Load(data []byte) (*Document, error) {
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, fmt.Errorf("loading the document: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("validating the document: %w", err)
	}
	return &Document{doc}, nil
}

// Exchange is a request and its answer.
type Exchange struct {
	Method, Path string // without the query
	Request      []byte
	Status       int
	Header       http.Header
	Answer       []byte
}

// Check returns an error for an exchange that the document does not allow.
func (d *Document) Check(e Exchange) error {
	if e.Method == http.MethodOptions {
		return nil // what browsers ask before a request is CORS'
	}
	op := d.operation(e.Method, e.Path)
	if op == nil {
		if e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed {
			return nil
		}
		return fmt.Errorf("%s %s answers %d and is not in the document", e.Method, e.Path, e.Status)
	}
	if err := d.request(op, e); err != nil {
		return fmt.Errorf("%s %s: the request: %w", e.Method, e.Path, err)
	}
	if err := d.answer(op, e); err != nil {
		return fmt.Errorf("%s %s: the answer of status %d: %w: %s", e.Method, e.Path, e.Status, err, e.Answer)
	}
	return nil
}

// operation finds the operation of a request: a path in words goes before one with parameters.
func (d *Document) operation(method, path string) *openapi3.Operation {
	var found *openapi3.Operation
	best := -1
	for pattern, item := range d.Paths.Map() {
		words, ok := match(pattern, path)
		if op := item.GetOperation(method); ok && words > best && op != nil {
			best, found = words, op
		}
	}
	return found
}

// match reports whether a path is one of a pattern, and how many of its segments are words.
func match(pattern, path string) (words int, ok bool) {
	p, q := strings.Split(pattern, "/"), strings.Split(path, "/")
	ok = slices.EqualFunc(p, q, func(want, got string) bool {
		if want == got {
			words++
		}
		return want == got || strings.HasPrefix(want, "{") && got != ""
	})
	return words, ok
}

// request checks the body of a request that was carried out: what is refused may be anything.
func (d *Document) request(op *openapi3.Operation, e Exchange) error {
	if e.Status/100 != 2 || len(e.Request) == 0 {
		return nil
	}
	if op.RequestBody == nil {
		if op.Extensions["x-access"] == "channel" || strings.TrimSpace(string(e.Request)) == "{}" || string(e.Request) == "null" {
			return nil
		}
		return fmt.Errorf("a body was taken where the document has none")
	}
	content := op.RequestBody.Value.Content.Get("application/json")
	if content == nil || content.Schema == nil || string(e.Request) == "null" {
		return nil
	}
	return visit(content.Schema.Value, e.Request)
}

func (d *Document) answer(op *openapi3.Operation, e Exchange) error {
	response := op.Responses.Status(e.Status)
	if response == nil {
		if op.Extensions["x-access"] == "channel" {
			return nil
		}
		return fmt.Errorf("the document has no such status")
	}
	kind, _, _ := mime.ParseMediaType(e.Header.Get("Content-Type"))
	if e.Status == http.StatusNoContent {
		if len(e.Answer) > 0 {
			return fmt.Errorf("it has a body")
		}
		return nil
	}
	content := response.Value.Content.Get(kind)
	if content == nil {
		return fmt.Errorf("the document has no content of type %q", kind)
	}
	if kind == "application/problem+json" {
		if err := code(response.Value, e.Answer); err != nil {
			return err
		}
	}
	if content.Schema == nil {
		return nil
	}
	return visit(content.Schema.Value, e.Answer)
}

// code checks the code of a problem.
func code(r *openapi3.Response, body []byte) error {
	var p struct {
		Code   string
		Status int
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return fmt.Errorf("decoding a problem: %w", err)
	}
	listed, ok := r.Extensions["x-codes"].([]any)
	if ok && !slices.Contains(listed, any(p.Code)) {
		return fmt.Errorf("the code %s is not among those of the document, %v", strconv.Quote(p.Code), listed)
	}
	return nil
}

func visit(schema *openapi3.Schema, body []byte) error {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	return schema.VisitJSON(v, openapi3.MultiErrors())
}
