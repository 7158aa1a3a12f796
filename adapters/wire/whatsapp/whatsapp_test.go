package whatsapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSignature(t *testing.T) {
	for _, v := range []struct{ secret, body, want string }{
		{"secret", "test", "0329a06b62cd16b33eb6792be8c60b158d89a2ee3a876fce9a881ebb488c0914"},
		{"app-secret-1", `{"object":"whatsapp_business_account","entry":[]}`, "0ca28c0f1996234eb6829e59ad3c11a18161f6eb043943d601e420c312432cdf"},
	} {
		if got := Sign([]byte(v.secret), []byte(v.body)); got != "sha256="+v.want {
			t.Errorf("%s: %s", v.body, got)
		}
	}
	body, now, before := []byte(`{"a":"\u00e9"}`), []byte("now"), []byte("before")
	good := Sign(now, body)
	for name, c := range map[string]struct {
		header string
		body   string
		want   bool
	}{
		"as it should be":       {good, string(body), true},
		"by the one before":     {Sign(before, body), string(body), true},
		"by another":            {Sign([]byte("other"), body), string(body), false},
		"another spelling":      {good, `{"a":"é"}`, false},
		"missing":               {"", string(body), false},
		"without its algorithm": {strings.TrimPrefix(good, "sha256="), string(body), false},
		"another algorithm":     {"sha512=" + strings.TrimPrefix(good, "sha256="), string(body), false},
		"cut":                   {good[:40], string(body), false},
		"longer":                {good + "0", string(body), false},
		"no hex":                {good[:70] + "g", string(body), false},
	} {
		if got := Verify([]byte(c.header), []byte(c.body), now, before); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if Verify([]byte(Sign(nil, body)), body) {
		t.Error("without a secret something was signed")
	}
}

func TestSubscribe(t *testing.T) {
	for name, c := range map[string]struct {
		mode, token, want string
		ok                bool
	}{
		"as it should be": {"subscribe", "tok", "tok", true},
		"another token":   {"subscribe", "tok2", "tok", false},
		"another mode":    {"unsubscribe", "tok", "tok", false},
		"nothing is set":  {"subscribe", "", "", false},
	} {
		got, ok := Subscribe([]byte(c.mode), []byte(c.token), []byte("1158201444"), c.want)
		if ok != c.ok || ok && string(got) != "1158201444" {
			t.Errorf("%s: %q, %t", name, got, ok)
		}
	}
}

// TestShapes reads one webhook of every shape, from testdata/shapes, and compares what was read with the file beside it.
func TestShapes(t *testing.T) {
	files, err := filepath.Glob("testdata/shapes/*.json")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var shape struct{ Webhook, Read json.RawMessage }
		if err := json.Unmarshal(raw, &shape); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		updates, err := Decode(shape.Webhook)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		got, err := json.Marshal(told(updates))
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(got, &a) != nil || json.Unmarshal(shape.Read, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s was read as\n%s", file, got)
		}
	}
}

// told is what was read, without what is empty.
func told(updates []Update) (out []any) {
	for _, u := range updates {
		m := map[string]any{"field": u.Field, "number": u.Number}
		if u.Broken != nil {
			m["broken"] = u.Broken.Error()
		}
		for name, v := range map[string]any{"message": u.Message, "echo": u.Echo, "status": u.Status, "failure": u.Failure} {
			if r := reflect.ValueOf(v); !r.IsNil() {
				m[name] = full(r.Elem())
			}
		}
		out = append(out, m)
	}
	return out
}

func full(v reflect.Value) any {
	if at, ok := v.Interface().(time.Time); ok {
		return at.Format(time.RFC3339Nano)
	}
	if raw, ok := v.Interface().(json.RawMessage); ok {
		return string(raw)
	}
	switch v.Kind() {
	case reflect.Pointer:
		return full(v.Elem())
	case reflect.Struct:
		m := map[string]any{}
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				m[v.Type().Field(i).Name] = full(v.Field(i))
			}
		}
		return m
	case reflect.Slice:
		var list []any
		for i := range v.Len() {
			list = append(list, full(v.Index(i)))
		}
		return list
	}
	return v.Interface()
}

const frame = `{"object":"whatsapp_business_account","entry":[{"id":"9","changes":[{"field":"messages","value":{
	"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550100","phone_number_id":"1000001"},%s}}]}]}`

