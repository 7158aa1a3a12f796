package hostile

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// png is a file that channels take.
const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"

// owned is a conversation with all that belongs to it.
type owned struct {
	*visitor
	conversation, cursor, message, attachment string
}

// owned makes a conversation that waits for people and has a file.
func (w *world) owned(t testing.TB, tenant string) owned {
	t.Helper()
	o := owned{visitor: w.visitor(t, tenant)}
	said := o.say(t, word())
	o.message = said.Messages[0].ID
	a := w.call(t, "POST", o.base+"/attachments", o.token, png, "X-Filename: "+word()+".png")
	var file struct{ ID string }
	if a.status != 200 || json.Unmarshal(a.body, &file) != nil || file.ID == "" {
		t.Fatalf("no attachment: %s", a)
	}
	o.attachment = file.ID
	sent := fmt.Sprintf(`{"id":"file","attachments":["%s"]}`, file.ID)
	o.outcome(t, w.call(t, "POST", o.base+"/messages", o.token, sent))
	last := o.outcome(t, w.call(t, "POST", o.base+"/human", o.token, ""))
	o.conversation, o.cursor = last.Conversation, last.Cursor
	return o
}

// twist changes the last letter but one of an id or a token: what comes out has the form and is nobody's.
func twist(s string) string {
	i := len(s) - 2
	c := byte('a')
	if s[i] == c {
		c = 'b'
	}
	return s[:i] + string(c) + s[i+1:]
}

// TestForeignIDs: for a visitor, what belongs to another visitor or another tenant is answered like what does not exist.
func TestForeignIDs(t *testing.T) {
	w := start(t, setup{})
	theirs := map[string]owned{"a visitor of the channel": w.owned(t, "acme"), "another tenant": w.owned(t, "other")}
	me := w.visitor(t, "acme")
	me.say(t, word())
	conv := func(cursor string) string { c, _, _ := strings.Cut(cursor, "."); return c }
	for whose, o := range theirs {
		for name, ask := range map[string]func(owned) answer{
			"file":           func(o owned) answer { return w.call(t, "GET", me.base+"/attachments/"+o.attachment, me.token, "") },
			"file, own path": func(o owned) answer { return w.call(t, "GET", o.base+"/attachments/"+o.attachment, me.token, "") },
			"page's file":    func(o owned) answer { return w.call(t, "GET", "/chat/acme.web/files/"+o.attachment, "", "") },
			"events":         func(o owned) answer { return w.call(t, "GET", me.base+"/events?after="+o.cursor, me.token, "") },
			"events, header": func(o owned) answer {
				return w.call(t, "GET", me.base+"/events", me.token, "", "Last-Event-ID: "+o.cursor)
			},
			"sent file": func(o owned) answer {
				return w.call(t, "POST", me.base+"/messages", me.token, fmt.Sprintf(`{"id":"x","attachments":["%s"]}`, o.attachment))
			},
			"read": func(o owned) answer {
				return w.call(t, "POST", me.base+"/observe", me.token, `{"read":"`+o.cursor+`"}`)
			},
			"message as file": func(o owned) answer { return w.call(t, "GET", me.base+"/attachments/"+o.message, me.token, "") },
			"as file":         func(o owned) answer { return w.call(t, "GET", me.base+"/attachments/"+conv(o.cursor), me.token, "") },
		} {
			nobodys := owned{
				visitor: o.visitor, message: twist(o.message), attachment: twist(o.attachment),
				cursor: twist(conv(o.cursor)) + "." + strings.SplitN(o.cursor, ".", 2)[1],
			}
			got, want := ask(o), ask(nobodys)
			if got.same() != want.same() {
				t.Errorf("%s of %s: got\n%s\nwant\n%s", name, whose, got, want)
			}
			if name != "read" && got.status/100 != 4 {
				t.Errorf("%s of %s: got %s", name, whose, got)
			}
		}
	}
	mine := theirs["a visitor of the channel"]
	if a := w.call(t, "GET", mine.base+"/attachments/"+mine.attachment, mine.token, ""); a.status != 200 || string(a.body) != png {
		t.Errorf("the owner of the file got %s", a)
	}
}

