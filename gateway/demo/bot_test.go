package demo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestBot(t *testing.T) {
	for text, want := range map[string]struct {
		intent, says string
		sure         bool
		choices      int
	}{
		"When do you OPEN?":             {"hours", "9 to 18", true, 0},
		"opening hours":                 {"hours", "Saturday", true, 0},
		"where is my order?":            {"parcel", "Which order", true, 3},
		"KL-2041":                       {"parcel", "delivered today", true, 0},
		"what about kl2043, please":     {"parcel", "since yesterday", true, 0},
		"how do I return it?":           {"return", "30 days", true, 2},
		"hello!":                        {"greeting", "Hello.", true, 3},
		"do you ship to Norway?":        {"shipping", "I think", false, 0},
		"does the glaze crack":          {"care", "probably", false, 0},
		"gracias":                       {"thanks", "welcome", true, 0},
		"mein Paket ist nicht da":       {"", "did not understand", true, 3},
		"":                              {"", "did not understand", true, 3},
		"openly returned in the orders": {"", "did not understand", true, 3}, // whole words only
	} {
		var in turn
		in.Message.Text = text
		r := answer(in)
		if len(r.Messages) != 1 || r.Intent != want.intent || !strings.Contains(r.Messages[0].Text, want.says) || len(r.Messages[0].Choices) != want.choices {
			t.Errorf("%q: %+v", text, r)
		}
		if r.Fallback != (want.intent == "") || r.Fallback != (r.Confidence == nil) || r.Confidence != nil && (*r.Confidence >= 0.4) != want.sure {
			t.Errorf("%q: fallback %v, confidence %v", text, r.Fallback, r.Confidence)
		}
	}
	for _, c := range append(topics, choice{"2042", "KL-2042"}) {
		var in turn
		in.Message.Text, in.Message.Choice = c.Label, &c
		if r := answer(in); r.Fallback {
			t.Errorf("the bot does not understand its own choice %q", c.Label)
		}
	}
}

func TestBotOverHTTP(t *testing.T) {
	server := httptest.NewServer(bot{})
	defer server.Close()
	for body, want := range map[string]int{
		`{"v":1,"message":{"text":"hours"}}`: 200, `{}`: 200, ``: 400, `[`: 400, `{"message":7}`: 400,
		`{"message":{"text":"` + strings.Repeat("x", maxTurn) + `"}}`: 400,
	} {
		res, err := http.Post(server.URL, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		var r reply
		err = json.NewDecoder(res.Body).Decode(&r)
		res.Body.Close()
		if res.StatusCode != want || want == 200 && (err != nil || len(r.Messages) != 1) {
			t.Errorf("%.40s: status %d, %v", body, res.StatusCode, err)
		}
	}
	res, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", res.StatusCode)
	}
}
