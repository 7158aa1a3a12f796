package conversation_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

var update = flag.Bool("update", false, "write testdata/log.jsonl anew")

var allTypes = []conv.Type{
	conv.MessageReceived, conv.MessageHeld, conv.MessageSent, conv.MessageStatus, conv.NoteAdded, conv.TurnStarted,
	conv.TurnDiscarded, conv.TurnFailed, conv.DecisionMade, conv.HandoffMade, conv.OwnerChanged, conv.OfferMade,
	conv.OfferLapsed, conv.OfferDeclined, conv.TimerSet, conv.TimerFired, conv.ProfileChanged, conv.ContactLinked,
	conv.Opened, conv.Closed, conv.Reopened, conv.Erased,
}

// life is a conversation in which everything happens that can, with every field of every event in use.
func life(t testing.TB) *script {
	const later = int64(1) << 60
	confidence, fallback := 0.25, true
	file := []message.Attachment{{ID: "a_1", Name: "x.png", Type: "image/png", Size: 12}}
	profile := &message.Profile{Subject: "s", Name: "Jo", Email: "jo@example.com", Phone: "+1", Level: "2fa",
		Fields: map[string]any{"plan": "gold", "balance": 1.5, "vip": true}}
	full := message.Inbound{ID: "x", From: address, Kind: message.Action, Quoted: "> old", Choice: &message.Choice{ID: "1", Label: "One"},
		Attachments: file, Lang: "en", SentAt: time.UnixMilli(1_700_000_000_123).UTC(), Profile: profile, Raw: []byte("{}")}
	part := message.Part{Text: "hi <b>\u2028", Lang: "en", Choices: []message.Choice{{ID: "1", Label: "One"}}, Attachments: file, Link: "https://example.com/"}

	scores := signal.Scores{HumanRequest: 0.5, Frustration: 0.25, BotFallback: 1}
	memory := signal.Memory{Language: "en", Customer: signal.Digests{1, 2, 3}, Bot: signal.Digests{4}, Fallbacks: 2, Annoyed: 1, Trend: 50}

	s := newScript(t)
	s.do(customer, conv.Open{ID: "c_1", From: address, Previous: "c_0", Contact: "k_0"},
		conv.Receive{ID: "m_1", In: full, Rules: 3, Scores: scores, Memory: memory})
	s.do(bot, conv.StartTurn{ID: "t_1", Bot: "legacy"})
	s.do(bot, conv.FailTurn{Turn: "t_1", Kind: "status", Status: 500}, conv.RetakeTurn{})
	s.do(bot, conv.AnswerTurn{Turn: "t_1",
		Decision: conv.Decision{Kind: conv.DecisionPass, Rules: 3, Rule: "r", Matched: []string{"r"}, Shadow: []string{"s"}, Failed: []string{"f"},
			Tags: []string{"t"}, Notify: []string{"n"}, MustReachHuman: true, Scores: scores, Memory: memory, Model: "d", Inputs: json.RawMessage(`{"now":1}`),
			Bot:      &conv.BotSaid{Confidence: &confidence, Intent: "greet", Fallback: &fallback, Handoff: "h", End: true, Sources: 2},
			Withheld: []message.Part{part}},
		Parts: []conv.Sent{{ID: "m_2", By: message.ByBot, Part: part, Turn: "t_1", Rule: "r"}}})
	s.do(customer, conv.Receive{ID: "m_3", In: inbound("3", "again")})
	s.do(bot, conv.StartTurn{ID: "t_2"})
	s.do(system, conv.Divert{Handoff: conv.Handoff{Rule: "r", Reason: "why", Queue: "care", Priority: 7, Skills: []string{"x"}, InFlight: []string{"m_2"}}, Position: 4})
	s.do(bot, conv.DiscardTurn{Turn: "t_2", Reason: "owner_changed", Answer: []message.Part{part}})
	s.do(system, conv.Hold{ID: "m_4", In: full, Reason: "spam"}, conv.Hold{ID: "m_5", In: full})
	s.do(ann, conv.Review{Receive: conv.Receive{ID: "m_4", In: full, Rules: 4}}, conv.Review{Receive: conv.Receive{ID: "m_5"}, Reject: true})
	s.do(system, conv.MakeOffer{Agent: "ben", Until: later})
	s.do(ben, conv.EndOffer{Agent: "ben", Declined: true})
	s.do(system, conv.MakeOffer{Agent: "ann", Until: later}, conv.EndOffer{Agent: "ann"}, conv.MakeOffer{Agent: "ann", Until: later})
	s.do(ann, conv.Claim{Name: "Ann"}, conv.AddNote{ID: "n_1", Text: canary}, conv.Snooze{Until: later})
	s.do(system, conv.FireTimer{Timer: conv.Timer{Name: conv.TimerSnooze, At: later}}, conv.SetTimer{Timer: conv.Timer{Name: conv.TimerIdle, At: later}})
	s.do(ann, conv.Reply{ID: "m_6", Name: "Ann", Part: part}, conv.Reply{ID: "m_7", Name: "Ann", Part: part, HoldUntil: later})
	s.do(system, conv.FireTimer{Timer: conv.Timer{Name: conv.TimerSend + "m_7", At: later}}, conv.SendHeld{Sent: conv.Sent{ID: "m_7", Name: "Ann", Part: part}})
	s.do(system, conv.SetStatus{ID: "m_7", Status: message.Failed, Code: "131026"}, conv.SetProfile{Profile: *profile}, conv.LinkContact{Contact: "k_1"})
	s.do(ann, conv.Escalate{Queue: "second", Priority: 9})
	s.do(supervisor, conv.Claim{Name: "Sue"}, conv.Reply{ID: "m_8", Name: "Sue", Part: part, HoldUntil: later})
	s.do(system, conv.Say{Sent: conv.Sent{ID: "m_9", Rating: true, Rule: "csat"}})
	s.do(supervisor, conv.Resolve{})
	s.do(ann, conv.AddNote{ID: "n_2", Text: canary})
	s.do(customer, conv.Reopen{Queue: "care"})
	s.do(system, conv.Capture{Queue: "care"}, conv.Uncapture{Position: 1}, conv.Wipe{})
	return s
}

