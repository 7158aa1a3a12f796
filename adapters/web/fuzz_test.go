package web

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/valyala/fastjson"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
)

func FuzzMessageBody(f *testing.F) {
	for _, s := range append(adaptertest.Junk(),
		`{"id":"1","text":"hi","lang":"pt-BR","wait":false}`, `{"id":"1","action":{"id":"y","label":"Yes"}}`,
		`{"id":"1","attachments":["a_1","a_2"],"text":"caption"}`, `{"id":"1","text":"\ud83d\ude00\\u0000"}`,
	) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p fastjson.Parser
		o, err := parseObject(&p, raw)
		if err != nil {
			mustRefuse(t, err)
			return
		}
		if !json.Valid(raw) {
			t.Fatal("took what is not JSON")
		}
		w, err := readMessage(o, 1000)
		if err != nil {
			mustRefuse(t, err)
			return
		}
		checkWanted(t, w)
		// What is taken means the same to another reader.
		var other struct {
			ID   string
			Text string
		}
		if json.Unmarshal(raw, &other) == nil && strings.Count(string(raw), `"text"`) == 1 && strings.Count(strings.ToLower(string(raw)), `"text"`) == 1 &&
			w.kind == message.Text && !strings.Contains(string(raw), `\`) && normaliseLines(other.Text) != w.text {
			t.Errorf("read %q, another reader %q", w.text, other.Text)
		}
	})
}

func checkWanted(t *testing.T, w wanted) {
	t.Helper()
	if checkID(w.id) != nil || !w.kind.Valid() || !utf8.ValidString(w.text) || len(w.text) > 1000 || strings.ContainsFunc(w.text, control) {
		t.Errorf("took %+v", w)
	}
	if w.kind == message.Text && strings.TrimSpace(w.text) == "" {
		t.Error("took an empty message")
	}
}

// mustRefuse demands an error that a client can act on.
func mustRefuse(t *testing.T, err error) {
	t.Helper()
	var refused *adapters.RefusedError
	if !errors.As(err, &refused) || refused.Detail == "" {
		t.Errorf("%v is no refusal", err)
	}
}

func FuzzSocketFrame(f *testing.F) {
	for _, s := range append(adaptertest.Junk(),
		`{"type":"hello","token":"x.y","after":"c_1.3"}`, `{"type":"message","id":"1","text":"hi"}`, `{"type":"human","id":"h"}`,
		`{"type":"typing","on":false}`, `{"type":"read","cursor":"c_1.7"}`, `{"type":"ping"}`, `{"type":"\u0000"}`,
	) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p fastjson.Parser
		frame, err := readFrame(&p, raw, 1000)
		if frame.id != "" && checkID(frame.id) != nil {
			t.Errorf("would repeat the id %q", frame.id)
		}
		if err != nil {
			mustRefuse(t, err)
			return
		}
		switch frame.kind {
		case frameMessage:
			checkWanted(t, frame.wanted)
		case frameRead:
			if _, _, ok := parseCursor(frame.cursor); !ok {
				t.Errorf("took the cursor %q", frame.cursor)
			}
		}
	})
}

func FuzzToken(f *testing.F) {
	k := adaptertest.New(f, "acme.test")
	known := newTokens(k.Deps)
	tickets := newTickets(k.Deps)
	v := visitor{id: [visitorBytes]byte{1, 2, 3}, expires: adaptertest.Epoch.Add(1e9), lang: "en", subject: "cust-7"}
	good := known.sign(v)
	ticket, _ := tickets.issue(v)
	for _, s := range []string{good, ticket, good + "A", good[1:], strings.Replace(good, ".", "..", 1), ".", "", "AAAA.AAAA"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := known.read([]byte(s))
		if err == nil && (s != good || got.address() != v.address() || got.subject != v.subject || got.lang != v.lang) {
			t.Errorf("%q passes for %+v", s, got)
		}
		if _, err := tickets.redeem(s); err == nil && s != ticket {
			t.Errorf("%q passes as a ticket", s)
		}
	})
}

func FuzzForm(f *testing.F) {
	for _, form := range []url.Values{
		{"do": {"say"}, "text": {"hi\r\n"}, "mark": {"x"}, "id": {"1"}}, {"do": {"human"}, "id": {"1"}}, {"text": {"\xff\x00"}, "id": {"\n"}},
	} {
		f.Add([]byte(form.Encode()))
	}
	f.Add([]byte("text=%&id=%zz&&==&do"))
	k := adaptertest.New(f, "acme.test")
	built, err := New(adaptertest.YAML("limits: {text_bytes: 1000}"), k.Deps)
	if err != nil {
		f.Fatal(err)
	}
	c := built.(*Channel)
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := readForm(body).inbound(c, visitor{})
		if err != nil {
			mustRefuse(t, err)
			return
		}
		if in.Kind == message.Human {
			return
		}
		checkWanted(t, wanted{id: in.ID, kind: in.Kind, text: in.Text})
	})
}

func FuzzFileName(f *testing.F) {
	for _, s := range []string{"a.png", "../../etc/passwd", `C:\x\y.txt`, "..", "\x00", "a\nb", strings.Repeat("ü", 300), "\xff", " "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := cleanName(s)
		if name == "" || len(name) > maxNameBytes || strings.ContainsAny(name, "/\\\n\r\x00") || !utf8.ValidString(name) || name == ".." {
			t.Errorf("%q became %q", s, name)
		}
		if strings.ContainsAny(disposition(s), "\r\n\"") {
			t.Errorf("%q became the header %q", s, disposition(s))
		}
	})
}
