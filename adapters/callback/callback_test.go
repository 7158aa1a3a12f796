package callback_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/callback"
	"turnout/adapters/hook"
	"turnout/adapters/message"
)

const section = "secret: env:IN\nsign: env:OUT\nheaders: {X-Api-Key: \"env:KEY\"}\n"

func spec(url string) adaptertest.YAML { return adaptertest.YAML("url: " + url + "\n" + section) }

// wire is the form of what the channel sends.
type wire struct {
	V       int
	ID, To  string
	Channel string
	By      string
	Message message.Part
	Attempt int
	Retry   bool
}

// read makes a message of a request, if it is signed as it should be.
func read(r *http.Request, body []byte) (adaptertest.Wire, bool) {
	var m wire
	key := []byte(adaptertest.SecretOf("env:OUT"))
	ok := r.Method == http.MethodPost && json.Unmarshal(body, &m) == nil && m.V == 1 &&
		r.Header.Get(hook.HeaderSignature) == hook.Sign(key, r.Header.Get(hook.HeaderTimestamp), body) &&
		r.Header.Get("X-Api-Key") == adaptertest.SecretOf("env:KEY")
	return adaptertest.Wire{
		ID: m.ID, To: m.To, Text: m.Message.Text, Key: r.Header.Get("Idempotency-Key"), Attempt: m.Attempt,
		Retry: m.Retry && r.Header.Get("X-Turnout-Retry") == "true", Part: body,
	}, ok
}