// TestForeignAgents: an agent of another tenant, and one of other queues, learn nothing of a conversation: each request is
// answered as for an id that does not exist.
func TestForeignAgents(t *testing.T) {
	w := start(t, setup{})
	o := w.owned(t, "acme")
	for _, who := range []string{"other/ann", "other/sue"} {
		key := w.keys[who]
		if a := w.call(t, "POST", "/v1/agent/presence", key, "{}"); a.status != 200 {
			t.Fatal(a)
		}
		for _, r := range []struct{ method, path, body string }{
			{"GET", "", ""}, {"GET", "?after=1&limit=1", ""}, {"POST", "/claim", ""}, {"POST", "/reply", `{"text":"hello"}`},
			{"POST", "/note", `{"text":"hello"}`}, {"POST", "/undo", `{"message":"` + o.message + `"}`},
			{"POST", "/transfer", `{"queue":"vip"}`}, {"POST", "/escalate", `{"queue":"vip"}`}, {"POST", "/release", ""},
			{"POST", "/resolve", ""}, {"POST", "/snooze", `{"until":"2099-01-01T00:00:00Z"}`}, {"POST", "/typing", ""},
			{"GET", "/attachments/" + o.attachment, ""}, {"POST", "/claim", `{"override":true}`}, {"DELETE", "", ""},
		} {
			ask := func(conv string, header ...string) answer {
				return w.call(t, r.method, "/v1/agent/conversations/"+conv+r.path, key, r.body, header...)
			}
			got, want := ask(o.conversation), ask(twist(o.conversation))
			if got.same() != want.same() || got.status/100 == 2 {
				t.Errorf("%s %s as %s: got\n%s\nwant\n%s", r.method, r.path, who, got, want)
			}
			got, want = ask(o.conversation, "Idempotency-Key: k"), ask(twist(o.conversation), "Idempotency-Key: k")
			if got.same() != want.same() || got.status/100 == 2 {
				t.Errorf("%s %s with a key as %s: got\n%s\nwant\n%s", r.method, r.path, who, got, want)
			}
		}
		if a := w.call(t, "GET", "/v1/agent/queue?view=all", key, ""); strings.Contains(string(a.body), o.conversation) {
			t.Errorf("%s sees it in the queue", who)
		}
	}
	if a := w.call(t, "GET", "/v1/agent/conversations/"+o.conversation, w.keys["acme/sue"], ""); a.status != 200 {
		t.Errorf("its own tenant's supervisor got %s", a)
	}
}

