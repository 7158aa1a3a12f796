package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// TestStory is an agent's day over HTTP.
func TestStory(t *testing.T) {
	b := start(t)
	ref := b.Queued(t, acme, "support", "my order is late")
	b.want(409, "no_capacity", b.as("acme/ann", "POST", at(ref, "claim"), ""))
	b.present("acme/ann")
	var list struct{ Items []queue.Row }
	b.want(200, "", b.as("acme/ann", "GET", "/v1/agent/queue", "")).into(t, &list)
	if len(list.Items) != 1 || list.Items[0].Conversation != ref.ID || list.Items[0].Position != 1 {
		t.Fatalf("queue %+v", list.Items)
	}
	b.want(409, "not_owner", b.as("acme/ann", "POST", at(ref, "reply"), `{"text":"too early"}`))
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "claim"), ""))
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "claim"), "{}")) // one's own again
	b.want(409, "already_claimed", b.as("acme/bob", "POST", at(ref, "claim"), ""))
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "note"), `{"text":"third time this week"}`))
	b.want(204, "", b.as("acme/ann", "POST", at(ref, "typing"), ""))
	var reply queue.Result
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "reply"), `{"text":"It leaves today."}`, "Idempotency-Key", "r1")).into(t, &reply)
	var again queue.Result
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "reply"), `{"text":"It leaves today."}`, "Idempotency-Key", "r1")).into(t, &again)
	if again.Message != reply.Message || !again.Repeated {
		t.Errorf("repeat %+v of %+v", again, reply)
	}
	b.want(422, "idempotency_mismatch", b.as("acme/ann", "POST", at(ref, "reply"), `{"text":"no"}`, "Idempotency-Key", "r1"))
	var held queue.Result
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "reply"), `{"text":"oops","hold":5}`)).into(t, &held)
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "undo"), `{"message":"`+held.Message+`"}`))
	b.want(409, "stale", b.as("acme/ann", "POST", at(ref, "undo"), `{"message":"`+held.Message+`"}`))
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "snooze"), `{"until":"2026-05-04T10:00:00Z"}`))
	b.want(400, "bad_request", b.as("acme/ann", "POST", at(ref, "snooze"), `{"until":"2020-01-01T00:00:00Z"}`))
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "escalate"), `{"queue":"emergency","priority":"high","note":"see above"}`))
	b.want(403, "forbidden", b.as("acme/ann", "POST", at(ref, "claim"), ""))
	b.present("acme/supervisor")
	b.want(200, "", b.as("acme/supervisor", "POST", at(ref, "claim"), ""))
	b.present("acme/ann")
	b.want(200, "", b.as("acme/supervisor", "POST", at(ref, "transfer"), `{"agent":"ann"}`))
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "release"), ""))
	b.want(200, "", b.as("acme/supervisor", "POST", at(ref, "claim"), ""))
	b.want(200, "", b.as("acme/supervisor", "POST", at(ref, "resolve"), `{"note":"solved"}`))
	b.want(409, "stale", b.as("acme/supervisor", "POST", at(ref, "reply"), `{"text":"one more thing"}`))

	var whole queue.Context
	b.want(200, "", b.as("acme/supervisor", "GET", at(ref, ""), "")).into(t, &whole)
	if whole.Owner.Kind != message.OwnerClosed || uint64(len(whole.Events)) != whole.Seq {
		t.Errorf("%d events, seq %d, owner %+v", len(whole.Events), whole.Seq, whole.Owner)
	}
	var page queue.Context
	b.want(200, "", b.as("acme/supervisor", "GET", at(ref, "")+"?after=3&limit=2", "")).into(t, &page)
	if len(page.Events) != 2 || page.Events[0].Seq != 4 || !page.More || !page.Earlier {
		t.Errorf("page %+v", page.Events)
	}
	page = queue.Context{}
	b.want(200, "", b.as("acme/supervisor", "GET", at(ref, "")+"?before=9007199254740991&limit=2", "")).into(t, &page)
	if len(page.Events) != 2 || page.Events[1].Seq != page.Seq || page.More || !page.Earlier {
		t.Errorf("the last page %+v", page.Events)
	}
	b.want(400, "bad_request", b.as("acme/supervisor", "GET", at(ref, "")+"?before=5&after=3", ""))
	var people queue.Colleagues
	b.want(200, "", b.as("acme/ann", "GET", "/v1/agent/colleagues", "")).into(t, &people)
	if len(people.Agents) != 4 || len(people.Queues) != 2 || people.Agents[0].Name != "Agent" {
		t.Errorf("colleagues %+v", people)
	}
}