func take(w http.ResponseWriter, m adaptertest.Wire) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"id":"app-`+m.ID+`"}`)
}

// post returns a signed request of the app's server.
func post(t testing.TB, s *adaptertest.Server, path string, body any) *http.Request {
	t.Helper()
	b, ok := body.(string)
	if !ok {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		b = string(raw)
	}
	return signedWith(t, s.URL+"/v1/hooks/acme.test"+path, b, adaptertest.SecretOf("env:IN"), adaptertest.Epoch)
}

func signedWith(t testing.TB, url, body, secret string, at time.Time) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	ts := strconv.FormatInt(at.Unix(), 10)
	req.Header.Set(hook.HeaderTimestamp, ts)
	req.Header.Set(hook.HeaderSignature, hook.Sign([]byte(secret), ts, []byte(body)))
	return req
}

type object = map[string]any

func one(from, id, text string) object {
	return object{"messages": []object{{"id": id, "from": from, "text": text}}}
}

func TestChannelSuite(t *testing.T) {
	adaptertest.Channel(t, adaptertest.ChannelSuite{
		Build: callback.New, Spec: spec("http://127.0.0.1:1/"),
		Message: func(t testing.TB, s *adaptertest.Server, who int, id, text string) *http.Request {
			return post(t, s, "/messages", one(fmt.Sprint("customer-", who), id, text))
		},
		Foreign: func(t testing.TB, s *adaptertest.Server) [][2]*http.Request {
			report := func(to, id string) *http.Request {
				return post(t, s, "/receipts", object{"receipts": []object{{"to": to, "id": id, "status": "read"}}})
			}
			return [][2]*http.Request{{report("customer-1", "m_0001"), report("customer-1", "m_9999")}}
		},
	})
}

func TestPushSuite(t *testing.T) {
	adaptertest.Push(t, adaptertest.PushSuite{
		Build: callback.New, Spec: spec, Read: read, Take: take, ProviderID: true,
		Report: func(t testing.TB, s *adaptertest.Server, r message.Report) *http.Request {
			return post(t, s, "/receipts", object{"receipts": []object{{"to": r.To.Address, "id": r.ID, "status": r.Status, "code": r.Code}}})
		},
		Forge: func(r *http.Request) { r.Header.Set(hook.HeaderSignature, "v1="+strings.Repeat("0", 64)) },
	})
}

// start builds a channel from a section and serves it.
func start(t *testing.T, section string) (*adaptertest.Kit, *adaptertest.Server) {
	t.Helper()
	k := adaptertest.New(t, "acme.test")
	ch, err := callback.New(adaptertest.YAML("url: http://127.0.0.1:1/\nsecret: env:IN\n"+section), k.Deps)
	if err != nil {
		t.Fatal(err)
	}
	return k, adaptertest.Serve(t, ch)
}

func TestSignature(t *testing.T) {
	k, s := start(t, "previous_secret: env:OLD\ntolerance: 2m\n")
	url := s.URL + "/v1/hooks/acme.test/messages"
	n := 0
	body := func() string {
		n++
		return fmt.Sprintf(`{"messages":[{"id":"%d","from":"a","text":"%s"}]}`, n, adaptertest.CanaryText)
	}
	in := adaptertest.SecretOf("env:IN")
	at := func(d time.Duration) *http.Request { return signedWith(t, url, body(), in, adaptertest.Epoch.Add(d)) }
	header := func(name, value string) *http.Request {
		r := at(0)
		r.Header.Set(name, value)
		return r
	}
	good := at(0).Header.Get(hook.HeaderSignature)
	for name, c := range map[string]struct {
		req  *http.Request
		want int
	}{
		"as it should be":   {at(0), 200},
		"the one before":    {signedWith(t, url, body(), adaptertest.SecretOf("env:OLD"), adaptertest.Epoch), 200},
		"nearly too old":    {at(-2 * time.Minute), 200},
		"nearly too new":    {at(2 * time.Minute), 200},
		"too old":           {at(-2*time.Minute - time.Second), 401},
		"too new":           {at(2*time.Minute + time.Second), 401},
		"another secret":    {signedWith(t, url, body(), in+"x", adaptertest.Epoch), 401},
		"another body":      {header(hook.HeaderSignature, good), 401},
		"no signature":      {header(hook.HeaderSignature, ""), 401},
		"no version":        {header(hook.HeaderSignature, strings.TrimPrefix(good, "v1=")), 401},
		"cut":               {header(hook.HeaderSignature, good[:20]), 401},
		"very long":         {header(hook.HeaderSignature, strings.Repeat(good+",", 10)), 401},
		"no time":           {header(hook.HeaderTimestamp, ""), 401},
		"a time that is no": {header(hook.HeaderTimestamp, "soon"), 401},
		"a huge time":       {header(hook.HeaderTimestamp, "9223372036854775807"), 401},
		"a negative time":   {header(hook.HeaderTimestamp, "-1"), 401},
	} {
		resp, answer := s.Do(t, c.req)
		if resp.StatusCode != c.want {
			t.Errorf("%s: %d %s", name, resp.StatusCode, answer)
		}
		k.AssertQuiet(t, string(answer))
	}
	two := at(0)
	two.Header.Set(hook.HeaderSignature, "v1="+strings.Repeat("0", 64)+", "+two.Header.Get(hook.HeaderSignature))
	if resp, answer := s.Do(t, two); resp.StatusCode != 200 {
		t.Errorf("one of two signatures: %d %s", resp.StatusCode, answer)
	}
	if n := len(k.World.Inbounds()); n != 5 {
		t.Errorf("%d messages took effect, want 5", n)
	}
	// Who listened and sends a request again, in time, changes nothing.
	again := at(0)
	raw, _ := io.ReadAll(again.Body)
	for range 2 {
		again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
		s.Do(t, again)
	}
	if n := len(k.World.Inbounds()); n != 6 {
		t.Errorf("%d messages after a replay, want 6", n)
	}
}

func TestOwnForm(t *testing.T) {
	k, s := start(t, "limits: {text_bytes: 100, batch: 3}\n")
	do := func(body string) (*http.Response, string) {
		resp, answer := s.Do(t, post(t, s, "/messages", body))
		k.AssertQuiet(t, string(answer))
		return resp, string(answer)
	}
	resp, answer := do(`{"messages":[
		{"id":"1","from":"+491","text":"Hi\r\nthere\u0000\u0007!","lang":"en-GB","sent_at":"2026-03-14T09:00:00Z"},
		{"id":"2","from":"+491","choice":{"id":"yes","label":"Yes"}},
		{"id":"3","from":"+492","kind":"human","profile":{"subject":"u-7","name":"Ada","fields":{"plan":"gold","age":40,"vip":true}}}]}`)
	if resp.StatusCode != 200 || strings.Count(answer, `"message":"m_`) != 3 {
		t.Fatalf("%d %s", resp.StatusCode, answer)
	}
	in := k.World.Inbounds()
	if len(in) != 3 || in[0].Text != "Hi\nthere!" || in[0].Kind != message.Text || in[0].Lang != "en-GB" || in[0].SentAt.Year() != 2026 {
		t.Errorf("the first: %+v", in[0])
	}
	if in[1].Kind != message.Action || in[1].Text != "Yes" || in[1].Choice.ID != "yes" {
		t.Errorf("the second: %+v", in[1])
	}
	if in[2].Kind != message.Human || in[2].Profile == nil || in[2].Profile.Fields["age"] != 40.0 {
		t.Errorf("the third: %+v", in[2])
	}
	long := strings.Repeat("x", 101)
	msg := func(fields string) string { return `{"messages":[{` + fields + `}]}` }
	for _, bad := range []string{
		`{}`, `{"messages":[]}`, `[]`, `null`, `{"messages":{}}`, `{"messages":[1]}`, `{"messages":[{}]}`, "", "\xff",
		`{"messages":[{"id":"a","from":"f","text":"x"}]} more`, `{"messages":[{"id":"a","from":"f","text":"x"}],"x":1}`,
		msg(`"id":"a","from":"f"`), msg(`"id":"a","from":"f","text":" \n"`), msg(`"id":"a","text":"x"`), msg(`"from":"f","text":"x"`),
		msg(`"id":"a b","from":"f","text":"x"`), msg(`"id":"` + long + long + `","from":"f","text":"x"`), msg(`"id":"é","from":"f","text":"x"`),
		msg(`"id":"a","from":" f","text":"x"`), msg(`"id":"a","from":"f\u0000","text":"x"`), msg(`"id":"a","from":"f","text":1`),
		msg(`"id":"a","from":"f","text":"x","kind":"join"`), msg(`"id":"a","from":"f","kind":"action"`),
		msg(`"id":"a","from":"f","text":"x","lang":"e n"`), msg(`"id":"a","from":"f","text":"x","attachments":[]`),
		msg(`"id":"a","from":"f","text":"x","profile":{}`), msg(`"id":"a","from":"f","text":"x","profile":{"subject":"s","fields":{"a":[]}}`),
		msg(`"id":"a","from":"f","text":"x","sent_at":"today"`), strings.Repeat("[", 20_000),
		`{"messages":[` + strings.Repeat(`{"id":"a","from":"f","text":"x"},`, 3) + `{"id":"a","from":"f","text":"x"}]}`,
	} {
		if resp, answer := do(bad); resp.StatusCode != 400 {
			t.Errorf("%.60q: %d %s", bad, resp.StatusCode, answer)
		}
	}
	if resp, answer := do(msg(`"id":"a","from":"f","text":"` + long + `"`)); resp.StatusCode != 413 {
		t.Errorf("too long: %d %s", resp.StatusCode, answer)
	}
	if n := len(k.World.Inbounds()); n != 3 {
		t.Errorf("%d messages came out of junk", n-3)
	}
}