// TestEncoding checks that every event survives the way to the store and back, and that what this build writes is what
// the logs of earlier builds hold.
func TestEncoding(t *testing.T) {
	s := life(t)
	seen := map[conv.Type]bool{}
	var log bytes.Buffer
	for _, e := range s.events {
		seen[e.Type] = true
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		log.Write(append(b, '\n'))
		back, err := conv.Decode(b)
		if err != nil {
			t.Fatalf("decoding %s: %v", b, err)
		}
		if !reflect.DeepEqual(back, e) {
			t.Errorf("%s came back as\n%+v\nit was\n%+v", e.Type, back.Data, e.Data)
		}
	}
	for _, typ := range allTypes {
		if !seen[typ] {
			t.Errorf("no %s among the events", typ)
		}
	}
	golden := filepath.Join("testdata", "log.jsonl")
	if *update {
		if err := os.WriteFile(golden, log.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range storedLog(t) {
		if got, _, _ := strings.Cut(log.String(), "\n"); got != string(want) {
			t.Fatalf("event %d is written as\n%s\nlogs hold\n%s", i+1, got, want)
		}
		log.Next(len(want) + 1)
	}
	if log.Len() != 0 {
		t.Errorf("%s ends before\n%s", golden, log.String())
	}
}

// TestStoredLog checks that a log folds to the state that wrote it, and that version 0 is still read. The state's version is
// that of the event that opened the conversation, whichever build folds the log.
func TestStoredLog(t *testing.T) {
	written := asJSON(t, life(t).state)
	for _, version := range []string{`{"v":1,`, `{"v":0,`} {
		want := strings.Replace(written, `{"v":1,`, version, 1)
		var s conv.State
		for i, b := range storedLog(t) {
			e, err := conv.Decode(bytes.Replace(b, []byte(`{"v":1,`), []byte(version), 1))
			if err != nil {
				t.Fatalf("event %d: %v", i+1, err)
			}
			if err := s.Fold(e); err != nil {
				t.Fatal(err)
			}
		}
		if got := asJSON(t, s); got != want {
			t.Errorf("the log of events %s folds to\n%s\nwant\n%s", version, got, want)
		}
	}
}

// TestFormat: a build of the next version reads this one and its own, and writes either.
func TestFormat(t *testing.T) {
	l := life(t)
	next := conv.Format(conv.Version + 1)
	events, state := conv.Written(l.events, &l.state, next.Newest())
	if l.events[0].V != conv.Version || l.state.V != conv.Version || state.V != next.Newest() {
		t.Errorf("writing it anew changed what was there, or not the state: %d, %d, %d", l.events[0].V, l.state.V, state.V)
	}
	var folded conv.State
	for i := range events {
		b, err := events[i].Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conv.Decode(b); !errors.Is(err, conv.ErrEncoding) {
			t.Errorf("this build reads the next version: %v", err)
		}
		e, err := next.DecodeLogged(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := folded.Fold(e); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := asJSON(t, folded), asJSON(t, *state); got != want {
		t.Errorf("it folds to\n%s\nwant\n%s", got, want)
	}
	if same, s := conv.Written(l.events, &l.state, conv.Version); &same[0] != &l.events[0] || s != &l.state {
		t.Error("what is of the version already was copied")
	}
	for v, want := range map[int]bool{conv.Version - 1: false, conv.Version: true, conv.Version + 1: true, conv.Version + 2: false} {
		if next.Reads(v) != want {
			t.Errorf("the next version reads %d: %v", v, !want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const rest = `"seq":1,"at":1,"epoch":{"n":1,"op":"o"},"op":"o","actor":{"kind":"system"}`
	for name, b := range map[string]string{
		"next version":     `{"v":2,"type":"note.added",` + rest + `,"data":{}}`,
		"negative version": `{"v":-1,"type":"note.added",` + rest + `,"data":{}}`,
		"unknown type":     `{"v":1,"type":"note.read",` + rest + `,"data":{}}`,
		"no type":          `{"v":1,` + rest + `,"data":{}}`,
		"no data":          `{"v":1,"type":"note.added",` + rest + `}`,
		"data of a list":   `{"v":1,"type":"note.added",` + rest + `,"data":[]}`,
		"wrong field":      `{"v":1,"type":"note.added",` + rest + `,"data":{"note":1}}`,
		"negative seq":     `{"v":1,"type":"note.added","seq":-1,"data":{}}`,
		"cut off":          `{"v":1,"type":"note.added",` + rest,
		"followed":         `{"v":1,"type":"note.added",` + rest + `,"data":{}}{}`,
		"nothing":          ``,
		"no object":        `7`,
	} {
		if e, err := conv.Decode([]byte(b)); !errors.Is(err, conv.ErrEncoding) {
			t.Errorf("%s: %v, decoded as %+v", name, err, e)
		}
	}
}

// TestDecodeOwnsNothing checks that an event outlives the buffer that it was read from.
func TestDecodeOwnsNothing(t *testing.T) {
	for _, b := range storedLog(t) {
		buffer := bytes.Clone(b)
		e, err := conv.Decode(buffer)
		if err != nil {
			t.Fatal(err)
		}
		for i := range buffer {
			buffer[i] = 'x'
		}
		if got, err := e.Encode(); err != nil || !bytes.Equal(got, b) {
			t.Errorf("after its buffer was used again an event is\n%s (%v)\nit was\n%s", got, err, b)
		}
	}
}

// TestFoldRefuses checks that a fold takes nothing but the next event and is unchanged by what it refuses.
func TestFoldRefuses(t *testing.T) {
	s := newScript(t)
	s.do(customer, conv.Open{ID: "c_1", From: address}, conv.Receive{ID: "m_1", In: inbound("1", "a")}, conv.SetStatus{ID: "m_1", Status: message.Read})
	before := asJSON(t, s.state)
	received := conv.Event{V: 1, Seq: 4, VSeq: 2, Type: conv.MessageReceived, Data: &conv.Received{ID: "m_2"}}
	note := conv.Event{V: 1, Seq: 4, Type: conv.NoteAdded, Data: &conv.Note{ID: "n_1", Note: canary}}
	for name, e := range map[string]conv.Event{
		"the same again":       s.events[2],
		"a gap":                {V: 1, Seq: 5, Type: note.Type, Data: note.Data},
		"no visible sequence":  {V: 1, Seq: 4, Type: received.Type, Data: received.Data},
		"a visible gap":        {V: 1, Seq: 4, VSeq: 3, Type: received.Type, Data: received.Data},
		"a visible repetition": {V: 1, Seq: 4, VSeq: 1, Type: received.Type, Data: received.Data},
		"a note that is seen":  {V: 1, Seq: 4, VSeq: 2, Type: note.Type, Data: note.Data},
		"a receipt that is seen": {V: 1, Seq: 4, VSeq: 2, Type: conv.MessageStatus,
			Data: &conv.StatusChanged{ID: "m_1", Status: message.Delivered}},
	} {
		if err := s.state.Fold(e); err == nil {
			t.Errorf("%s was folded", name)
		}
		if got := asJSON(t, s.state); got != before {
			t.Fatalf("%s: refused, but the state became\n%s", name, got)
		}
	}
	for _, e := range []conv.Event{received, {V: 1, Seq: 5, Type: note.Type, Data: note.Data}} {
		if err := s.state.Fold(e); err != nil {
			t.Error(err)
		}
	}
}

// FuzzDecode checks that whatever is taken for an event is one: it encodes to a form that stays, folds and shows itself
// without a panic, is written as encoding/json writes it, and gives no note away.
func FuzzDecode(f *testing.F) {
	for _, b := range storedLog(f) {
		f.Add(b)
	}
	f.Add([]byte(`{"v":0,"type":"turn.failed","seq":1,"data":{"final":true}}`))
	f.Add([]byte(`{"v":1,"type":"decision.made","data":{"phase":"answer","inputs":[ 1 ,"<\u2028"]}}`))
	f.Add([]byte(`{"v":1,"type":"note.added","vseq":1,"data":{"note":"\ud800"}}`))
	f.Add([]byte(`{"V":1,"TYPE":"owner.changed","data":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := conv.Decode(b)
		if err != nil {
			if !errors.Is(err, conv.ErrEncoding) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		first, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if diff := difference(&e, e.Append); diff != "" {
			t.Fatal(diff)
		}
		back, err := conv.Decode(first)
		if err != nil {
			t.Fatalf("decoding what was encoded: %v\n%s", err, first)
		}
		if second, err := back.Encode(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("encoded as\n%s\nand then as\n%s (%v)", first, second, err)
		}
		s := conv.State{Seq: e.Seq - 1}
		if e.VSeq != 0 {
			s.VSeq = e.VSeq - 1
		}
		folded := s.Fold(e) == nil
		if _, seen := e.Visible("c_1"); seen && (e.Type == conv.NoteAdded || !folded && e.VSeq == 0) {
			t.Fatalf("a customer sees %s", first)
		}
	})
}

func storedLog(t testing.TB) [][]byte {
	b, err := os.ReadFile(filepath.Join("testdata", "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	for scanner := bufio.NewScanner(bytes.NewReader(b)); scanner.Scan(); {
		lines = append(lines, bytes.Clone(scanner.Bytes()))
	}
	return lines
}