// TestEarlierConversations: what the same customer wanted before can be read by who has what they want now.
func TestEarlierConversations(t *testing.T) {
	b := start(t)
	from := message.Address{Channel: "acme.web", Address: "v_returns"}
	before := b.OpenFrom(t, acme, from, "where is my parcel")
	now := b.OpenFrom(t, acme, from, "hello again")
	b.Do(t, now, conversation.Divert{Handoff: conversation.Handoff{Rule: "x", Queue: "support", Priority: 5}})
	var past queue.Past
	b.want(200, "", b.as("acme/ann", "GET", at(now, "earlier/"+before.ID)+"?limit=1", "")).into(t, &past)
	if past.Conversation != before.ID || len(past.Events) != 1 || !past.More {
		t.Errorf("past %+v", past)
	}
	stranger := b.Open(t, acme, "me too")
	b.want(404, "not_found", b.as("acme/ann", "GET", at(now, "earlier/"+stranger.ID), ""))
	b.want(403, "forbidden", b.as("acme/ann", "GET", at(stranger, "earlier/"+before.ID), ""))
}

// TestCapturedView: what was set aside is in a view of its own, of those queues that the agent serves, and can be claimed.
func TestCapturedView(t *testing.T) {
	b := start(t)
	ref := b.Queued(t, acme, "support", "is anybody there")
	b.Do(t, ref, conversation.Capture{Queue: "support"})
	b.Do(t, b.Queued(t, acme, "emergency"), conversation.Capture{Queue: "emergency"})
	list := func(who, query string) (ids []string) {
		t.Helper()
		var l struct{ Items []queue.Row }
		b.want(200, "", b.as(who, "GET", "/v1/agent/queue"+query, "")).into(t, &l)
		for _, r := range l.Items {
			ids = append(ids, r.Conversation)
		}
		return ids
	}
	if got := list("acme/ann", ""); len(got) != 0 {
		t.Errorf("the queue shows what is set aside: %v", got)
	}
	if got := list("acme/ann", "?view=captured"); !slices.Equal(got, []string{ref.ID}) {
		t.Errorf("captured: %v, want %v", got, ref.ID)
	}
	if got := list("acme/supervisor", "?view=captured"); len(got) != 2 {
		t.Errorf("a supervisor sees %v", got)
	}
	if got := list("other/supervisor", "?view=captured"); len(got) != 0 {
		t.Errorf("another tenant sees %v", got)
	}
	b.want(403, "forbidden", b.as("acme/ann", "GET", "/v1/agent/queue?view=captured&queue=emergency", ""))
	b.present("acme/ann")
	b.want(200, "", b.as("acme/ann", "POST", at(ref, "claim"), ""))
	if got := list("acme/ann", "?view=captured"); len(got) != 0 {
		t.Errorf("after the claim: %v", got)
	}
}

// TestClaimRace: of n agents who claim at once one wins, and the others hear the winner's name.
func TestClaimRace(t *testing.T) {
	b := start(t)
	for _, n := range []int{2, 8, 32} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b.present("acme/ann")
			b.present("acme/bob")
			ref := b.Queued(t, acme, "support", "help")
			answers := make([]answer, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Add(1)
				go func() {
					defer wg.Done()
					answers[i] = b.as([]string{"acme/ann", "acme/bob"}[i%2], "POST", at(ref, "claim"), "")
				}()
			}
			wg.Wait()
			owner := b.State(t, ref).Owner
			won := map[string]bool{}
			for i, a := range answers {
				who := []string{"ann", "bob"}[i%2]
				switch a.status {
				case 200:
					won[who] = true
				case 409:
					var p claimed
					a.into(t, &p)
					if p.Code != "already_claimed" || p.Winner != (winner{owner.Agent, owner.Name}) || owner.Name == "" {
						t.Errorf("loser's answer: %s", a.body)
					}
				default:
					t.Errorf("status %d: %s", a.status, a.body)
				}
			}
			if len(won) != 1 || !won[owner.Agent] {
				t.Errorf("winners %v, owner %s", won, owner.Agent)
			}
		})
	}
}