// Of several messages one that can never be taken holds up no other; one that may be taken later holds up the answer.
func TestBatch(t *testing.T) {
	k, s := start(t, "")
	body := object{"receipts": []object{
		{"to": "a", "id": "m_1", "status": "read"}, {"to": "a", "id": "m_2", "status": "read"}, {"to": "a", "id": "m_1", "status": "queued"},
	}}
	k.World.Sent(adaptertest.OutboundOf(0, "x", ""), message.Receipt{})
	out := adaptertest.OutboundOf(0, "m_1", "")
	out.To = message.Address{Channel: "acme.test", Address: "a"}
	k.World.Sent(out, message.Receipt{})
	resp, answer := s.Do(t, post(t, s, "/receipts", body))
	var got struct {
		Receipts []struct {
			ID    string
			Error *struct{ Code string }
		}
	}
	if err := json.Unmarshal(answer, &got); err != nil || resp.StatusCode != 200 || len(got.Receipts) != 3 {
		t.Fatalf("%d %s", resp.StatusCode, answer)
	}
	if got.Receipts[0].Error != nil || got.Receipts[1].Error.Code != "not_found" || got.Receipts[2].Error.Code != "bad_request" {
		t.Errorf("%s", answer)
	}
	k.World.Fail(&adapters.RefusedError{Code: "rate_limited", Detail: "Slow down.", RetryAfter: 3 * time.Second})
	two := object{"messages": []object{{"id": "1", "from": "a", "text": "x"}, {"id": "2", "from": "a", "text": "x"}}}
	resp, answer = s.Do(t, post(t, s, "/messages", two))
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "3" {
		t.Errorf("over the rate: %d %s", resp.StatusCode, answer)
	}
	k.World.Fail(nil)
	if resp, _ := s.Do(t, post(t, s, "/messages", two)); resp.StatusCode != 200 || len(k.World.Inbounds()) != 2 {
		t.Errorf("afterwards: %d, %d messages", resp.StatusCode, len(k.World.Inbounds()))
	}
}