// TestForgedTokens: what opens nothing is answered the same, whatever it was meant to be.
func TestForgedTokens(t *testing.T) {
	w := start(t, setup{})
	v, foreign := w.visitor(t, "acme"), w.visitor(t, "other")
	a := w.call(t, "POST", v.base+"/ticket", v.token, "")
	var issued struct{ Ticket string }
	if err := json.Unmarshal(a.body, &issued); err != nil || a.status != 200 {
		t.Fatal(a)
	}
	ticket := watch.keep("a ticket", issued.Ticket)
	body, mac, _ := strings.Cut(v.token, ".")
	forged := map[string]string{
		"nothing": "", "a word": "let-me-in", "a dot": ".", "no body": "." + mac, "no seal": body + ".", "no dot": body + mac,
		"another body": twist(body) + "." + mac, "another seal": body + "." + twist(mac), "turned": mac + "." + body,
		"twice": v.token + "." + mac, "padded": v.token + "==", "another channel's": foreign.token, "a ticket": ticket,
		"an agent's key": w.keys["acme/ann"], "very long": strings.Repeat("A", 8000), "a JWT of none": "eyJhbGciOiJub25lIn0.e30.",
		"bytes": "\xff\xfe\xfd", "a quote": `"'--`,
	}
	paths := []struct{ method, path, body string }{
		{"POST", v.base + "/messages", `{"id":"a","text":"x"}`}, {"POST", v.base + "/human", ""}, {"POST", v.base + "/ticket", ""},
		{"GET", v.base + "/events", ""}, {"GET", v.base + "/attachments/x", ""}, {"POST", v.base + "/observe", `{"typing":true}`},
		{"POST", v.base + "/attachments", png},
	}
	for _, p := range paths {
		want := w.call(t, p.method, p.path, "nobody-s-token", p.body)
		refused(t, want, 401, "unauthenticated")
		for name, token := range forged {
			if got := w.call(t, p.method, p.path, token, p.body); got.same() != want.same() {
				t.Errorf("%s with %s: got\n%s\nwant\n%s", p.path, name, got, want)
			}
		}
	}
	want := w.call(t, "GET", v.base+"/events?ticket=nobodys", "", "")
	refused(t, want, 401, "unauthenticated")
	for name, token := range forged {
		if name == "a ticket" || name == "bytes" || token == "" {
			continue
		}
		if got := w.call(t, "GET", v.base+"/events?ticket="+strings.NewReplacer(`"`, "%22", "'", "%27").Replace(token), "", ""); got.same() != want.same() {
			t.Errorf("a stream with %s: got\n%s\nwant\n%s", name, got, want)
		}
	}
	if got := w.call(t, "GET", foreign.base+"/events?ticket="+ticket, "", ""); got.same() != want.same() {
		t.Errorf("a ticket on another channel: got\n%s\nwant\n%s", got, want)
	}
	// Agents: keys and sessions.
	key := w.keys["acme/ann"]
	want = w.call(t, "GET", "/v1/agent/me", "nobody-s-key", "")
	refused(t, want, 401, "unauthenticated")
	for name, token := range map[string]string{
		"nothing": "", "another key": twist(key), "half a key": key[:len(key)/2], "a longer key": key + "x", "a visitor's token": v.token,
		"a session of none": "ts_e30.", "a session": "ts_eyJ0IjoiYWNtZSIsImEiOiJhbm4ifQ.AAAA", "a blank": " ", "two": key + " " + key,
	} {
		if got := w.call(t, "GET", "/v1/agent/me", token, ""); got.same() != want.same() {
			t.Errorf("an agent with %s: got\n%s\nwant\n%s", name, got, want)
		}
	}
	for _, scheme := range []string{"Basic", "Bearer:", "Token", "bearer\t"} {
		got := w.call(t, "GET", "/v1/agent/me", "", "", "Authorization: "+scheme+" "+key)
		if got.same() != want.same() {
			t.Errorf("scheme %q: got %s", scheme, got)
		}
	}
	refused(t, w.call(t, "POST", "/v1/agent/login", "", `{"tenant":"acme","login":"ann","password":""}`), 401, "unauthenticated")
	got := w.call(t, "POST", "/v1/agent/login", "", `{"tenant":"acme","login":"ann","password":"a guess"}`)
	if nobody := w.call(t, "POST", "/v1/agent/login", "", `{"tenant":"acme","login":"nobody","password":"a guess"}`); got.same() != nobody.same() {
		t.Errorf("a known login: got\n%s\nwant\n%s", got, nobody)
	}
}

// TestExpiry: tokens, tickets and sessions end, and say so only to those they were made for.
func TestExpiry(t *testing.T) {
	w := start(t, setup{})
	v, foreign := w.visitor(t, "acme"), w.visitor(t, "other")
	ticket := func() string {
		var issued struct{ Ticket string }
		if a := w.call(t, "POST", v.base+"/ticket", v.token, ""); a.status != 200 || json.Unmarshal(a.body, &issued) != nil {
			t.Fatal(a)
		}
		return watch.keep("a ticket", issued.Ticket)
	}
	old := ticket()
	w.ahead.Add(int64(2 * time.Minute))
	refused(t, w.call(t, "GET", v.base+"/events?ticket="+old, "", ""), 401, "unauthenticated")
	// A ticket is good for one stream.
	once := ticket()
	c := w.dial(t)
	if a, err := head200(c, head("GET", v.base+"/events?ticket="+once, "")); err != nil || a != http.StatusOK {
		t.Fatalf("a fresh ticket: %d, %v", a, err)
	}
	want := w.call(t, "GET", v.base+"/events?ticket=nobodys", "", "")
	if got := w.call(t, "GET", v.base+"/events?ticket="+once, "", ""); got.same() != want.same() {
		t.Errorf("a ticket for the second time: got\n%s\nwant\n%s", got, want)
	}
	w.ahead.Add(int64(40 * 24 * time.Hour))
	expired := w.call(t, "POST", v.base+"/messages", v.token, `{"id":"late","text":"hello"}`)
	refused(t, expired, 401, "unauthenticated")
	if !strings.Contains(string(expired.body), "expired") {
		t.Errorf("it does not say why: %s", expired)
	}
	never := w.call(t, "POST", v.base+"/messages", "nobody-s-token", `{"id":"late","text":"hello"}`)
	if got := w.call(t, "POST", v.base+"/messages", foreign.token, `{"id":"late","text":"hello"}`); got.same() != never.same() {
		t.Errorf("an expired token of another channel: got %s", got)
	}
	if _, heard := w.bots["acme"].text("late"); heard {
		t.Error("the message of an expired token reached the bot")
	}
}

