package adaptertest

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"turnout/adapters"
)

// ChannelSuite describes a channel to the suite.
type ChannelSuite struct {
	Build adapters.NewChannel
	Spec  YAML
	// Message returns a request that hands in text as a message of customer who, 0 or 1, under the customer's id. The
	// same who must be the same customer as long as the server is the same.
	Message func(t testing.TB, s *Server, who int, id, text string) *http.Request
	// Foreign returns pairs of requests by customer 1: one for something of customer 0, who has sent a message, and
	// the same for something that nobody has. The two of a pair must be answered alike.
	Foreign func(t testing.TB, s *Server) [][2]*http.Request
	// Acknowledges says that whoever posts is told of nothing that cannot be mended by posting it again: what is refused for
	// good, and what is nobody's, is answered as if it had been taken.
	Acknowledges bool
}

// Channel checks what every channel has to do.
func Channel(t *testing.T, suite ChannelSuite) {
	start := func(t *testing.T) (*Kit, *Server) {
		k := New(t, "acme.test")
		ch, err := suite.Build(suite.Spec, k.Deps)
		if err != nil {
			t.Fatalf("building the channel: %v", err)
		}
		return k, Serve(t, ch)
	}
	send := func(t *testing.T, s *Server, who int, id, text string) (*http.Response, []byte) {
		return s.Do(t, suite.Message(t, s, who, id, text))
	}

	t.Run("routes are well formed", func(t *testing.T) {
		_, s := start(t)
		seen := map[string]bool{}
		for _, r := range s.Channel.Routes() {
			at := r.Method + " " + r.Path
			if seen[at] || !strings.HasPrefix(r.Path, "/") || r.Handler == nil || r.Method != strings.ToUpper(r.Method) {
				t.Errorf("%s is doubled or not complete", at)
			}
			seen[at] = true
		}
	})

	t.Run("a message takes effect before it is acknowledged", func(t *testing.T) {
		k, s := start(t)
		resp, body := send(t, s, 0, "id-1", "Grüße, 👋🏽 and\nmore")
		if resp.StatusCode/100 != 2 {
			t.Fatalf("status %d: %s", resp.StatusCode, body)
		}
		in := k.World.Inbounds()
		if len(in) != 1 || in[0].ID != "id-1" || in[0].Text != "Grüße, 👋🏽 and\nmore" || in[0].From.Channel != "acme.test" {
			t.Errorf("what was handed in: %+v", in)
		}
	})

	t.Run("a repeat takes effect once", func(t *testing.T) {
		k, s := start(t)
		_, first := send(t, s, 0, "id-1", "hello")
		resp, second := send(t, s, 0, "id-1", "hello")
		if resp.StatusCode/100 != 2 || len(k.World.Inbounds()) != 1 {
			t.Errorf("status %d, %d effects", resp.StatusCode, len(k.World.Inbounds()))
		}
		if string(first) != string(second) {
			t.Errorf("the repeat is answered differently:\n%s\n%s", first, second)
		}
	})

	t.Run("ids are scoped to the sender, equal text is not a repeat", func(t *testing.T) {
		k, s := start(t)
		send(t, s, 0, "id-1", "hello")
		send(t, s, 1, "id-1", "hello")
		send(t, s, 0, "id-2", "hello")
		in := k.World.Inbounds()
		if len(in) != 3 || in[0].From == in[1].From || in[0].From != in[2].From {
			t.Errorf("what was handed in: %+v", in)
		}
	})

	t.Run("nothing of the request's buffers is kept", func(t *testing.T) {
		k, s := start(t)
		for _, id := range []string{"id-1", "id-2", "id-3"} {
			send(t, s, 0, id, "text of "+id)
		}
		for _, in := range k.World.Inbounds() {
			if in.Text != "text of "+in.ID || strings.Contains(in.From.Address, "#") {
				t.Errorf("a message changed after it was handed in: %+v", in)
			}
		}
	})

	t.Run("the store's refusals are passed on", func(t *testing.T) {
		k, s := start(t)
		send(t, s, 0, "id-0", "before") // customers exist before the store fails
		for _, c := range []struct {
			err    error
			status int
			code   string
		}{
			{adapters.ErrUnavailable, 503, "store_unavailable"},
			{adapters.ErrUnknownOutcome, 503, "unknown_outcome"},
			{&adapters.RefusedError{Code: "window_closed", Detail: "It is over."}, 409, "window_closed"},
		} {
			if suite.Acknowledges && c.status < 500 {
				c.status, c.code = 200, ""
			}
			req := suite.Message(t, s, 0, "id-"+c.code, CanaryText)
			k.World.Fail(c.err)
			resp, body := s.Do(t, req)
			k.World.Fail(nil)
			if resp.StatusCode != c.status || codeOf(body) != c.code {
				t.Errorf("%v: %d %s", c.err, resp.StatusCode, body)
			}
			if retry := resp.Header.Get("Retry-After"); (retry != "") != (c.status == 503) {
				t.Errorf("%v: Retry-After %q", c.err, retry)
			}
			k.AssertQuiet(t, string(body))
		}
		if resp, body := send(t, s, 0, "id-store_unavailable", "again"); resp.StatusCode/100 != 2 {
			t.Errorf("after the store is back: %d %s", resp.StatusCode, body)
		}
	})

	t.Run("malformed bodies are the client's mistake", func(t *testing.T) {
		k, s := start(t)
		for _, junk := range Junk() {
			req := suite.Message(t, s, 0, "id-1", "x")
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(junk)), int64(len(junk))
			resp, body := s.Do(t, req)
			if resp.StatusCode < 400 || resp.StatusCode > 499 || codeOf(body) == "" {
				t.Errorf("%.40q: %d %s", junk, resp.StatusCode, body)
			}
			k.AssertQuiet(t, string(body))
		}
		if n := len(k.World.Inbounds()); n != 0 {
			t.Errorf("%d messages came out of junk", n)
		}
	})

	t.Run("foreign and unknown are the same", func(t *testing.T) {
		_, s := start(t)
		send(t, s, 0, "id-1", "mine")
		send(t, s, 1, "id-1", "somebody else's")
		for _, pair := range suite.Foreign(t, s) {
			at := pair[0].Method + " " + pair[0].URL.Path
			foreign, foreignBody := s.Do(t, pair[0])
			unknown, unknownBody := s.Do(t, pair[1])
			if foreign.StatusCode < 400 && !suite.Acknowledges || foreign.StatusCode != unknown.StatusCode || string(foreignBody) != string(unknownBody) {
				t.Errorf("%s: %d %s, but unknown: %d %s", at, foreign.StatusCode, foreignBody, unknown.StatusCode, unknownBody)
			}
		}
	})

	t.Run("text and secrets are in no log", func(t *testing.T) {
		k, s := start(t)
		send(t, s, 0, "id-1", CanaryText)
		k.AssertQuiet(t, "")
	})

	t.Run("Close works twice and leaves nothing running", func(t *testing.T) {
		before := goleak.IgnoreCurrent()
		k, s := start(t)
		send(t, s, 0, "id-1", "hello")
		s.Stop()
		if err := s.Channel.Close(); err != nil {
			t.Errorf("the second Close: %v", err)
		}
		if n := k.World.Watches(); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
		VerifyNoLeak(t, before)
	})
}

