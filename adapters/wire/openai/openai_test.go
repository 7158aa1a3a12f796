package openai_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters/wire/openai"
)

var at = time.Unix(1_770_000_000, 0)

func TestRequest(t *testing.T) {
	r := openai.Request{
		Model:    "m-1",
		Messages: []openai.Message{{Role: openai.System, Content: "Be <brief>."}, {Role: openai.User, Content: "hi"}},
		Tools:    []openai.Tool{{Name: "talk_to_human", Description: "d", Parameters: json.RawMessage(`{"type":"object"}`)}},
		Stream:   true, Usage: true,
		Parameters: map[string]any{"temperature": 0.5, "max_tokens": 100.0},
	}
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	_ = json.Unmarshal([]byte(`{"model":"m-1","messages":[{"role":"system","content":"Be <brief>."},{"role":"user","content":"hi"}],
		"tools":[{"type":"function","function":{"name":"talk_to_human","description":"d","parameters":{"type":"object"}}}],
		"tool_choice":"auto","stream":true,"stream_options":{"include_usage":true},"max_tokens":100,"temperature":0.5}`), &want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	back, err := openai.DecodeRequest(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"model", "stream", "n"} {
		r.Parameters = map[string]any{name: 1}
		if _, err := r.Encode(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("parameter %s: %v", name, err)
		}
	}
	r.Parameters = map[string]any{"x": func() {}}
	if _, err := r.Encode(); err == nil {
		t.Error("a parameter without a form in JSON was written")
	}
	for _, body := range []string{"", "[]", "{}", `{"model":"m"}`, `{"model":"m","messages":[{"content":7}]}`} {
		if _, err := openai.DecodeRequest([]byte(body)); !errors.Is(err, openai.ErrMalformed) {
			t.Errorf("%s: %v", body, err)
		}
	}
	parts, err := openai.DecodeRequest([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url"},{"type":"text","text":"b"}]}]}`))
	if err != nil || parts.Messages[0].Content != "ab" {
		t.Errorf("content in parts: %+v, %v", parts, err)
	}
}

// Replies as servers write them.
func TestReply(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want openai.Reply
	}{
		"plain": {
			`{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{}},"service_tier":"default"}`,
			openai.Reply{ID: "c1", Model: "m", Text: "Hello", Finish: "stop", Usage: &openai.Usage{Prompt: 9, Completion: 2}},
		},
		"refusal": {
			`{"choices":[{"message":{"content":null,"refusal":"I cannot."},"finish_reason":"stop"}]}`,
			openai.Reply{Refusal: "I cannot.", Finish: "stop"},
		},
		"filtered, as Azure does": {
			`{"choices":[{"finish_reason":"content_filter","index":0,"message":{"role":"assistant"},"content_filter_results":{"hate":{"filtered":true}}}],"prompt_filter_results":[{"prompt_index":0}]}`,
			openai.Reply{Finish: "content_filter"},
		},
		"a tool": {
			`{"choices":[{"message":{"content":"One moment.","tool_calls":[{"id":"call_1","type":"function","function":{"name":"talk_to_human","arguments":"{\"reason\":\"asked\"}"}}]},"finish_reason":"tool_calls"}]}`,
			openai.Reply{Text: "One moment.", Finish: "tool_calls", Calls: []openai.Call{{ID: "call_1", Name: "talk_to_human", Arguments: `{"reason":"asked"}`}}},
		},
		"a function, the old way": {
			`{"choices":[{"message":{"content":null,"function_call":{"name":"talk_to_human","arguments":"{}"}},"finish_reason":"function_call"}]}`,
			openai.Reply{Finish: "function_call", Calls: []openai.Call{{Name: "talk_to_human", Arguments: "{}"}}},
		},
		"content in parts": {
			`{"choices":[{"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"},{"type":"reference","reference_ids":[1]},"b"]},"finish_reason":"stop"}]}`,
			openai.Reply{Text: "ab", Finish: "stop"},
		},
		"citations in annotations, each once": {
			`{"choices":[{"message":{"content":"x","annotations":[{"type":"url_citation","url_citation":{"start_index":0,"end_index":1,"url":"https://a.example/","title":"A"}},{"type":"url_citation","url":"https://b.example/","title":"B"},{"type":"file_citation","file_citation":{"file_id":"f","filename":"faq.pdf"}},{"type":"url_citation","url_citation":{"url":"https://a.example/","title":"A"}},7,{"type":"else"}]},"finish_reason":"stop"}]}`,
			openai.Reply{Text: "x", Finish: "stop", Sources: []openai.Source{{Title: "A", URL: "https://a.example/"}, {Title: "B", URL: "https://b.example/"}, {Title: "faq.pdf"}}},
		},
		"citations beside the choices": {
			`{"citations":["https://a.example/","https://b.example/"],"search_results":[{"title":"A","url":"https://a.example/","date":"2026-01-01"}],"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}`,
			openai.Reply{Text: "x", Finish: "stop", Sources: []openai.Source{{Title: "A", URL: "https://a.example/"}, {URL: "https://b.example/"}}},
		},
		"citations in a context": {
			`{"choices":[{"message":{"content":"x","context":{"citations":[{"content":"…","title":null,"filepath":"faq.md","url":null}],"intent":"[]"}},"finish_reason":"stop"}]}`,
			openai.Reply{Text: "x", Finish: "stop", Sources: []openai.Source{{Title: "faq.md"}}},
		},
		"members of the wrong form that nobody needs": {
			`{"id":"c","citations":"none","search_results":{},"error":null,"choices":[{"message":{"content":"x","annotations":{},"context":[]},"finish_reason":null}]}`,
			openai.Reply{ID: "c", Text: "x"},
		},
		"numbers for strings, and the reverse, where nobody needs either": {
			`{"id":7,"model":{},"choices":[{"index":"0","message":{"content":"x","tool_calls":[{"index":"0","id":1,"type":2,"function":{"name":"n","arguments":"{}"}}]},"finish_reason":1}],"usage":""}`,
			openai.Reply{Text: "x", Calls: []openai.Call{{Name: "n", Arguments: "{}"}}},
		},
		"arguments that are no string": {
			`{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a","function":{"name":"n","arguments":{"reason":"asked"}}}]},"finish_reason":"tool_calls"}]}`,
			openai.Reply{Finish: "tool_calls", Calls: []openai.Call{{ID: "a", Name: "n", Arguments: `{"reason":"asked"}`}}},
		},
		"tokens with a point": {
			`{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12.0,"completion_tokens":3}}`,
			openai.Reply{Text: "x", Finish: "stop", Usage: &openai.Usage{Prompt: 12, Completion: 3}},
		},
		"tokens that no model takes": {
			`{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9223372036854775807,"completion_tokens":-1}}`,
			openai.Reply{Text: "x", Finish: "stop", Usage: &openai.Usage{Prompt: 1 << 40}},
		},
	} {
		got, err := openai.DecodeReply([]byte(tt.body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, body := range []string{"", "null", "[]", "<html>", "{}", `{"choices":[]}`, `{"choices":[{}]}`, `{"choices":[{"message":{"content":7}}]}`, `{"choices":[{"message":{"content":"cut`} {
		if _, err := openai.DecodeReply([]byte(body)); !errors.Is(err, openai.ErrMalformed) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestErrors(t *testing.T) {
	const canary = "what the customer wrote"
	for body, want := range map[string]openai.Error{
		`{"error":{"message":"` + canary + `","type":"requests","param":null,"code":"rate_limit_exceeded"}}`: {Status: 429, Type: "rate_limit_exceeded"},
		`{"error":{"message":"` + canary + `","type":"` + canary + `","code":502}}`:                          {Status: 502},
		`{"error":{"message":"` + canary + `","code":"503"}}`:                                                {Status: 503},
		`{"error":{"type":"overloaded_error"}}`:                                                              {Status: 503, Type: "overloaded_error"},
		`{"error":"` + canary + `"}`:                                                                         {Status: 500},
		`{"error":{"code":200}}`:                                                                             {Status: 500},
	} {
		var stream openai.Stream
		_, whole := openai.DecodeReply([]byte(body))
		for _, err := range []error{whole, stream.Feed([]byte("data: " + body + "\n\n"))} {
			var e *openai.Error
			if !errors.As(err, &e) || *e != want || strings.Contains(err.Error(), canary) {
				t.Errorf("%s: %v, want %+v", body, err, want)
			}
		}
	}
}

func feed(t *testing.T, s string, size int) (openai.Reply, error) {
	t.Helper()
	var stream openai.Stream
	for len(s) > 0 {
		n := min(size, len(s))
		if err := stream.Feed([]byte(s[:n])); err != nil {
			return openai.Reply{}, err
		}
		s = s[n:]
	}
	return stream.Reply()
}

// Streams as servers write them, cut in every way by the network.
func TestStream(t *testing.T) {
	const hello = `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}],"obfuscation":"x"}

data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}

`
	const stop = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

`
	said := openai.Reply{ID: "c", Model: "m", Text: "Hello", Finish: "stop"}
	with := func(r openai.Reply, change func(*openai.Reply)) openai.Reply { change(&r); return r }
	for name, tt := range map[string]struct {
		stream string
		want   openai.Reply
	}{
		"plain":                       {hello + stop + "data: [DONE]\n\n", said},
		"CRLF":                        {strings.ReplaceAll(hello+stop+"data: [DONE]\n\n", "\n", "\r\n"), said},
		"CR":                          {strings.ReplaceAll(hello+stop+"data: [DONE]\n\n", "\n", "\r"), said},
		"without [DONE]":              {hello + stop, said},
		"without a last line end":     {hello + strings.TrimRight(stop, "\n"), said},
		"[DONE] and no finish reason": {hello + "data: [DONE]\n\n", with(said, func(r *openai.Reply) { r.Finish = "" })},
		"nothing counts after [DONE]": {hello + stop + "data: [DONE]\n\ndata: {\"error\":{}}\n\nnonsense", said},
		"comments, names, a byte order mark, no spaces": {"\ufeff: OPENROUTER PROCESSING\n\nevent: x\nid: 7\nretry: 10\n" + strings.ReplaceAll(hello+stop, "data: ", "data:") + "data:[DONE]\n\n", said},
		"data over several lines":                       {strings.ReplaceAll(hello, `,"choices"`, ",\ndata: \"choices\"") + stop, said},
		"filter results first, usage last": {
			`data: {"choices":[],"prompt_filter_results":[{}]}` + "\n\n" + hello + stop + `data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}` + "\n\ndata: [DONE]\n\n",
			with(said, func(r *openai.Reply) { r.Usage = &openai.Usage{Prompt: 3, Completion: 1} }),
		},
		"usage in every chunk": {
			strings.ReplaceAll(hello, `"choices"`, `"usage":{"prompt_tokens":3,"completion_tokens":1},"choices"`) + strings.ReplaceAll(stop, `"choices"`, `"usage":{"prompt_tokens":3,"completion_tokens":2},"choices"`),
			with(said, func(r *openai.Reply) { r.Usage = &openai.Usage{Prompt: 3, Completion: 2} }),
		},
		"the whole message beside the piece, and citations": {
			strings.ReplaceAll(hello, `"delta"`, `"message":{"content":"Hello"},"delta"`) + strings.Replace(stop, `"choices"`, `"citations":["https://a.example/"],"choices"`, 1),
			with(said, func(r *openai.Reply) { r.Sources = []openai.Source{{URL: "https://a.example/"}} }),
		},
		"another choice": {hello + `data: {"choices":[{"index":1,"delta":{"content":"other"}}]}` + "\n\n" + stop, said},
		"a tool in fragments": {
			`data: {"choices":[{"index":0,"delta":{"content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"talk_to_human","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"reason\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"asked\"}"}},{"index":1,"id":"call_2","function":{"name":"other","arguments":"{}"}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

`,
			openai.Reply{Finish: "tool_calls", Calls: []openai.Call{{ID: "call_1", Name: "talk_to_human", Arguments: `{"reason":"asked"}`}, {ID: "call_2", Name: "other", Arguments: "{}"}}},
		},
		"tools whole, without an index": {
			`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"a","function":{"name":"one","arguments":"{}"}},{"id":"b","function":{"name":"two","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}` + "\n\n",
			openai.Reply{Finish: "tool_calls", Calls: []openai.Call{{ID: "a", Name: "one", Arguments: "{}"}, {ID: "b", Name: "two", Arguments: "{}"}}},
		},
	} {
		for _, size := range []int{1, 3, 7, 1 << 20} {
			got, err := feed(t, tt.stream, size)
			if err != nil {
				t.Errorf("%s, in pieces of %d: %v", name, size, err)
			} else if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s, in pieces of %d: %s", name, size, diff)
			}
		}
	}
	whole := hello + stop + "data: [DONE]\n\n"
	cutBefore := len(hello) + strings.Index(stop, "}]}") // up to there the end is not said
	first := strings.Index(whole, "\n")
	for n := range cutBefore {
		want := openai.ErrCut
		if n < first {
			want = openai.ErrMalformed
		}
		if got, err := feed(t, whole[:n], 1<<20); !errors.Is(err, want) {
			t.Fatalf("cut after %d bytes: %+v, %v", n, got, err)
		}
	}
	for _, bad := range []string{"data: nonsense\n\n", "data: {\"choices\":7}\n\n", "data: [DONE]\n\n"} {
		if _, err := feed(t, bad, 1<<20); !errors.Is(err, openai.ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What is written is read again as it was: whole and as a stream in pieces of any size.
func TestRoundTrip(t *testing.T) {
	r := openai.Reply{
		ID: "c1", Model: "m", Text: "Grüße 👋🏽, \"quoted\"\nand so on", Refusal: "no", Finish: openai.FinishTools,
		Calls:   []openai.Call{{ID: "1", Name: "talk_to_human", Arguments: `{"reason":"x"}`}, {ID: "2", Name: "b"}},
		Sources: []openai.Source{{Title: "A", URL: "https://a.example/"}},
		Usage:   &openai.Usage{Prompt: 7, Completion: 5},
	}
	got, err := openai.DecodeReply(r.Encode(at))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}
	for size := range 12 {
		got, err := feed(t, string(r.AppendStream(nil, at, size)), 5)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("in pieces of %d: %s", size, diff)
		}
	}
}
