package web_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
	"turnout/adapters/web"
)

const (
	key    = "acme.test"
	api    = "/v1/web/" + key
	origin = "https://www.acme.example"
	spec   = `
title: Acme
origins: ["https://www.acme.example", "http://localhost:3000"]
identity: {secret: "env:IDENTITY", audience: turnout}
attachments: {max_bytes: 1000}
wait: 50ms
limits: {text_bytes: 2000, burst: 200, visitor_streams: 2, channel_streams: 3}
`
)

func TestConformance(t *testing.T) {
	visitors := map[*adaptertest.Server][2]string{}
	tokens := func(t testing.TB, s *adaptertest.Server) [2]string {
		if _, ok := visitors[s]; !ok {
			visitors[s] = [2]string{newSession(t, s).Token, newSession(t, s).Token}
		}
		return visitors[s]
	}
	adaptertest.Channel(t, adaptertest.ChannelSuite{
		Build: web.New, Spec: spec,
		Message: func(t testing.TB, s *adaptertest.Server, who int, id, text string) *http.Request {
			return request(s, "POST", api+"/messages", tokens(t, s)[who], object{"id": id, "text": text})
		},
		Foreign: func(t testing.TB, s *adaptertest.Server) [][2]*http.Request {
			mine, theirs := tokens(t, s)[0], tokens(t, s)[1]
			var sess session
			call(t, s, request(s, "POST", api+"/session", "", object{"token": mine}), 200, &sess)
			var file message.Attachment
			call(t, s, upload(s, mine, "x.txt", "plain words"), 200, &file)
			get := func(path string) *http.Request { return request(s, "GET", api+path, theirs, nil) }
			return [][2]*http.Request{
				{get("/events?after=" + string(sess.Cursor)), get("/events?after=c_9999.1")},
				{get("/attachments/" + file.ID), get("/attachments/a_9999")},
				{
					request(s, "POST", api+"/messages", theirs, object{"id": "f1", "attachments": []string{file.ID}}),
					request(s, "POST", api+"/messages", theirs, object{"id": "f2", "attachments": []string{"a_9999"}}),
				},
			}
		},
	})
}

// The parts of the wire format that the tests look at, written down a second time on purpose.
type (
	object  = map[string]any
	session struct {
		Token, Visitor, Conversation string
		ExpiresAt                    time.Time `json:"expires_at"`
		Cursor                       adapters.Cursor
		Owner                        *message.Owner
	}
	answer struct {
		Conversation string
		Owner        message.Owner
		Position     int
		MergedInto   string `json:"merged_into"`
		Messages     []message.Visible
		Cursor       adapters.Cursor
	}
	problemBody struct {
		Type, Title, Code, Detail string
		Status                    int
	}
)

func start(t *testing.T, section adaptertest.YAML) (*adaptertest.Kit, *adaptertest.Server) {
	t.Helper()
	k := adaptertest.New(t, key)
	ch, err := web.New(section, k.Deps)
	if err != nil {
		t.Fatal(err)
	}
	return k, adaptertest.Serve(t, ch)
}

func request(s *adaptertest.Server, method, path, token string, body any) *http.Request {
	var r io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(body)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		r = strings.NewReader(string(b))
	}
	req, err := http.NewRequest(method, s.URL+path, r)
	if err != nil {
		panic(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req
}

// call sends a request, demands a status and decodes the body into out, if there is one.
func call(t testing.TB, s *adaptertest.Server, req *http.Request, status int, out any) *http.Response {
	t.Helper()
	resp, body := s.Do(t, req)
	if resp.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", req.Method, req.URL.Path, resp.StatusCode, status, body)
	}
	if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			t.Fatalf("%s %s: %v in %s", req.Method, req.URL.Path, err, body)
		}
	}
	return resp
}

func refused(t testing.TB, s *adaptertest.Server, req *http.Request, status int, code string) {
	t.Helper()
	var p problemBody
	resp := call(t, s, req, status, &p)
	if p.Code != code || p.Status != status || p.Detail == "" || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: %+v, want code %s", req.Method, req.URL.Path, p, code)
	}
}

func newSession(t testing.TB, s *adaptertest.Server) session {
	t.Helper()
	var out session
	call(t, s, request(s, "POST", api+"/session", "", nil), 200, &out)
	return out
}

func addressOf(sess session) message.Address {
	return message.Address{Channel: key, Address: sess.Visitor}
}

func post(t testing.TB, s *adaptertest.Server, token, id, text string) answer {
	t.Helper()
	var out answer
	call(t, s, request(s, "POST", api+"/messages", token, object{"id": id, "text": text}), 200, &out)
	return out
}

func upload(s *adaptertest.Server, token, name, content string) *http.Request {
	req := request(s, "POST", api+"/attachments", token, content)
	req.Header.Set("X-Filename", name)
	return req
}

func identity(t testing.TB, change func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{
		"sub": "cust-7", "aud": "turnout", "exp": adaptertest.Epoch.Add(time.Hour).Unix(), "name": "Ana",
		"email": "ana@example.org", "level": "2fa", "fields": object{"plan": "gold", "age": 41, "vip": true},
	}
	if change != nil {
		change(claims)
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(adaptertest.SecretOf("env:IDENTITY")))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestBadConfig(t *testing.T) {
	for section, want := range map[string]string{
		"origins: [\"*\"]":                             "origins[0]",
		"origins: [\"https://a.example/\"]":            "origins[0]",
		"origins: [\"https://*.example\"]":             "origins[0]",
		"identity: {}":                                 "identity.secret",
		"identity: {secret: \"env:MISSING\"}":          "identity.secret",
		"wait: 5m":                                     "wait",
		"session_ttl: 1s":                              "session_ttl",
		"attachments: {types: [image/svg+xml]}":        "attachments.types[0]",
		"attachments: {types: [image/png, text/html]}": "attachments.types[1]",
		"attachments: {max_bytes: -2}":                 "attachments.max_bytes",
		"limits: {text_bytes: 100000}":                 "limits.text_bytes",
		"limits: {rate: -1}":                           "limits.rate",
		"orgins: []":                                   "orgins",
	} {
		k := adaptertest.New(t, key)
		_, err := web.New(adaptertest.YAML(section), k.Deps)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error about %s", section, err, want)
			continue
		}
		k.AssertQuiet(t, err.Error())
	}
}

func TestOrigins(t *testing.T) {
	_, s := start(t, spec)
	ask := func(method, from string) *http.Response {
		req := request(s, method, api+"/session", "", nil)
		if from != "" {
			req.Header.Set("Origin", from)
		}
		resp, _ := s.Do(t, req)
		return resp
	}
	for from, status := range map[string]int{
		"": 200, origin: 200, "http://localhost:3000": 200, "http://localhost:3001": 403, "https://evil.example": 403,
		"http://www.acme.example": 403, "https://www.acme.example.evil.example": 403, "null": 403,
	} {
		resp := ask("POST", from)
		if resp.StatusCode != status {
			t.Errorf("origin %q: %d, want %d", from, resp.StatusCode, status)
		}
		want := ""
		if status == 200 {
			want = from
		}
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("origin %q: allowed %q", from, got)
		}
		if resp.Header.Get("Vary") != "Origin" {
			t.Errorf("origin %q: Vary %q", from, resp.Header.Get("Vary"))
		}
	}
	if resp := ask("OPTIONS", origin); resp.StatusCode != 204 || !strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	if resp := ask("OPTIONS", "https://evil.example"); resp.StatusCode != 403 {
		t.Errorf("preflight of another origin: %d", resp.StatusCode)
	}
}
