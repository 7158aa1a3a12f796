package webhook

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters"
	"turnout/adapters/message"
)

// The quick ways of this package are held here to the general ones, which define what bodies and answers mean.

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// nastyText is a text with what encoders get wrong.
func nastyText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(5) {
		b.WriteString(pick(r, "hello", " ", `"`, `\`, "<b>", "&", "\n", "\t", "\r", "\x00", "\x1f", "\x7f", "é", "转人工", "👋🏽",
			"\u2028", "\u2029", "\xff", "\xed\xa0\x80", "\u0085", "\ufffd"))
	}
	return b.String()
}

func someTurn(r *rand.Rand) adapters.Turn {
	t := adapters.Turn{
		ID: nastyText(r), Tenant: nastyText(r), Conversation: nastyText(r), Contact: nastyText(r), Lang: nastyText(r),
		From: message.Address{Channel: nastyText(r), Address: nastyText(r)}, Attempt: r.IntN(4),
	}
	for range r.IntN(4) {
		in := message.Inbound{ID: nastyText(r), Kind: pick(r, message.Text, message.Action), Text: nastyText(r), Quoted: nastyText(r)}
		if r.IntN(6) == 0 {
			in.Choice = &message.Choice{ID: nastyText(r)}
		}
		if r.IntN(6) == 0 {
			in.Attachments = []message.Attachment{{ID: nastyText(r), Size: 3}}
		}
		t.Messages = append(t.Messages, in)
	}
	if r.IntN(6) == 0 {
		t.Profile = &message.Profile{Subject: nastyText(r)}
	}
	return t
}

func requestMappings(t testing.TB) map[string]requestMapping {
	t.Helper()
	mappings := map[string]requestMapping{}
	for name, cfg := range map[string]Config{
		"own":    {},
		"names":  {Request: map[string]string{"user": "conversation", "z": "id", "a<": "text", "n": "attempt", "l": "lang", "c": "contact"}},
		"others": {Request: map[string]string{"t": "tenant", "c": "channel", "a": "address"}},
		"body": {RequestBody: `{"zeta": text, "alpha": {"user": address, "list": [id, attempt, "x & y", 7, true, []], "none": {}},` +
			` "é": "\u2028"}`},
		"text alone": {RequestBody: "text"},
		"a list":     {RequestBody: "[text, [lang]]"},
		// These have no quick form.
		"evaluated":  {Request: map[string]string{"t": "text + lang", "u": "address"}},
		"structured": {RequestBody: `{"messages": messages, "profile": profile}`},
		"repeated":   {RequestBody: `{"a": text, "a": lang}`},
	} {
		m, err := newRequestMapping(cfg)
		if err != nil {
			t.Fatal(err)
		}
		mappings[name] = m
	}
	return mappings
}

func TestQuickRequestsAreTheGeneralOnes(t *testing.T) {
	mappings := requestMappings(t)
	for _, name := range []string{"evaluated", "structured", "repeated", "own"} {
		if mappings[name].quick != nil {
			t.Errorf("%s has a template", name)
		}
	}
	for _, name := range []string{"names", "others", "body", "text alone", "a list"} {
		if mappings[name].quick == nil {
			t.Errorf("%s has no template", name)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	plain := 0
	for range 1500 {
		turn := someTurn(r)
		if plainTurn(&turn) {
			plain++
		}
		for name, m := range mappings {
			got, err := m.encode(turn)
			want, wantErr := m.evaluate(turn)
			if (err == nil) != (wantErr == nil) || string(got) != string(want) {
				t.Fatalf("%s: %q, %v\nnot %q, %v", name, got, err, want, wantErr)
			}
		}
	}
	if plain < 200 {
		t.Errorf("only %d of the turns were plain", plain)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("hi", "v_1", "c_1", "en")
	f.Add("\xff\u2028<&>\"", "\x00", "👋🏽", "\\")
	mappings := requestMappings(f)
	f.Fuzz(func(t *testing.T, text, address, conversation, lang string) {
		turn := adapters.Turn{
			ID: "t_1", Conversation: conversation, From: message.Address{Address: address}, Lang: lang,
			Messages: []message.Inbound{{ID: "1", Kind: message.Text, Text: text}, {ID: "2", Kind: message.Text, Text: lang}},
		}
		for name, m := range mappings {
			got, err := m.encode(turn)
			want, wantErr := m.evaluate(turn)
			if (err == nil) != (wantErr == nil) || string(got) != string(want) {
				t.Fatalf("%s: %q, %v\nnot %q, %v", name, got, err, want, wantErr)
			}
		}
	})
}

// responseMappings are the usual shapes and mappings that are read in places.
func responseMappings(t testing.TB) []*responseMapping {
	t.Helper()
	mappings := []*responseMapping{nil}
	for _, cfg := range []ResponseConfig{
		{Text: "body.reply"},
		{Parts: "body.messages", Confidence: "body.intent.confidence", Intent: "body.intent.name", Handoff: "body.handoff", Sources: "body.sources"},
		{Text: `body["text"]`, Fallback: "body.fallback", End: "body.end", Confidence: "body.confidence"},
		{Text: "body.a.b.c"},
	} {
		m, err := newResponseMapping(&cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !m.simple {
			t.Fatalf("%+v is not simple", cfg)
		}
		mappings = append(mappings, m)
	}
	return mappings
}

// compareAnswers reports whether a body was read in places, after holding the answer to the one of the whole.
func compareAnswers(t *testing.T, body []byte, m *responseMapping) bool {
	t.Helper()
	got, ok, err := decodePlaces(body, m)
	if !ok {
		return false
	}
	want, wantErr := decodeWhole(body, 200, m)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && !cmp.Equal(got, want) {
		t.Fatalf("%q: %v\nnot %v\n%s", body, err, wantErr, cmp.Diff(want, got))
	}
	return true
}

func someJSON(r *rand.Rand, depth int) string {
	space := pick(r, "", "", " ", "\n\t")
	switch n := r.IntN(9); {
	case depth > 0 && (n < 5 || depth == 3):
		var b strings.Builder
		b.WriteString("{" + space)
		for i := range r.IntN(5) {
			if i > 0 {
				b.WriteString(space + ",")
			}
			name := pick(r, "text", "reply", "messages", "intent", "name", "confidence", "handoff", "end", "fallback", "sources", "a", "b", "c", "other", "é", "")
			if r.IntN(20) == 0 {
				name = pick(r, `te\u0078t`, `\"`)
			}
			fmt.Fprintf(&b, `%s"%s"%s:%s%s`, space, name, space, space, someJSON(r, depth-1))
		}
		return b.String() + space + "}"
	case depth > 0 && n == 5:
		return "[" + space + someJSON(r, depth-1) + space + "," + someJSON(r, 0) + "]"
	}
	if r.IntN(40) == 0 {
		return pick(r, "01", "+1", "nan", `"\x"`, "\"\n\"", "{,}", "[1,]", "tru", "") // no JSON
	}
	if r.IntN(30) == 0 {
		return pick(r, "1e3", "1E999", strings.Repeat("9", 320), `"\ud800"`, "\"\xff\xfe\"")
	}
	return pick(r, `"hello"`, `"hel\"lo\\"`, `"\u00e9\ud83d\udc4b"`, `""`, "0.5", "1", "-0", "7", "-12.25", "true", "false", "null", `"}{"`,
		`"{\"text\":1}"`, "[]", "{}", `"a\r\nb"`, `["x",{"text":"y"}]`)
}

