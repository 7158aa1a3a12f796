package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/bot/webhook"
	"turnout/adapters/message"
)

func TestConformance(t *testing.T) {
	adaptertest.Bot(t, adaptertest.BotSuite{
		Build:       webhook.New,
		MaxResponse: 4096,
		Spec: func(url string) adaptertest.YAML {
			return adaptertest.YAML("url: " + url + "\nmax_response: 4096\nheaders: {X-Api-Key: \"env:KEY\"}\nsign: env:SIGN\n")
		},
		Says: func(text string) string {
			b, _ := json.Marshal(map[string]string{"text": text})
			return string(b)
		},
	})
}

// recorder is a bot that keeps the last request and answers with a fixed body.
type recorder struct {
	answer string
	header http.Header
	body   string
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b, _ := io.ReadAll(req.Body)
	r.header, r.body = req.Header.Clone(), string(b)
	_, _ = io.WriteString(w, r.answer)
}

func reply(t *testing.T, spec, answer string, turn adapters.Turn) (*recorder, adapters.Answer, error) {
	t.Helper()
	rec := &recorder{answer: answer}
	server := httptest.NewServer(rec)
	t.Cleanup(server.Close)
	k := adaptertest.New(t, "bot")
	b, err := webhook.New(adaptertest.YAML("url: "+server.URL+"/turn?x=1\n"+spec), k.Deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	a, err := b.Reply(context.Background(), turn)
	return rec, a, err
}

func richTurn() adapters.Turn {
	turn := adaptertest.TurnOf("t_9", "first")
	turn.Attempt, turn.Contact = 2, "cust-7"
	turn.Profile = &message.Profile{Subject: "cust-7", Name: "Ana", Fields: map[string]any{"plan": "gold"}}
	turn.Messages = append(turn.Messages, message.Inbound{
		ID: "2", From: turn.From, Kind: message.Media, Text: "second",
		Attachments: []message.Attachment{{ID: "a_1", Name: "x.png", Type: "image/png", Size: 3}},
	})
	return turn
}

func TestOwnRequest(t *testing.T) {
	rec, _, err := reply(t, "", `{"text":"ok"}`, richTurn())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"v":1,"turn_id":"t_9","attempt":2,"tenant":"acme","conversation_id":"c_1","channel":"acme.test",
		"user":{"id":"v_1","contact":"cust-7","profile":{"subject":"cust-7","name":"Ana","fields":{"plan":"gold"}}},
		"message":{"id":"2","kind":"media","text":"first\nsecond","attachments":[{"id":"a_1","name":"x.png","type":"image/png","size":3}]},
		"messages":[{"id":"1","kind":"text","text":"first","attachments":[]},
			{"id":"2","kind":"media","text":"second","attachments":[{"id":"a_1","name":"x.png","type":"image/png","size":3}]}],
		"context":{"lang":"en"}}`
	if diff := cmp.Diff(decode(t, want), decode(t, rec.body)); diff != "" {
		t.Error(diff)
	}
	if rec.header.Get("Idempotency-Key") != "t_9" || rec.header.Get("X-Turnout-Attempt") != "2" {
		t.Errorf("headers %v", rec.header)
	}
	if rec.header.Get("X-Turnout-Signature") != "" {
		t.Error("signed without a secret")
	}
}

func TestSignatureAndHeaders(t *testing.T) {
	rec, _, err := reply(t, `
sign: env:SIGN
headers: {Authorization: "Bearer env:TOKEN", X-Team: blue}
`, `{"text":"ok"}`, adaptertest.TurnOf("t_1", "hi"))
	if err != nil {
		t.Fatal(err)
	}
	timestamp := rec.header.Get("X-Turnout-Timestamp")
	if timestamp != strconv.FormatInt(adaptertest.Epoch.Unix(), 10) {
		t.Errorf("timestamp %q", timestamp)
	}
	mac := hmac.New(sha256.New, []byte(adaptertest.SecretOf("env:SIGN")))
	fmt.Fprintf(mac, "%s.%s", timestamp, rec.body)
	if got, want := rec.header.Get("X-Turnout-Signature"), "v1="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("signature %q, want %q", got, want)
	}
	if got := rec.header.Get("Authorization"); got != "Bearer "+adaptertest.SecretOf("env:TOKEN") {
		t.Error("the header has no resolved secret")
	}
	if rec.header.Get("X-Team") != "blue" {
		t.Error("the literal header is missing")
	}
}

func TestRequestMapping(t *testing.T) {
	for name, c := range map[string]struct{ spec, want string }{
		"fields": {`
request:
  sender: conversation
  message: text
  metadata: '{"plan": profile?.fields?.plan, "n": len(messages), "try": attempt, "kind": messages[1].kind}'
`, `{"sender":"c_1","message":"first\nsecond","metadata":{"plan":"gold","n":2,"try":2,"kind":"media"}}`},
		"whole body": {`request_body: '{"turns": map(messages, #.text)}'`, `{"turns":["first","second"]}`},
	} {
		rec, _, err := reply(t, c.spec, `{"text":"ok"}`, richTurn())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(decode(t, c.want), decode(t, rec.body)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestUsualAnswers(t *testing.T) {
	half, yes, no := 0.5, true, false
	text := func(s ...string) (parts []message.Part) {
		for _, s := range s {
			parts = append(parts, message.Part{Text: s})
		}
		return parts
	}
	for body, want := range map[string]adapters.Answer{
		`{"text":"hi"}`:                        {Parts: text("hi")},
		`{"text":["a","b"]}`:                   {Parts: text("a", "b")},
		`{"reply":"hi","unknown":{"x":[1,2]}}`: {Parts: text("hi")},
		`{"messages":[{"text":"a"},{"type":"text","text":"b"},"c"]}`: {Parts: text("a", "b", "c")},
		`[{"recipient_id":"u","text":"a"},{"text":"b"}]`:             {Parts: text("a", "b")},
		`[]`:           {},
		`{"text":""}`:  {},
		`{"end":true}`: {End: true},
		`{"text":"hi","confidence":0.5,"intent":"greet","fallback":false}`:         {Parts: text("hi"), Confidence: &half, Intent: "greet", Fallback: &no},
		`{"text":"hi","intent":{"name":"greet","confidence":0.9},"fallback":true}`: {Parts: text("hi"), Intent: "greet", Fallback: &yes},
		`{"text":"hi","confidence":null,"handoff":null}`:                           {Parts: text("hi")},
		`{"text":"hi","handoff":false}`:                                            {Parts: text("hi")},
		`{"handoff":true}`:                                                         {Handoff: &adapters.HandoffRequest{}},
		`{"handoff":{"reason":"angry","queue":"vip"}}`:                             {Handoff: &adapters.HandoffRequest{Reason: "angry", Queue: "vip"}},
		`{"text":"a\u0000b\r\nc\ud800"}`:                                           {Parts: text("ab\nc\uFFFD")},
		`{"messages":[{"text":"pick","buttons":[{"title":"Yes","payload":"/y"},{"title":""},7]}]}`: {
			Parts: []message.Part{{Text: "pick", Choices: []message.Choice{{ID: "/y", Label: "Yes"}}}},
		},
		`[{"image":"https://x.example/i.png"},{"image":"javascript:alert(1)"}]`: {Parts: []message.Part{{Link: "https://x.example/i.png"}}},
		`{"text":"hi","sources":["https://x.example/","Manual",{"title":"T","url":"http://y.example/"}]}`: {
			Parts: text("hi"), Sources: []adapters.Source{{URL: "https://x.example/"}, {Title: "Manual"}, {Title: "T", URL: "http://y.example/"}},
		},
	} {
		_, got, err := reply(t, "", body, adaptertest.TurnOf("t_1", "hi"))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if string(got.Raw) != body {
			t.Errorf("%s: raw %q", body, got.Raw)
		}
		got.Raw = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
}

func TestUnusableAnswers(t *testing.T) {
	for _, body := range []string{
		`7`, `"x"`, `{}`, `{"txt":"hi"}`, `{"text":7}`, `{"text":[[]]}`, `{"messages":[7]}`, `{"messages":[{"text":7}]}`,
		`{"text":"hi","confidence":1.5}`, `{"text":"hi","confidence":"high"}`, `{"text":"hi","confidence":-0.1}`,
		`{"text":"hi","end":"yes"}`, `{"text":"hi","fallback":1}`, `{"text":"hi","handoff":7}`, `{"text":"hi","sources":{}}`,
	} {
		_, _, err := reply(t, "", body, adaptertest.TurnOf("t_1", "hi"))
		var failure *adapters.BotError
		if !errors.As(err, &failure) || failure.Kind != adapters.BotGarbage {
			t.Errorf("%s: %v, want garbage", body, err)
		}
	}
	for _, body := range []string{
		`{"text":"` + strings.Repeat("x", 70<<10) + `"}`,
		`{"text":[` + strings.Repeat(`"x",`, 40) + `"x"]}`,
	} {
		_, _, err := reply(t, "", body, adaptertest.TurnOf("t_1", "hi"))
		var failure *adapters.BotError
		if !errors.As(err, &failure) || failure.Kind != adapters.BotTooLarge {
			t.Errorf("%.20s…: %v, want too large", body, err)
		}
	}
}

func TestNoContentIsAnEmptyAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	defer server.Close()
	b, err := webhook.New(adaptertest.YAML("url: "+server.URL), adaptertest.New(t, "bot").Deps)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a, err := b.Reply(context.Background(), adaptertest.TurnOf("t_1", "hi"))
	if err != nil || len(a.Parts) != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestResponseMapping(t *testing.T) {
	const spec = `
response:
  text: 'map(body.out.lines, #.say)'
  confidence: body.nlu?.score
  intent: body.nlu?.intent ?? ""
  fallback: body.nlu?.intent == "none"
  handoff: 'body.action == "human" ? {"reason": body.why, "queue": "vip"} : nil'
  end: status == 200 && body.done == true
`
	_, a, err := reply(t, spec, `{"out":{"lines":[{"say":"a"},{"say":"b"}]},"nlu":{"score":0.25,"intent":"none"},"action":"human","why":"asked","done":true}`,
		adaptertest.TurnOf("t_1", "hi"))
	if err != nil {
		t.Fatal(err)
	}
	quarter, yes := 0.25, true
	a.Raw = nil
	want := adapters.Answer{
		Parts: []message.Part{{Text: "a"}, {Text: "b"}}, Confidence: &quarter, Intent: "none", Fallback: &yes,
		Handoff: &adapters.HandoffRequest{Reason: "asked", Queue: "vip"}, End: true,
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}

	_, _, err = reply(t, spec, `{"out":"`+adaptertest.CanaryText+`"}`, adaptertest.TurnOf("t_1", "hi"))
	var failure *adapters.BotError
	if !errors.As(err, &failure) || failure.Kind != adapters.BotGarbage || !strings.Contains(err.Error(), "response.text") {
		t.Errorf("a mapping that fails: %v, want garbage that names the field", err)
	}
	if strings.Contains(err.Error(), adaptertest.CanaryText) {
		t.Errorf("the error holds text of the bot: %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for spec, want := range map[string]string{
		"url: ''":                                                "url: is missing",
		"url: ftp://x/":                                          "url: must begin",
		"url: http://u:p@x/":                                     "url: must not hold credentials",
		"url: http://x/\nmethod: GET":                            "method:",
		"url: http://x/\ntimeout: 10m":                           "timeout:",
		"url: http://x/\nurll: x":                                "urll",
		"url: http://x/\nsign: env:MISSING":                      "sign:",
		"url: http://x/\nheaders: {Authorization: abc}":          "headers.Authorization: carries a secret",
		"url: http://x/\nheaders: {Host: abc}":                   "headers.Host: is set by turnout",
		"url: http://x/\nheaders: {X-A: \"a\\r\\nb\"}":           "headers.X-A: has a line end",
		"url: http://x/\nrequest: {a: 'text +'}":                 "request.a: 1:",
		"url: http://x/\nrequest: {a: 'nothing'}":                "request.a: 1:",
		"url: http://x/\nrequest: {a: text}\nrequest_body: text": "request_body:",
		"url: http://x/\nresponse: {text: 'body.['}":             "response.text: 1:",
		"url: http://x/\nresponse: {text: body.a, parts: body}":  "response.parts:",
		"url: http://x/\nresponse: {}":                           "response:",
	} {
		k := adaptertest.New(t, "bot")
		_, err := webhook.New(adaptertest.YAML(spec), k.Deps)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", spec, err, want)
			continue
		}
		k.AssertQuiet(t, err.Error())
	}
}

func TestUntrustedCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the bot was reached")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	b, err := webhook.New(adaptertest.YAML("url: "+server.URL), adaptertest.New(t, "bot").Deps)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, err = b.Reply(context.Background(), adaptertest.TurnOf("t_1", "hi"))
	var failure *adapters.BotError
	if !errors.As(err, &failure) || failure.Kind != adapters.BotUnreachable {
		t.Errorf("%v, want unreachable", err)
	}
}

// TestHungCallsAreBounded proves what a bot costs that never answers: at most max_conns connections, also when every
// caller has long given up.
func TestHungCallsAreBounded(t *testing.T) {
	release, called := make(chan struct{}), make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		called <- struct{}{}
		<-release
	}))
	defer server.Close()
	defer close(release)
	b, err := webhook.New(adaptertest.YAML("url: "+server.URL+"\nmax_conns: 2\n"), adaptertest.New(t, "bot").Deps)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, giveUp := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	for range 2 {
		callers.Go(func() { _, _ = b.Reply(ctx, adaptertest.TurnOf("t_1", "hi")) })
	}
	<-called
	<-called
	giveUp()
	callers.Wait()

	ended, end := context.WithCancel(context.Background())
	end()
	var failure *adapters.BotError
	if _, err := b.Reply(ended, adaptertest.TurnOf("t_2", "hi")); !errors.As(err, &failure) || failure.Kind != adapters.BotTimeout {
		t.Errorf("a call over the bound: %v", err)
	}
	if len(called) != 0 {
		t.Error("a third call reached the bot")
	}
}

func decode(t *testing.T, s string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return v
}

// The bot's spans stand in the trace of the message that was written last.
func TestTraceIsPassedOn(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	turn := richTurn()
	rec, _, err := reply(t, "", `{"text":"ok"}`, turn)
	if err != nil || rec.header.Get("Traceparent") != "" {
		t.Errorf("without a trace: %q, %v", rec.header.Get("Traceparent"), err)
	}
	turn.Messages[1].Trace = trace
	rec, _, err = reply(t, "", `{"text":"ok"}`, turn)
	got := rec.header.Get("Traceparent")
	if err != nil || !strings.HasPrefix(got, trace[:36]) || !strings.HasSuffix(got, "-01") || got == trace {
		t.Errorf("trace %q, %v", got, err)
	}
	if again, _, _ := reply(t, "", `{"text":"ok"}`, turn); again.header.Get("Traceparent") != got {
		t.Errorf("the turn again: %q, want %q", again.header.Get("Traceparent"), got)
	}
}
