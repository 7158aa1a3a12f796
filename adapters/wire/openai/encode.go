package openai

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

type outSource struct {
	Type string  `json:"type"` // url_citation
	Web  outCite `json:"url_citation"`
}

type outCite struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

type outSaid struct {
	Role    Role        `json:"role,omitempty"`
	Content *string     `json:"content,omitempty"`
	Refusal *string     `json:"refusal,omitempty"`
	Calls   []wireCall  `json:"tool_calls,omitempty"`
	Sources []outSource `json:"annotations,omitempty"`
}

type outChoice struct {
	Index   int      `json:"index"`
	Message *outSaid `json:"message,omitempty"`
	Delta   *outSaid `json:"delta,omitempty"`
	Finish  *string  `json:"finish_reason"`
}

type outUsage struct {
	Usage
	Total int64 `json:"total_tokens"`
}

type outReply struct {
	ID      string      `json:"id"`
	Object  string      `json:"object"`
	Created int64       `json:"created"`
	Model   string      `json:"model"`
	Choices []outChoice `json:"choices"`
	Usage   *outUsage   `json:"usage,omitempty"`
}

func (r *Reply) out(object string, at time.Time) outReply {
	return outReply{ID: r.ID, Object: object, Created: at.Unix(), Model: r.Model, Choices: []outChoice{}}
}

func (r *Reply) usage() *outUsage {
	if r.Usage == nil {
		return nil
	}
	return &outUsage{Usage: *r.Usage, Total: r.Usage.Prompt + r.Usage.Completion}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (r *Reply) calls(indexed bool) []wireCall {
	var calls []wireCall
	for i, c := range r.Calls {
		w := wireCall{ID: word(c.ID), Type: "function", Function: wireFunction{Name: c.Name, Arguments: arguments(c.Arguments)}}
		if indexed {
			at := place(i)
			w.Index = &at
		}
		calls = append(calls, w)
	}
	return calls
}

func (r *Reply) annotations() []outSource {
	var out []outSource
	for _, s := range r.Sources {
		out = append(out, outSource{Type: "url_citation", Web: outCite(s)})
	}
	return out
}

// Encode returns the reply as a whole completion, created at that time.
func (r *Reply) Encode(at time.Time) []byte {
	w := r.out("chat.completion", at)
	w.Usage = r.usage()
	w.Choices = append(w.Choices, outChoice{Finish: optional(r.Finish), Message: &outSaid{
		Role: Assistant, Content: &r.Text, Refusal: optional(r.Refusal), Calls: r.calls(false), Sources: r.annotations(),
	}})
	return encode(w)
}

// AppendStream appends the reply as an event stream in which no piece of text has more than size bytes, but for characters
// that have more; with a chunk for the usage if there is one, and [DONE].
func (r *Reply) AppendStream(dst []byte, at time.Time, size int) []byte {
	event := func(delta *outSaid, finish string) {
		w := r.out("chat.completion.chunk", at)
		w.Choices = append(w.Choices, outChoice{Delta: delta, Finish: optional(finish)})
		dst = appendEvent(dst, encode(w))
	}
	event(&outSaid{Role: Assistant, Calls: r.calls(true), Sources: r.annotations()}, "")
	for piece, rest := cut(r.Text, size); piece != ""; piece, rest = cut(rest, size) {
		event(&outSaid{Content: &piece}, "")
	}
	for piece, rest := cut(r.Refusal, size); piece != ""; piece, rest = cut(rest, size) {
		event(&outSaid{Refusal: &piece}, "")
	}
	event(&outSaid{}, r.Finish)
	if r.Usage != nil {
		w := r.out("chat.completion.chunk", at)
		w.Usage = r.usage()
		dst = appendEvent(dst, encode(w))
	}
	return appendEvent(dst, []byte("[DONE]"))
}

func appendEvent(dst, data []byte) []byte {
	dst = append(dst, "data: "...)
	dst = append(dst, data...)
	return append(dst, "\n\n"...)
}

// cut splits s after at most size bytes, never inside a character, and takes at least one character.
func cut(s string, size int) (piece, rest string) {
	if len(s) <= size {
		return s, ""
	}
	end := size
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	if end <= 0 {
		_, end = utf8.DecodeRuneInString(s)
	}
	return s[:end], s[end:]
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("encoding a reply: " + err.Error()) // plain fields: cannot fail
	}
	return b
}