// TestPathTricks: no spelling of a path leads where its plain form does not, and none tells whether something is there.
func TestPathTricks(t *testing.T) {
	w := start(t, setup{})
	o := w.owned(t, "acme")
	stranger := w.visitor(t, "acme")
	file := o.base + "/attachments/" + o.attachment
	tricks := []func(base, id string) string{
		func(base, id string) string { return "/" + base + "/attachments/" + id },
		func(base, id string) string { return base + "//attachments//" + id },
		func(base, id string) string { return base + "/attachments/" + id + "/" },
		func(base, id string) string { return base + "/attachments/x/%2e%2e/" + id },
		func(base, id string) string { return base + "/attachments/x/../" + id },
		func(base, id string) string { return base + "/attachments/..%2fattachments%2f" + id },
		func(base, id string) string { return base + "/attachments%2f" + id },
		func(base, id string) string { return base + "/attachments/%252e%252e/" + id },
		func(base, id string) string { return base + "/attachments/" + id + "%00" },
		func(base, id string) string { return base + "/attachments/" + id + ";x=y" },
		func(base, id string) string { return base + "/attachments/" + id + "?token=x" },
		func(base, id string) string { return base + "/attachments/" + id + "#x" },
		func(base, id string) string { return strings.ToUpper(base) + "/attachments/" + id },
		func(base, id string) string { return base + "/ATTACHMENTS/" + id },
		func(base, id string) string { return base + "/attachments/" + strings.ToUpper(id) },
		func(base, id string) string {
			return strings.Replace(base, "acme.web", "acme%2eweb", 1) + "/attachments/" + id
		},
		func(base, id string) string { return strings.Replace(base, "acme", "other", 1) + "/attachments/" + id },
		func(base, id string) string {
			return "/v1/web/other.web/../acme.web/attachments/" + id
		},
		func(base, id string) string { return "http://gateway" + base + "/attachments/" + id },
		func(base, id string) string { return "http://elsewhere:1" + base + "/attachments/" + id },
		func(base, id string) string { return strings.ReplaceAll(base, "/", `\`) + `\attachments\` + id },
		func(base, id string) string { return "/chat/acme.web/files/" + id },
	}
	for i, trick := range tricks {
		for _, token := range []string{"", stranger.token, w.keys["other/sue"], w.visitor(t, "other").token} {
			for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST"} {
				got := w.call(t, method, trick(o.base, o.attachment), token, "")
				want := w.call(t, method, trick(o.base, twist(o.attachment)), token, "")
				if got.same() != want.same() || got.status/100 == 2 || got.status/100 == 5 {
					t.Errorf("%s, trick %d: got\n%s\nwant\n%s", method, i, got, want)
				}
			}
		}
	}
	if a := w.call(t, "GET", file, o.token, ""); a.status != 200 {
		t.Errorf("the plain path: %s", a)
	}
}

// TestUnknownChannels: a channel that is not there looks like any path that is not.
func TestUnknownChannels(t *testing.T) {
	w := start(t, setup{})
	v := w.visitor(t, "acme")
	for _, rest := range []string{"/session", "/messages", "/human", "/ticket", "/events", "/socket", "/attachments/x", ""} {
		for _, method := range []string{"GET", "POST", "OPTIONS", "PUT"} {
			want := w.call(t, method, "/no/such/path", v.token, "")
			refused(t, want, 404, "not_found")
			for _, channel := range []string{"nobody.web", "acme.mail", "acme.we", "acme.web2", "ACME.WEB", "acme", "{channel}", "*", "%00", "%2e%2e", "a%0d%0aX:y"} {
				if got := w.call(t, method, "/v1/web/"+channel+rest, v.token, ""); got.same() != want.same() {
					t.Errorf("%s %s of channel %s: got\n%s\nwant\n%s", method, rest, channel, got, want)
				}
			}
		}
	}
}
