package web_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
)

func TestAcceptAndWait(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	got := post(t, s, sess.Token, "1", "hi")
	if len(got.Messages) != 1 || got.Messages[0].Part.Text != "echo: hi" || got.Owner.Kind != message.OwnerBot {
		t.Errorf("answer %+v", got)
	}
	if want := got.Conversation + ".2"; string(got.Cursor) != want {
		t.Errorf("cursor %s, want %s", got.Cursor, want)
	}

	k.World.Script(func(message.Inbound) adaptertest.Reply { return adaptertest.Reply{Hang: true} })
	var pending answer
	call(t, s, request(s, "POST", api+"/messages", sess.Token, object{"id": "2", "text": "slow"}), 202, &pending)
	if want := got.Conversation + ".3"; string(pending.Cursor) != want || pending.Messages != nil {
		t.Errorf("pending %+v, want cursor %s", pending, want)
	}
	k.World.Script(adaptertest.Echo)
	call(t, s, request(s, "POST", api+"/messages", sess.Token, object{"id": "3", "text": "no wait", "wait": false}), 202, nil)

	k.World.Script(func(message.Inbound) adaptertest.Reply { return adaptertest.Reply{MergedInto: "5"} })
	var merged answer
	call(t, s, request(s, "POST", api+"/messages", sess.Token, object{"id": "4", "text": "burst"}), 200, &merged)
	if merged.MergedInto != "5" || merged.Conversation == "" || merged.Messages != nil {
		t.Errorf("merged %+v", merged)
	}

	k.World.Script(func(message.Inbound) adaptertest.Reply { return adaptertest.Reply{} })
	resp, body := s.Do(t, request(s, "POST", api+"/messages", sess.Token, object{"id": "6", "text": "silent bot"}))
	if resp.StatusCode != 200 || !strings.Contains(string(body), `"messages":[]`) {
		t.Errorf("a turn without an answer: %d %s", resp.StatusCode, body)
	}
}

func TestHuman(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	var got answer
	call(t, s, request(s, "POST", api+"/human", sess.Token, nil), 200, &got)
	if got.Owner.Kind != message.OwnerQueued || got.Position != 1 {
		t.Errorf("answer %+v", got)
	}
	call(t, s, request(s, "POST", api+"/human", sess.Token, object{"id": "h"}), 200, nil)
	call(t, s, request(s, "POST", api+"/human", sess.Token, object{"id": "h"}), 200, nil)
	if in := k.World.Inbounds(); len(in) != 2 || in[0].Kind != message.Human || in[1].ID != "h" {
		t.Errorf("handed in: %+v", in)
	}
	refused(t, s, request(s, "POST", api+"/human", sess.Token, object{"id": "a b"}), 400, "bad_request")
	refused(t, s, request(s, "POST", api+"/human", sess.Token, "junk"), 400, "bad_request")
}

func TestKindsOfMessages(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	var file message.Attachment
	call(t, s, upload(s, sess.Token, "note.txt", "plain words"), 200, &file)
	for i, body := range []object{
		{"text": "a\r\nb\rc\td"},
		{"action": object{"id": "yes", "label": "Yes, please"}},
		{"attachments": []string{file.ID}},
		{"attachments": []string{file.ID}, "text": "look"},
		{"text": "x", "action": nil, "unknown": []int{1}},
	} {
		body["id"] = strconv.Itoa(i)
		call(t, s, request(s, "POST", api+"/messages", sess.Token, body), 200, nil)
	}
	in := k.World.Inbounds()
	if in[0].Kind != message.Text || in[0].Text != "a\nb\nc\td" {
		t.Errorf("text: %+v", in[0])
	}
	if in[1].Kind != message.Action || *in[1].Choice != (message.Choice{ID: "yes", Label: "Yes, please"}) || in[1].Text != "Yes, please" {
		t.Errorf("action: %+v", in[1])
	}
	if in[2].Kind != message.Media || len(in[2].Attachments) != 1 || in[2].Attachments[0] != file || in[2].Text != "" {
		t.Errorf("media: %+v", in[2])
	}
	if in[3].Kind != message.Media || in[3].Text != "look" {
		t.Errorf("media with a caption: %+v", in[3])
	}
	if in[4].Kind != message.Text {
		t.Errorf("with null and unknown members: %+v", in[4])
	}
}