func TestMapping(t *testing.T) {
	k, s := start(t, `
inbound:
  each: "body.entry"
  id: "item.mid"
  from: "item.sender.id"
  text: 'item.body ?? ""'
  kind: 'item.wants == "person" ? "human" : nil'
  choice: 'item.button != nil ? {"id": item.button.value, "label": item.button.title} : nil'
  lang: "item.locale"
  profile: '{"subject": item.sender.id, "fields": {"app": body.app}}'
`)
	resp, answer := s.Do(t, post(t, s, "/messages", `{"app":"kiosk","entry":[
		{"mid":1234567890123,"sender":{"id":"u-1"},"body":"Hello","locale":"de"},
		{"typing":true,"sender":{"id":"u-1"}},
		{"mid":"b","sender":{"id":"u-2"},"button":{"value":7,"title":"Seven"}},
		{"mid":"c","sender":{"id":"u-2"},"wants":"person"}]}`))
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, answer)
	}
	in := k.World.Inbounds()
	if len(in) != 3 || in[0].ID != "1234567890123" || in[0].From.Address != "u-1" || in[0].Text != "Hello" || in[0].Lang != "de" ||
		in[0].Profile.Fields["app"] != "kiosk" {
		t.Errorf("the first: %+v", in)
	}
	if in[1].Choice == nil || in[1].Choice.ID != "7" || in[1].Text != "Seven" || in[2].Kind != message.Human {
		t.Errorf("the rest: %+v", in[1:])
	}
	for _, bad := range []string{
		`{}`, `[]`, `null`, `{"entry":{}}`, `{"entry":[]}`, `{"entry":[{"mid":"x"}]}`, `{"entry":[{"mid":1.5,"sender":{"id":"u"},"body":"x"}]}`,
		`{"entry":[{"mid":1e300,"sender":{"id":"u"},"body":"x"}]}`, `{"entry":[{"mid":"x","sender":{"id":true},"body":"` + adaptertest.CanaryText + `"}]}`,
		`{"entry":[{"mid":"x","sender":{"id":"u"},"body":{}}]}`, `{"entry":["` + adaptertest.CanaryText + `"]}`, "{", "\xff",
	} {
		resp, answer := s.Do(t, post(t, s, "/messages", bad))
		if resp.StatusCode != 400 {
			t.Errorf("%s: %d %s", bad, resp.StatusCode, answer)
		}
		k.AssertQuiet(t, string(answer))
	}
}