func TestAnswersInPlacesAreTheWholeOnes(t *testing.T) {
	mappings := responseMappings(t)
	r := rand.New(rand.NewPCG(2, 2))
	inPlaces := 0
	for range 20_000 {
		body := []byte(someJSON(r, 3) + pick(r, "", "", "", "\n", " x"))
		for _, m := range mappings {
			if compareAnswers(t, body, m) {
				inPlaces++
			}
		}
	}
	if inPlaces < 15_000 {
		t.Errorf("only %d answers were read in places", inPlaces)
	}
}

func FuzzPlaces(f *testing.F) {
	for _, s := range []string{
		`{"reply":"hi"}`, ` {"text" : "a" , "text":"b","other":[{"}":"]"},"\\\""]}`, `{"text":"x","n":1e999}`, `{"a":{"b":{"c":["x"]}}}`,
		`{"a":{"b":null}}`, `{"intent":{"name":"n","confidence":0.5},"messages":[{"text":"m"}]}`, `{"te\u0078t":"x"}`, `{"text":` + strings.Repeat("1", 400) + `}`,
		"{\"text\":\"\xff\"}", `[{"text":"x"}]`, `{`, `{"text":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	mappings := responseMappings(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, m := range mappings {
			compareAnswers(t, body, m)
		}
	})
}

func TestMemberPath(t *testing.T) {
	for source, want := range map[string][]string{
		"body.reply":           {"reply"},
		"body.result.speech":   {"result", "speech"},
		`body["my reply"].x`:   {"my reply", "x"},
		"body":                 nil,
		"status":               nil,
		"body?.reply":          nil,
		"body.reply?.x":        nil,
		"body[0].text":         nil,
		`body["é"]`:            nil,
		`body.reply ?? "none"`: nil,
		"lower(body.reply)":    nil,
	} {
		p, err := compile("response.text", source, responseShape())
		if err != nil {
			t.Fatal(err)
		}
		if got := memberPath(p.Tree()); !cmp.Equal(got, want) {
			t.Errorf("%s: %q, want %q", source, got, want)
		}
	}
}