func TestRefusedMessages(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	for body, code := range map[string]string{
		`{"text":"x"}`:                                                     "bad_request",
		`{"id":"1"}`:                                                       "bad_request",
		`{"id":null,"text":"x"}`:                                           "bad_request",
		`{"id":"ü","text":"x"}`:                                            "bad_request",
		`{"id":"1","text":"x","wait":"no"}`:                                "bad_request",
		`{"id":"1","text":"x","lang":"e n"}`:                               "bad_request",
		`{"id":"1","text":"\u001b[31m"}`:                                   "bad_request",
		`{"id":"1","text":"\u009b"}`:                                       "bad_request",
		`{"id":"1","text":"\ud83d"}`:                                       "bad_request",
		`{"id":"1","action":{"label":"x"}}`:                                "bad_request",
		`{"id":"1","action":"yes"}`:                                        "bad_request",
		`{"id":"1","action":{"id":"y"},"text":"x"}`:                        "bad_request",
		`{"id":"1","attachments":"a_1"}`:                                   "bad_request",
		`{"id":"1","attachments":[1]}`:                                     "bad_request",
		`{"id":"1","attachments":["a_unknown"]}`:                           "not_found",
		`{"id":"1","attachments":["a b"]}`:                                 "bad_request",
		`{"id":"1","text":"` + strings.Repeat("x", 2001) + `"}`:            "too_large",
		`{"id":"1","text":"` + strings.Repeat(`\u0041`, 8000) + `"}`:       "too_large",
		`{"id":"1","attachments":[` + strings.Repeat(`"a",`, 10) + `"a"]}`: "bad_request",
	} {
		status := map[string]int{"bad_request": 400, "not_found": 404, "too_large": 413}[code]
		refused(t, s, request(s, "POST", api+"/messages", sess.Token, body), status, code)
	}
	gzip := request(s, "POST", api+"/messages", sess.Token, `{"id":"1","text":"x"}`)
	gzip.Header.Set("Content-Encoding", "gzip")
	refused(t, s, gzip, 415, "bad_request")
	if n := len(k.World.Inbounds()); n != 0 {
		t.Errorf("%d messages came in", n)
	}
	// What is unusual but right is taken: every plane, marks, right-to-left, joiners, the longest id.
	for i, text := range []string{"עברית \u200f\u202e", "👩‍👩‍👧‍👦", "e\u0301\u0327", "\U0010ffff\ufeff", "日本語\u3000。", "a\u2028"} {
		post(t, s, sess.Token, strings.Repeat("~", 127)+strconv.Itoa(i), text)
		if in := k.World.Inbounds(); in[len(in)-1].Text != text {
			t.Errorf("%q became %q", text, in[len(in)-1].Text)
		}
	}
}

func TestRateOfMessages(t *testing.T) {
	k, s := start(t, "limits: {rate: 0.5, burst: 2}\n")
	sess, other := newSession(t, s), newSession(t, s)
	post(t, s, sess.Token, "1", "x")
	post(t, s, sess.Token, "2", "x")
	var p problemBody
	resp := call(t, s, request(s, "POST", api+"/messages", sess.Token, object{"id": "3", "text": "x"}), 429, &p)
	if p.Code != "rate_limited" || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("%+v, Retry-After %s", p, resp.Header.Get("Retry-After"))
	}
	if resp := call(t, s, request(s, "POST", api+"/human", sess.Token, object{"id": "4"}), 200, nil); resp.Header.Get("Retry-After") != "" {
		t.Error("a request for a person was held up by the rate of messages")
	}
	post(t, s, other.Token, "1", "x")
	k.Clock.Advance(2 * time.Second)
	post(t, s, sess.Token, "3", "x")
}

func TestObserve(t *testing.T) {
	k, s := start(t, spec)
	sess := newSession(t, s)
	got := post(t, s, sess.Token, "1", "x")
	call(t, s, request(s, "POST", api+"/observe", sess.Token, object{"typing": true}), 204, nil)
	call(t, s, request(s, "POST", api+"/observe", sess.Token, object{"read": got.Cursor}), 204, nil)
	refused(t, s, request(s, "POST", api+"/observe", sess.Token, object{"read": "nonsense"}), 400, "bad_request")
	refused(t, s, request(s, "POST", api+"/observe", sess.Token, object{"typing": "yes"}), 400, "bad_request")
	o := k.World.Observations()
	if len(o) != 2 || !o[0].Typing || o[1].Read != 2 || o[1].ReadIn != got.Conversation || o[1].From != addressOf(sess) {
		t.Errorf("observed %+v", o)
	}
}

// A trace goes on with what the customer's request set off; what only looks like one goes nowhere.
func TestTraceIsPassedOn(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	k, s := start(t, spec)
	sess := newSession(t, s)
	for i, header := range []string{trace, "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", ""} {
		req := request(s, "POST", api+"/messages", sess.Token, object{"id": strconv.Itoa(i), "text": "hi"})
		req.Header.Set("Traceparent", header)
		call(t, s, req, 200, nil)
	}
	human := request(s, "POST", api+"/human", sess.Token, nil)
	human.Header.Set("Traceparent", trace)
	call(t, s, human, 200, nil)
	for i, want := range []string{trace, "", "", trace} {
		if got := k.World.Inbounds()[i].Trace; got != want {
			t.Errorf("message %d: trace %q, want %q", i, got, want)
		}
	}
}