func TestConfig(t *testing.T) {
	const url = "url: http://x/\n"
	for section, want := range map[string]string{
		"":                                  "url: is missing",
		url:                                 "secret: is missing",
		"secret: env:A\nurl: ftp://x/":      "url: must begin",
		"secret: env:A\nurl: http://u:p@x/": "url: must not hold credentials",
		url + "secret: env:MISSING":         "secret: ",
		url + "secret: env:A\nsign: env:A":  "sign: must be another",
		url + "secret: env:A\nprevious_secret: env:A":                                   "previous_secret: ",
		url + "secret: env:A\ntolerance: 2h":                                            "tolerance: ",
		url + "secret: env:A\nheaders: {Authorization: abc}":                            "headers.Authorization: carries a secret",
		url + "secret: env:A\nheaders: {X-Turnout-Retry: \"1\"}":                        "headers.X-Turnout-Retry: is set",
		url + "secret: env:A\npace: {burst: 3}":                                         "pace.burst: ",
		url + "secret: env:A\nmax_age: 1s":                                              "max_age: ",
		url + "secret: env:A\nattempts: 101":                                            "attempts: ",
		url + "secret: env:A\ninbound: {id: body.id}":                                   "inbound.from: is missing",
		url + "secret: env:A\ninbound: {id: body.(, from: a, text: b}":                  "inbound.id: 1:6",
		url + "secret: env:A\ninbound: {id: body.id, from: b0dy.from, text: body.text}": "inbound.from: 1:1",
		url + "secret: env:A\nunknown: 1":                                               "unknown",
	} {
		_, err := callback.New(adaptertest.YAML(section), adaptertest.New(t, "acme.test").Deps)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", section, err, want)
		}
	}
	ch, err := callback.New(adaptertest.YAML(url+"secret: env:A\nidempotent: true\npace: {per_second: 5, recipient_per_second: 0.2}\n"), adaptertest.New(t, "acme.test").Deps)
	if err != nil {
		t.Fatal(err)
	}
	p := ch.(adapters.Sender).Policy()
	if !p.Idempotent || p.PerSecond != 5 || p.RecipientPerSecond != 0.2 || p.Attempts != 10 || p.MaxAge != 24*time.Hour || p.Timeout != 10*time.Second {
		t.Errorf("policy: %+v", p)
	}
}

// What a status means beside those that the suite tries, and the two forms of Retry-After.
func TestStatuses(t *testing.T) {
	for status, want := range map[int]adapters.SendError{
		400: {Class: adapters.SendPermanent}, 410: {Class: adapters.SendPermanent}, 409: {Class: adapters.SendWindow},
		403: {Class: adapters.SendOperator}, 404: {Class: adapters.SendOperator}, 408: {Class: adapters.SendRetry}, 504: {Uncertain: true, Class: adapters.SendRetry},
	} {
		var retry string
		p := adaptertest.NewProvider(t, func(r *http.Request, _ []byte) (adaptertest.Wire, bool) { return adaptertest.Wire{}, true }, func(w http.ResponseWriter, _ adaptertest.Wire) {
			w.Header().Set("Retry-After", retry)
			w.WriteHeader(status)
		})
		k := adaptertest.New(t, "acme.test")
		ch, err := callback.New(spec(p.URL), k.Deps)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []struct {
			header string
			want   time.Duration
		}{{"", 0}, {"90", 90 * time.Second}, {adaptertest.Epoch.Add(time.Minute).Format(http.TimeFormat), time.Minute}, {"-5", 0}, {"soon", 0}, {"4000000000", 24 * time.Hour}} {
			retry = form.header
			_, err := ch.(adapters.Sender).Send(t.Context(), adaptertest.OutboundOf(0, "m_1", "x"))
			got, ok := err.(*adapters.SendError)
			if !ok || got.Class != want.Class || got.Uncertain != want.Uncertain {
				t.Errorf("%d: %+v", status, err)
			}
			if status == 408 && got.RetryAfter != form.want {
				t.Errorf("Retry-After %q: %v, want %v", form.header, got.RetryAfter, form.want)
			}
		}
		ch.Close()
	}
}
