package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// text is content in any of its forms: a string, null, or a list of parts, of which those are read that are text.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	*t = ""
	switch raw[0] {
	case 'n':
		return nil
	case '[':
		var parts []json.RawMessage
		if err := json.Unmarshal(raw, &parts); err != nil {
			return err
		}
		var b strings.Builder
		for _, p := range parts {
			var said struct {
				Type string `json:"type"`
				Text string `json:"text"`
			}
			if p[0] == '"' {
				_ = json.Unmarshal(p, &said.Text)
			} else if json.Unmarshal(p, &said) != nil || said.Type != "" && said.Type != "text" && said.Type != "output_text" {
				continue // an image, a thought, a reference
			}
			b.WriteString(said.Text)
		}
		*t = text(b.String())
		return nil
	}
	return json.Unmarshal(raw, (*string)(t))
}

// word is a string that nothing depends on: in any other form it is none.
type word string

func (w *word) UnmarshalJSON(raw []byte) error {
	*w = ""
	if raw[0] == '"' {
		return json.Unmarshal(raw, (*string)(w))
	}
	return nil
}

// place is a number of something in a list. In any other form it says nothing, as if it were that of the first.
type place int

func (p *place) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, (*int)(p)) != nil {
		*p = 0
	}
	return nil
}

// arguments are those of a call: JSON in a string, or, as some servers write it, as it is.
type arguments string

func (a *arguments) UnmarshalJSON(raw []byte) error {
	*a = ""
	switch raw[0] {
	case 'n':
		return nil
	case '"':
		return json.Unmarshal(raw, (*string)(a))
	}
	*a = arguments(raw)
	return nil
}

// said is a message of a reply, whole (message) or a piece of it (delta). What only some servers send in forms of their own
// is kept raw and read by hand: it may be wrong without making the rest so.
type said struct {
	Content     text            `json:"content"`
	Refusal     text            `json:"refusal"`
	Calls       []wireCall      `json:"tool_calls"`
	Function    *wireFunction   `json:"function_call"` // the form before tools
	Annotations json.RawMessage `json:"annotations"`
	Context     json.RawMessage `json:"context"` // Azure: answers on your own data
}

type wireCall struct {
	Index    *place       `json:"index,omitempty"`
	ID       word         `json:"id,omitempty"`
	Type     word         `json:"type,omitempty"`
	Function wireFunction `json:"function"`
}

type wireFunction struct {
	Name      string    `json:"name,omitempty"`
	Arguments arguments `json:"arguments,omitempty"`
}

// completion is a whole reply or one chunk of it.
type completion struct {
	ID      word `json:"id"`
	Model   word `json:"model"`
	Choices []struct {
		Index   place `json:"index"`
		Message *said `json:"message"`
		Delta   *said `json:"delta"`
		Finish  *word `json:"finish_reason"`
	} `json:"choices"`
	Usage     json.RawMessage `json:"usage"`
	Error     json.RawMessage `json:"error"`
	Citations json.RawMessage `json:"citations"`      // Perplexity, xAI: a list of URLs
	Results   json.RawMessage `json:"search_results"` // Perplexity: the same with titles
}

// DecodeReply reads a whole completion. The error is an *Error when the server says that it is one, and wraps ErrMalformed
// otherwise.
func DecodeReply(body []byte) (Reply, error) {
	c, err := decodeCompletion(body)
	if err != nil {
		return Reply{}, err
	}
	if len(c.Choices) == 0 || c.Choices[0].Message == nil {
		return Reply{}, fmt.Errorf("%w: the completion has no choice with a message", ErrMalformed)
	}
	var g gathering
	g.head(c)
	g.add(c.Choices[0].Message)
	if f := c.Choices[0].Finish; f != nil {
		g.reply.Finish = string(*f)
	}
	return g.done(), nil
}

func decodeCompletion(body []byte) (*completion, error) {
	var c completion
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("%w: the completion is not JSON of its form", ErrMalformed)
	}
	if len(c.Error) > 0 && c.Error[0] != 'n' {
		return nil, decodeError(c.Error)
	}
	return &c, nil
}

// kinds are the types and codes of errors that are known, with the status that they stand for.
var kinds = map[string]int{
	"rate_limit_error": 429, "rate_limit_exceeded": 429, "requests": 429, "tokens": 429, "insufficient_quota": 429,
	"invalid_request_error": 400, "context_length_exceeded": 400, "content_filter": 400, "authentication_error": 401,
	"invalid_api_key": 401, "permission_error": 403, "not_found_error": 404, "model_not_found": 404, "overloaded_error": 503,
	"service_unavailable": 503, "timeout": 504, "server_error": 500, "api_error": 500, "internal_server_error": 500,
}

// decodeError reads an error object, or whatever stands in its place.
func decodeError(raw []byte) *Error {
	var w struct {
		Type json.RawMessage `json:"type"`
		Code json.RawMessage `json:"code"`
	}
	e := &Error{Status: 500}
	if json.Unmarshal(raw, &w) != nil {
		return e
	}
	for _, member := range []json.RawMessage{w.Type, w.Code} {
		word := string(bytes.Trim(member, `"`))
		if status, known := kinds[word]; known {
			e.Status, e.Type = status, word
		} else if n, err := strconv.Atoi(word); err == nil && n >= 400 && n <= 599 {
			e.Status = n
		}
	}
	return e
}