// What is wrong with one element is no other's business, whatever it is and at whichever level.
func TestNeighbours(t *testing.T) {
	good := func(n int) string {
		return fmt.Sprintf(`{"from":"15550101","id":"wamid.%d","timestamp":"1760000000","type":"text","text":{"body":"hi"}}`, n)
	}
	bad := []string{`null`, `1`, `"x"`, `[]`, `{}`, `{"id":"wamid.x"}`, `{"id":"","from":"15550101"}`, `{"id":{},"from":"15550101"}`,
		`{"id":"wamid.x","from":null}`, `{"id":"wamid.x","from":"15550101","type":5}`}
	for _, b := range bad {
		updates, err := Decode(fmt.Appendf(nil, frame, `"messages":[`+good(1)+","+b+","+good(2)+`]`))
		if err != nil || len(updates) != 3 || updates[0].Message == nil || updates[2].Message == nil || updates[2].Message.ID != "wamid.2" ||
			updates[1].Broken == nil || string(updates[1].Raw) != b || updates[1].Number != "1000001" {
			t.Errorf("%s: %+v, %v", b, updates, err)
		}
	}
	// Content of another form than its type's leaves the message: an id and a sender are enough to answer it.
	for _, odd := range []string{`"text":[]`, `"text":null`, `"context":7`, `"referral":[1]`, `"errors":[{"code":"x"}]`, `"timestamp":"soon"`, `"timestamp":{}`} {
		updates, err := Decode(fmt.Appendf(nil, frame, `"messages":[{"from":"15550101","id":"wamid.1","type":"text",`+odd+`}]`))
		if err != nil || len(updates) != 1 || updates[0].Message == nil {
			t.Errorf("%s: %+v, %v", odd, updates, err)
		}
	}
	whole := func(entries string) string { return `{"object":"whatsapp_business_account","entry":[` + entries + `]}` }
	entry := fmt.Sprintf(frame, `"messages":[`+good(1)+`]`)
	entry = entry[strings.Index(entry, "[")+1 : len(entry)-2]
	for _, b := range []string{`1`, `{"changes":5}`, `{"id":"1","changes":[7]}`, `{"id":"1","changes":[{"field":"messages","value":[]}]}`, `{"id":"1","changes":[{"field":"messages","value":{}}]}`} {
		updates, err := Decode([]byte(whole(entry + "," + b + "," + entry)))
		if err != nil || len(updates) != 3 || updates[0].Message == nil || updates[1].Broken == nil || updates[2].Message == nil {
			t.Errorf("%s: %+v, %v", b, updates, err)
		}
	}
	for _, b := range []string{``, `null`, `[]`, `{}`, `{"entry":{}}`, `{"entry":[`, "\xff", strings.Repeat("[", 20_000)} {
		if updates, err := Decode([]byte(b)); !errors.Is(err, ErrEnvelope) || updates != nil {
			t.Errorf("%q: %+v, %v", b, updates, err)
		}
	}
}

func TestBound(t *testing.T) {
	list := strings.TrimSuffix(strings.Repeat(`{"id":"s","status":"sent"},`, MaxUpdates+50), ",")
	updates, err := Decode(fmt.Appendf(nil, frame, `"statuses":[`+list+`]`))
	if err != nil || len(updates) != MaxUpdates+1 || !errors.Is(updates[MaxUpdates].Broken, errTooMany) {
		t.Errorf("%d updates, %v", len(updates), err)
	}
}

