// Package openai is the chat completions protocol of OpenAI and of the many servers that speak it: bytes to values and
// back, in both directions, whole and streamed. It knows no HTTP, no customers and no bots.
//
// Reading is lenient, because every server has its own reading of the protocol: members that are not needed may be missing,
// null or of a form of their own, and what is not known is passed over. What a reply says, how it ended and what it rests on is
// never guessed. The source is the description that OpenAI publishes (openai/openai-openapi, schemas CreateChatCompletion…);
// what other servers do beside it is said where it is read.
package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Role is who speaks in a Message.
type Role string

// The roles of a request.
const (
	System    Role = "system"
	User      Role = "user"
	Assistant Role = "assistant"
)

// The ways in which a reply ends. Servers have others, which mean no more than FinishStop.
const (
	FinishStop   = "stop"
	FinishLength = "length"         // the most tokens were used up before the end
	FinishTools  = "tool_calls"     // it wants a tool to be called
	FinishFilter = "content_filter" // the provider took it away, all of it or the rest
)

// Request is a chat completions request. Its JSON has the members that are set, then those of Parameters, sorted.
type Request struct {
	Model    string
	Messages []Message
	Tools    []Tool
	// Stream asks for an event stream, Usage for the count of tokens at its end.
	Stream, Usage bool
	// Parameters are all other members: temperature, max_tokens and the like.
	Parameters map[string]any
}

// Message is one message of a request.
type Message struct {
	Role    Role   `json:"role"`
	Content string `json:"content"`
}

// Tool is a function that the model may ask for. Parameters is a JSON schema.
type Tool struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
}

// own are the members of a request that Request has fields for, and n, because a Reply is the only one.
var own = []string{"model", "messages", "tools", "tool_choice", "stream", "stream_options", "n"}

// Reserved reports whether name is no parameter, because the rest of a request says it.
func Reserved(name string) bool { return slices.Contains(own, name) }

type wireTool struct {
	Type     string `json:"type"` // function
	Function Tool   `json:"function"`
}

type wireOptions struct {
	Usage bool `json:"include_usage"`
}

type wireRequest struct {
	Model    string       `json:"model"`
	Messages []Message    `json:"messages"`
	Tools    []wireTool   `json:"tools,omitempty"`
	Choice   string       `json:"tool_choice,omitempty"`
	Stream   bool         `json:"stream,omitempty"`
	Options  *wireOptions `json:"stream_options,omitempty"`
}

// Encode returns the request as JSON. An error names a parameter that has no form in JSON, or that is Reserved.
func (r *Request) Encode() ([]byte, error) {
	w := wireRequest{Model: r.Model, Messages: r.Messages, Stream: r.Stream}
	if w.Messages == nil {
		w.Messages = []Message{}
	}
	for _, t := range r.Tools {
		w.Tools, w.Choice = append(w.Tools, wireTool{Type: "function", Function: t}), "auto"
	}
	if r.Stream && r.Usage {
		w.Options = &wireOptions{Usage: true}
	}
	body, err := json.Marshal(w)
	if err != nil {
		return nil, errors.New("a tool's parameters are not JSON")
	}
	for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
		value, err := json.Marshal(r.Parameters[name])
		switch {
		case Reserved(name):
			return nil, fmt.Errorf("%s is no parameter", name)
		case err != nil:
			return nil, fmt.Errorf("%s has no form in JSON", name)
		}
		key, _ := json.Marshal(name) // a string: cannot fail
		body = append(body[:len(body)-1], ',')
		body = append(append(append(body, key...), ':'), value...)
		body = append(body, '}')
	}
	return body, nil
}

// DecodeRequest reads a request as a server gets it. Content in parts becomes their text. The error holds nothing of body.
func DecodeRequest(body []byte) (Request, error) {
	var w struct {
		Model    *string `json:"model"`
		Messages []struct {
			Role    Role `json:"role"`
			Content text `json:"content"`
		} `json:"messages"`
		Tools []struct {
			Function Tool `json:"function"`
		} `json:"tools"`
		Stream  bool `json:"stream"`
		Options *struct {
			Usage bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	var all map[string]any
	if json.Unmarshal(body, &w) != nil || json.Unmarshal(body, &all) != nil {
		return Request{}, fmt.Errorf("%w: the request is not one of chat completions", ErrMalformed)
	}
	if w.Model == nil || len(w.Messages) == 0 {
		return Request{}, fmt.Errorf("%w: the request has no model or no messages", ErrMalformed)
	}
	r := Request{Model: *w.Model, Stream: w.Stream, Usage: w.Stream && w.Options != nil && w.Options.Usage}
	for _, m := range w.Messages {
		r.Messages = append(r.Messages, Message{Role: m.Role, Content: string(m.Content)})
	}
	for _, t := range w.Tools {
		r.Tools = append(r.Tools, t.Function)
	}
	for name, value := range all {
		if !Reserved(name) {
			if r.Parameters == nil {
				r.Parameters = map[string]any{}
			}
			r.Parameters[name] = value
		}
	}
	return r, nil
}

// Reply is a whole completion: the first choice of it.
type Reply struct {
	ID    string
	Model string
	// Text is what the model says, Refusal what it says in its place because it will not answer.
	Text, Refusal string
	Finish        string // how it ended; empty when the server did not say
	Calls         []Call
	// Sources are what the text rests on, each once, in order.
	Sources []Source
	Usage   *Usage // nil when the server did not say
}

// Call is a tool that the model wants to have called. Arguments should be a JSON object; models write what they like.
type Call struct {
	ID        string
	Name      string
	Arguments string
}

// Source is a document that a text rests on. One of the two may be empty.
type Source struct {
	Title, URL string
}

// Usage is what a completion cost, in tokens.
type Usage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
}

// ErrMalformed says that bytes are not what the protocol says. Errors that wrap it hold nothing of the bytes.
var ErrMalformed = errors.New("malformed")

// Error is an error that the server answered with, in the place of a reply or in the middle of one. Its message is not kept:
// servers repeat in it what was asked.
type Error struct {
	// Status is the HTTP status that the error stands for: its own code where that is one, else by its type; 500 when
	// nothing is known.
	Status int
	// Type is a word for the kind of error where it is one that is known to the protocol; empty otherwise.
	Type string
}

func (e *Error) Error() string {
	if e.Type == "" {
		return fmt.Sprintf("the server answered with an error (%d)", e.Status)
	}
	return fmt.Sprintf("the server answered with an error (%d, %s)", e.Status, e.Type)
}