// Junk returns bodies that no channel may take, with the text canary in those that can hold it.
func Junk() []string {
	return []string{
		"", "{", "[]", "null", "true", "0", `"` + CanaryText + `"`, "{}", `{"id":1,"text":"x"}`,
		`{"id":"a","text":1}`, `{"id":"a","text":["` + CanaryText + `"]}`, `{"id":"a","text":{"text":"x"}}`,
		`{"id":"a","text":"` + CanaryText + "\x00" + `"}`, `{"id":"a","text":"\u0000"}`, `{"id":"a","text":"\ud800"}`,
		`{"id":"a","text":"\udc00\ud800"}`, "{\"id\":\"a\",\"text\":\"\xff\xfe\"}", `{"id":"a","text":"` + CanaryText + `"`,
		`{"id":"a","text":"x"} trailing`, `{"id":"","text":"x"}`, `{"id":"has space","text":"x"}`,
		`{"id":"` + strings.Repeat("x", 129) + `","text":"x"}`, `{"id":"a","text":""}`, `{"id":"a","text":" \n\t"}`,
		strings.Repeat("[", 5000), strings.Repeat(`{"a":`, 5000), `{"id":"a","text":"` + strings.Repeat("x", 100<<10) + `"}`,
	}
}

func codeOf(body []byte) string {
	var p struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(body, &p) != nil {
		return ""
	}
	return p.Code
}