func TestEncode(t *testing.T) {
	to := Identity{Phone: "15550101", User: "US.77"}
	long := strings.Repeat("x", 5000)
	for want, s := range map[string]Send{
		`{"messaging_product":"whatsapp","preview":0,"recipient_type":"individual","text":{"body":"hi","preview_url":false},"to":"15550101","type":"text"}`: {To: to, Text: "hi"},
		`{"messaging_product":"whatsapp","recipient":"US.77","recipient_type":"individual","text":{"body":"hi","preview_url":false},"type":"text"}`: {
			To: Identity{User: "US.77"}, Text: "hi"},
		`{"biz_opaque_callback_data":"m_1","context":{"message_id":"wamid.1"},"image":{"caption":"look","id":"M1"},"messaging_product":"whatsapp","recipient_type":"individual","to":"15550101","type":"image"}`: {
			To: to, Answers: "wamid.1", Opaque: "m_1", Media: &SendMedia{Kind: "image", ID: "M1", Caption: "look"}},
		`{"document":{"filename":"a.pdf","link":"https://x.example/a"},"messaging_product":"whatsapp","recipient_type":"individual","to":"15550101","type":"document"}`: {
			To: to, Media: &SendMedia{Kind: "document", Link: "https://x.example/a", Filename: "a.pdf"}},
		`{"interactive":{"action":{"buttons":[{"reply":{"id":"a","title":"A"},"type":"reply"}]},"body":{"text":"Which?"},"type":"button"},"messaging_product":"whatsapp","recipient_type":"individual","to":"15550101","type":"interactive"}`: {
			To: to, Buttons: &Buttons{"Which?", []Offer{{ID: "a", Title: "A"}}}},
		`{"interactive":{"action":{"button":"Choose","sections":[{"rows":[{"description":"d","id":"a","title":"A"}]}]},"body":{"text":"Which?"},"type":"list"},"messaging_product":"whatsapp","recipient_type":"individual","to":"15550101","type":"interactive"}`: {
			To: to, List: &List{"Which?", "Choose", []Offer{{"a", "A", "d"}}}},
		`{"interactive":{"action":{"name":"cta_url","parameters":{"display_text":"Open","url":"https://x.example/"}},"body":{"text":"Here"},"type":"cta_url"},"messaging_product":"whatsapp","recipient_type":"individual","to":"15550101","type":"interactive"}`: {
			To: to, Link: &Link{"Here", "Open", "https://x.example/"}},
		`{"messaging_product":"whatsapp","recipient_type":"individual","template":{"components":[{"parameters":[{"text":"42","type":"text"}],"type":"body"},{"index":"0","parameters":[{"payload":"P","type":"payload"}],"sub_type":"quick_reply","type":"button"}],"language":{"code":"en_US"},"name":"t1"},"to":"15550101","type":"template"}`: {
			To: to, Template: &Template{"t1", "en_US", []string{"42"}, []string{"P"}}},
	} {
		want = strings.Replace(want, `"preview":0,`, "", 1)
		if got, err := s.Encode(); err != nil || string(got) != want {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
	}
	offers := func(n int) (out []Offer) {
		for i := range n {
			out = append(out, Offer{ID: fmt.Sprint(i), Title: "x"})
		}
		return out
	}
	for name, s := range map[string]Send{
		"nobody": {Text: "hi"}, "nothing": {To: to}, "two things": {To: to, Text: "x", Link: &Link{"x", "x", "x"}},
		"long text": {To: to, Text: long}, "no UTF-8": {To: to, Text: "\xff"},
		"astral":       {To: to, Text: strings.Repeat("😀", MaxText/2+1)},
		"four buttons": {To: to, Buttons: &Buttons{"x", offers(4)}}, "no buttons": {To: to, Buttons: &Buttons{"x", nil}},
		"long title": {To: to, Buttons: &Buttons{"x", []Offer{{ID: "1", Title: long}}}}, "no id": {To: to, Buttons: &Buttons{"x", []Offer{{Title: "x"}}}},
		"long body": {To: to, Buttons: &Buttons{long, offers(1)}}, "eleven rows": {To: to, List: &List{"x", "x", offers(11)}},
		"long detail": {To: to, List: &List{"x", "x", []Offer{{"1", "x", long}}}}, "no button": {To: to, List: &List{"x", "", offers(1)}},
		"caption of a voice": {To: to, Media: &SendMedia{Kind: "audio", ID: "1", Caption: "x"}}, "no file": {To: to, Media: &SendMedia{Kind: "image"}},
		"kind": {To: to, Media: &SendMedia{Kind: "smell", ID: "1"}}, "long caption": {To: to, Media: &SendMedia{Kind: "image", ID: "1", Caption: long}},
		"template": {To: to, Template: &Template{Name: "x"}},
	} {
		if got, err := s.Encode(); !errors.Is(err, ErrSend) || got != nil || strings.Contains(err.Error(), "xxx") {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if got := string(EncodeRead("wamid.1", true)); got != `{"message_id":"wamid.1","messaging_product":"whatsapp","status":"read","typing_indicator":{"type":"text"}}` {
		t.Error(got)
	}
}

func TestAnswers(t *testing.T) {
	sent, err := DecodeSent([]byte(`{"messaging_product":"whatsapp","contacts":[{"input":"5511987654321","wa_id":"551187654321"}],"messages":[{"id":"wamid.OUT1","message_status":"accepted"}]}`))
	if err != nil || sent != (Sent{ID: "wamid.OUT1", Recipient: Identity{Phone: "5511987654321", WaID: "551187654321"}}) {
		t.Errorf("%+v, %v", sent, err)
	}
	if sent, err := DecodeSent([]byte(`{"contacts":[{"input":"US.77","user_id":"US.77"}],"messages":[{"id":"w","message_status":"paused"}]}`)); err != nil || sent.Held != "paused" || sent.Recipient.User != "US.77" {
		t.Errorf("%+v, %v", sent, err)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"messages":[]}`, `{"messages":[{}]}`, `{"success":true}`} {
		if _, err := DecodeSent([]byte(bad)); !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: %v", bad, err)
		}
		if _, err := DecodeFile([]byte(bad)); !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: %v", bad, err)
		}
		if _, err := DecodeUpload([]byte(bad)); !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	file, err := DecodeFile([]byte(`{"messaging_product":"whatsapp","url":"https://lookaside.example/x","mime_type":"image/jpeg","sha256":"ab","file_size":"303833","id":"2"}`))
	if err != nil || file != (File{"https://lookaside.example/x", "image/jpeg", "ab", 303833}) {
		t.Errorf("%+v, %v", file, err)
	}
	if id, err := DecodeUpload([]byte(`{"id":42}`)); err != nil || id != "42" {
		t.Errorf("%s, %v", id, err)
	}
}

func TestErrors(t *testing.T) {
	body := func(code string) []byte {
		return []byte(`{"error":{"message":"(#1) to 15550101","type":"OAuthException","code":` + code + `,"error_data":{"details":"about 15550101"},"error_subcode":2494055,"fbtrace_id":"A1"}}`)
	}
	for _, c := range []struct {
		status int
		code   string
		want   Class
	}{
		{400, "131056", ClassPair}, {429, "130429", ClassPace}, {400, "80007", ClassPace}, {400, "131047", ClassWindow}, {400, "470", ClassWindow},
		{500, "131000", ClassRetry}, {400, "131026", ClassRecipient}, {400, "100", ClassContent}, {401, "190", ClassAccount}, {401, "0", ClassAccount},
		{403, "230", ClassAccount}, {400, "131042", ClassAccount}, {503, "999999", ClassRetry}, {429, "999999", ClassPace}, {400, "999999", ClassContent},
		{404, "999999", ClassAccount}, {408, "999999", ClassRetry}, {400, `"131047"`, ClassWindow},
	} {
		e := DecodeError(c.status, body(c.code))
		if e.Class() != c.want || strings.Contains(e.Error(), "1555") || e.Trace != "A1" || e.Subcode != 2494055 {
			t.Errorf("%d %s: %+v is %s", c.status, c.code, e, e.Class())
		}
	}
	for _, odd := range []string{"", "<html>", "{}", `{"error":"no"}`, `{"error":{}}`, `{"error":{"code":"x"}}`} {
		if e := DecodeError(502, []byte(odd)); e.Code != -1 || e.Class() != ClassRetry || e.Error() != "the platform answered status 502" {
			t.Errorf("%s: %+v", odd, e)
		}
	}
	for n, want := range map[int]time.Duration{0: time.Second, 1: 4 * time.Second, 3: 64 * time.Second, 5: maxPair, 5000: maxPair} {
		if got := PairWait(n); got != want {
			t.Errorf("after %d: %v", n, got)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want []string
	}{
		{"", 5, nil}, {" \n ", 5, nil}, {"short", 5, []string{"short"}},
		{"one two three", 8, []string{"one two", "three"}},
		{"First. Second one.", 12, []string{"First.", "Second one."}},
		{"a paragraph\n\nanother one here", 20, []string{"a paragraph", "another one here"}},
		{"a line here\nand another", 16, []string{"a line here", "and another"}},
		{"xxxxxxxxxxxx", 5, []string{"xxxxx", "xxxxx", "xx"}},
		{"👩‍👩‍👧👩‍👩‍👧", 10, []string{"👩‍👩‍👧", "👩‍👩‍👧"}}, // 8 units each
		{"e\u0301e\u0301e\u0301", 3, []string{"e\u0301", "e\u0301", "e\u0301"}},
		{"e" + strings.Repeat("\u0301", 9), 4, []string{"e\u0301\u0301\u0301", "\u0301\u0301\u0301\u0301", "\u0301\u0301"}},
		{"今日は良い天気です。散歩に行きます。", 10, []string{"今日は良い天気です。", "散歩に行きます。"}},
	} {
		if got := Split(c.text, c.most); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q in %d: %q", c.text, c.most, got)
		}
	}
	if got := Shorten("A rather long title", 10); got != "A rather…" {
		t.Errorf("%q", got)
	}
	if got := Shorten("fits", 4); got != "fits" {
		t.Errorf("%q", got)
	}
}