// TestNotesStayInside: a canary in every field that people write for each other is in none of the events that a customer
// may see, and in no log.
func TestNotesStayInside(t *testing.T) {
	b := start(t)
	const canary = "canary-7f3a"
	ref := b.claimed("acme/ann", "help")
	b.present("acme/bob")
	note := func(act, body string) {
		t.Helper()
		b.want(200, "", b.as("acme/ann", "POST", at(ref, act), body))
	}
	note("note", `{"text":"`+canary+`"}`)
	note("transfer", `{"queue":"support","note":"`+canary+`"}`)
	note("claim", "")
	note("escalate", `{"queue":"support","note":"`+canary+`"}`)
	note("claim", "")
	note("release", `{"note":"`+canary+`"}`)
	b.Do(t, ref, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "support", Priority: 5}})
	note("claim", "")
	note("resolve", `{"note":"`+canary+`"}`)
	a := b.as("acme/ann", "GET", at(ref, ""), "")
	if n := strings.Count(string(a.body), canary); n != 5 {
		t.Errorf("the agent sees %d notes, want 5", n)
	}
	visible := 0
	for _, e := range b.Kit.Log(t, ref) {
		v, ok := e.Visible(ref.ID)
		if !ok {
			continue
		}
		visible++
		if out, err := json.Marshal(v); err != nil || strings.Contains(string(out), canary) {
			t.Errorf("a customer sees a note: %s, %v", out, err)
		}
	}
	if visible == 0 {
		t.Error("nothing is visible: the test looks at nothing")
	}
	for _, secret := range []string{canary, "help", b.keys["acme/ann"], "v_"} {
		if strings.Contains(b.Logged.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	if !strings.Contains(b.Logged.String(), "/v1/agent/conversations/{id}/note") {
		t.Error("the log has no line for the note: the test looks at nothing")
	}
}

func TestAttachments(t *testing.T) {
	b := start(t)
	ref := b.claimed("acme/ann", "see the file")
	content := strings.Repeat("0123456789", 20_000)
	blob, size, err := b.Store.Blobs().Put(t.Context(), ref, strings.NewReader(content), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	part, err := id.Partition(id.Conversation, ref.ID)
	if err != nil {
		t.Fatal(err)
	}
	file := message.Attachment{ID: b.IDs.New(id.Attachment, part), Name: "a \"b\"\r\n.txt", Type: "text/html", Size: size}
	snap, err := b.Store.Load(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	op := store.Token(b.IDs.Token())
	d := conversation.Begin(snap.State, conversation.Env{Now: b.Clock.Now().UnixMilli(), Op: string(op)})
	if err := d.Do(conversation.Receive{ID: b.IDs.New(id.Message, part), In: message.Inbound{
		ID: "f", From: snap.State.From, Kind: message.Text, Attachments: []message.Attachment{file},
	}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Store.Commit(t.Context(), store.Step{
		Ref: ref, Op: op, Base: snap.Version, Events: d.Events, State: &d.State, Attach: []store.Attachment{{Attachment: file, Blob: blob}},
	}); err != nil {
		t.Fatal(err)
	}
	a := b.as("acme/ann", "GET", at(ref, "attachments/"+file.ID), "")
	if a.status != 200 || string(a.body) != content {
		t.Errorf("status %d, %d bytes", a.status, len(a.body))
	}
	if d := a.header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment;") || strings.ContainsAny(d, "\"\r\n") {
		t.Errorf("Content-Disposition %q", d)
	}
	if c := a.header.Get("Content-Security-Policy"); !strings.Contains(c, "sandbox") {
		t.Errorf("Content-Security-Policy %q", c)
	}
	b.want(404, "not_found", b.as("other/ann", "GET", at(ref, "attachments/"+file.ID), ""))
}

func TestBadInput(t *testing.T) {
	b := start(t)
	ref := b.claimed("acme/ann", "help")
	big := strings.Repeat("x", 300<<10)
	for _, tt := range []struct{ name, act, body, code string }{
		{"no JSON", "reply", `{"text":`, "bad_request"},
		{"two values", "reply", `{"text":"a"}{"text":"b"}`, "bad_request"},
		{"a list", "reply", `[]`, "bad_request"},
		{"null byte", "reply", "{\"text\":\"a\\u0000\"}", "bad_request"},
		{"escape", "reply", "{\"text\":\"a\\u001b[0m\"}", "bad_request"},
		{"lone surrogate", "reply", `{"text":"\ud83d"}`, "bad_request"},
		{"not UTF-8", "reply", "{\"text\":\"\xff\"}", "bad_request"},
		{"unknown field", "reply", `{"text":"a","colour":"red"}`, "bad_request"},
		{"wrong type", "reply", `{"text":7}`, "bad_request"},
		{"empty", "reply", `{}`, "bad_request"},
		{"hold too long", "reply", `{"text":"a","hold":31}`, "bad_request"},
		{"negative hold", "reply", `{"text":"a","hold":-1}`, "bad_request"},
		{"hold is a word", "reply", `{"text":"a","hold":"5s"}`, "bad_request"},
		{"a script as link", "reply", `{"text":"a","link":"javascript:alert(1)"}`, "bad_request"},
		{"large body", "reply", `{"text":"` + big + `"}`, "too_large"},
		{"long text", "reply", `{"text":"` + big[:9<<10] + `"}`, "too_large"},
		{"bad time", "snooze", `{"until":"tomorrow"}`, "bad_request"},
		{"unknown queue", "transfer", `{"queue":"nowhere"}`, "bad_request"},
		{"unknown priority", "escalate", `{"queue":"support","priority":"asap"}`, "bad_request"},
		{"unknown message", "undo", `{"message":"m_x"}`, "stale"},
		{"empty note", "note", `{}`, "bad_request"},
		{"override is a word", "claim", `{"override":"yes"}`, "bad_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := b.as("acme/ann", "POST", at(ref, tt.act), tt.body)
			if a.status/100 != 4 || a.code() != tt.code {
				t.Errorf("status %d: %s", a.status, a.body)
			}
			var p struct{ Detail string }
			a.into(t, &p)
			if p.Detail == "" || strings.Contains(p.Detail, "colour") {
				t.Errorf("detail %q", p.Detail)
			}
		})
	}
	for _, query := range []string{"?after=x", "?after=-1", "?limit=100000", "?after=99999999999999999999"} {
		b.want(400, "bad_request", b.as("acme/ann", "GET", at(ref, "")+query, ""))
	}
	b.want(400, "bad_request", b.as("acme/ann", "GET", "/v1/agent/queue?view=all", ""))
	b.want(400, "bad_request", b.as("acme/ann", "POST", at(ref, "note"), `{"text":"x"}`, "Idempotency-Key", strings.Repeat("k", 257)))
	b.want(415, "bad_request", b.as("acme/ann", "POST", at(ref, "note"), `{"text":"x"}`, "Content-Encoding", "gzip"))
	if n := b.State(t, ref).Seq; n != 5 {
		t.Errorf("bad input has changed the conversation: seq %d", n)
	}
}

func FuzzReplyBody(f *testing.F) {
	for _, seed := range []string{
		`{"text":"hello"}`, `{"text":"a","hold":2.5,"choices":[{"id":"1","label":"Yes"}],"link":"https://example.com/x"}`,
		`{"text":"\ud83d\ude00"}`, `{"text":"\ud83d"}`, `{"hold":1e309}`, `{"hold":-0}`, `{"text":null}`, `[]`, ``, `{"link":"http://[::1"}`,
		`{"choices":[{}]}`, "{\"text\":\"\u202e\"}", `{"TEXT":"a"}`, `{"text":"a"}x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var body replyBody
		if err := decodeJSON(raw, &body); err != nil {
			if d := details(err); d.Status != 400 {
				t.Errorf("status %d for %q", d.Status, raw)
			}
			return
		}
		reply, err := body.reply(raw, 8<<10)
		if err != nil {
			if d := details(err); d.Status/100 != 4 {
				t.Errorf("status %d for %q", d.Status, raw)
			}
			return
		}
		if reply.Hold < 0 || reply.Hold > 30*time.Second || len(reply.Part.Text) > 8<<10 {
			t.Errorf("%q became %+v", raw, reply)
		}
		for _, r := range reply.Part.Text {
			if r < ' ' && r != '\n' && r != '\t' {
				t.Errorf("control character %U in %q", r, reply.Part.Text)
			}
		}
	})
}