// gathering is a reply that is put together.
type gathering struct {
	reply    Reply
	text     strings.Builder
	refusal  strings.Builder
	calls    []*call
	seen     map[Source]bool
	function *call
}

type call struct {
	index     int
	id, name  string
	arguments strings.Builder
}

// head takes what stands beside the choices.
func (g *gathering) head(c *completion) {
	if c.ID != "" {
		g.reply.ID = string(c.ID)
	}
	if c.Model != "" {
		g.reply.Model = string(c.Model)
	}
	if u := decodeUsage(c.Usage); u != nil { // some servers count on in every chunk: the last one is the whole
		g.reply.Usage = u
	}
	// With titles first: what follows without is the same.
	g.sources(c.Results)
	g.sources(c.Citations)
}

// mostTokens bounds what a server can say that a completion cost: no model takes so many, and sums of them stay sums.
const mostTokens = 1 << 40

// decodeUsage reads a count of tokens, nil where there is none. Some servers write whole numbers as 12.0.
func decodeUsage(raw json.RawMessage) *Usage {
	var u *struct {
		Prompt     float64 `json:"prompt_tokens"`
		Completion float64 `json:"completion_tokens"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &u) != nil || u == nil {
		return nil
	}
	count := func(n float64) int64 { return int64(min(max(0, n), mostTokens)) }
	return &Usage{Prompt: count(u.Prompt), Completion: count(u.Completion)}
}

func (g *gathering) add(s *said) {
	g.text.WriteString(string(s.Content))
	g.refusal.WriteString(string(s.Refusal))
	for i := range s.Calls {
		g.call(&s.Calls[i])
	}
	if f := s.Function; f != nil {
		if g.function == nil {
			g.function = &call{index: -1}
			g.calls = append(g.calls, g.function)
		}
		g.function.add("", f)
	}
	g.sources(s.Annotations)
	if len(s.Context) > 0 {
		var c struct {
			Citations json.RawMessage `json:"citations"`
		}
		if json.Unmarshal(s.Context, &c) == nil {
			g.sources(c.Citations)
		}
	}
}

// maxCalls bounds the calls of a reply; models that go wild repeat themselves.
const maxCalls = 64

// call adds a call or a fragment of one. Fragments belong together by index; servers that send calls whole leave it out, or
// give the same to all, and tell them apart by id.
func (g *gathering) call(w *wireCall) {
	at := (*call)(nil)
	for _, c := range g.calls {
		same := w.Index != nil && c.index == int(*w.Index)
		switch {
		case c == g.function:
		case w.ID != "" && c.id == string(w.ID), w.ID == "" && (w.Index == nil || same), same && c.id == "":
			at = c
		}
	}
	if at == nil {
		if len(g.calls) == maxCalls {
			return
		}
		at = &call{index: len(g.calls)}
		if w.Index != nil {
			at.index = int(*w.Index)
		}
		g.calls = append(g.calls, at)
	}
	at.add(string(w.ID), &w.Function)
}

func (c *call) add(id string, f *wireFunction) {
	if c.id == "" {
		c.id = id
	}
	if c.name == "" {
		c.name = f.Name
	}
	c.arguments.WriteString(string(f.Arguments))
}

// maxSources bounds the sources of a reply.
const maxSources = 64

// sources reads a list of sources in any form that is known; what is none is passed over.
func (g *gathering) sources(raw json.RawMessage) {
	var list []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		return
	}
	for _, item := range list {
		s := decodeSource(item)
		if s == (Source{}) || g.known(s) || len(g.reply.Sources) == maxSources {
			continue
		}
		if g.seen == nil {
			g.seen = map[Source]bool{}
		}
		g.seen[s] = true
		g.reply.Sources = append(g.reply.Sources, s)
	}
}

// known reports whether a source is there already; one without a title is, when its URL is.
func (g *gathering) known(s Source) bool {
	if g.seen[s] {
		return true
	}
	for _, have := range g.reply.Sources {
		if s.Title == "" && have.URL == s.URL {
			return true
		}
	}
	return false
}

type wireSource struct {
	URL      string      `json:"url"`
	Title    string      `json:"title"`
	Filename string      `json:"filename"`
	FilePath string      `json:"filepath"` // Azure
	Web      *wireSource `json:"url_citation"`
	File     *wireSource `json:"file_citation"`
}

// decodeSource reads a URL, an annotation with its citation inside (url_citation, file_citation) or beside it, or a document
// with title and URL.
func decodeSource(raw json.RawMessage) Source {
	if raw[0] == '"' {
		var u string
		_ = json.Unmarshal(raw, &u) // valid JSON, and a string
		return Source{URL: u}
	}
	var w wireSource
	if json.Unmarshal(raw, &w) != nil {
		return Source{}
	}
	for _, inside := range []*wireSource{w.Web, w.File} {
		if inside != nil {
			w = *inside
		}
	}
	s := Source{Title: w.Title, URL: w.URL}
	for _, name := range []string{w.Filename, w.FilePath} {
		if s.Title == "" {
			s.Title = name
		}
	}
	return s
}

func (g *gathering) done() Reply {
	r := g.reply
	r.Text, r.Refusal = g.text.String(), g.refusal.String()
	for _, c := range g.calls {
		r.Calls = append(r.Calls, Call{ID: c.id, Name: c.name, Arguments: c.arguments.String()})
	}
	return r
}
