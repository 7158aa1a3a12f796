package whatsapp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
)

// graph is a server in the place of the Graph API that takes sends, and files.
type graph struct {
	*httptest.Server
	mu     sync.Mutex
	sends  []sent
	bodies []string // of the sends, raw
	reads  []object
	files  map[string]string // uploads
	fails  map[int]string    // by the number of the send from 1: the code of an error
	lookup http.HandlerFunc  // everything else
}

func newGraph(t *testing.T) *graph {
	t.Helper()
	g := &graph{files: map[string]string{}, fails: map[int]string{}, lookup: http.NotFound}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

func (g *graph) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+adaptertest.SecretOf("env:TOKEN") {
		http.Error(w, "{}", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case err != nil:
		http.Error(w, "{}", http.StatusBadRequest)
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/"+number+"/media"):
		_, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		form, err := multipart.NewReader(strings.NewReader(string(body)), params["boundary"]).ReadForm(1 << 20)
		if err != nil || form.Value["messaging_product"][0] != "whatsapp" || form.Value["type"][0] != form.File["file"][0].Header.Get("Content-Type") {
			http.Error(w, "{}", http.StatusBadRequest)
			return
		}
		f, _ := form.File["file"][0].Open()
		data, _ := io.ReadAll(f)
		id := fmt.Sprint("M", len(g.files)+1)
		g.files[id] = form.File["file"][0].Filename + ": " + string(data)
		_, _ = io.WriteString(w, `{"id":"`+id+`"}`)
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/"+number+"/messages"):
		var read object
		if json.Unmarshal(body, &read) == nil && read["status"] == "read" {
			g.reads = append(g.reads, read)
			_, _ = io.WriteString(w, `{"success":true}`)
			return
		}
		var m sent
		if json.Unmarshal(body, &m) != nil {
			http.Error(w, "{}", http.StatusBadRequest)
			return
		}
		g.sends, g.bodies = append(g.sends, m), append(g.bodies, string(body))
		if code := g.fails[len(g.sends)]; code != "" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":{"message":"(#1) `+adaptertest.CanaryText+`","code":`+code+`}}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"messaging_product":"whatsapp","contacts":[{"input":%q,"wa_id":%q}],"messages":[{"id":"wamid.%d"}]}`, m.To, m.To, len(g.sends))
	default:
		g.lookup(w, r)
	}
}

func (g *graph) build(t *testing.T, extra string) (*adaptertest.Kit, adapters.Sender) {
	t.Helper()
	k := adaptertest.New(t, "acme.test")
	section := strings.Replace(string(spec(g.URL)), "person_button: false\n", "", 1) + extra
	ch, err := build(adaptertest.YAML(section), k.Deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ch.Close() })
	return k, ch.(adapters.Sender)
}

func outbound(p message.Part) message.Outbound {
	return message.Outbound{ID: "m_1", To: message.Address{Channel: "acme.test", Address: "+15550101"}, By: message.ByBot, Part: p, Attempt: 1}
}

// shown is a send in a line.
func shown(m sent) string {
	switch {
	case m.Inter == nil && m.Type == "text":
		return fmt.Sprintf("text %d", len(m.Text.Body))
	case m.Inter != nil && m.Inter.Type == "button":
		s := "buttons " + m.Inter.Body.Text
		for _, b := range m.Inter.Action.Buttons {
			s += " [" + b.Reply.Title + "]"
		}
		return s
	case m.Inter != nil:
		s := "list " + m.Inter.Body.Text + " <" + m.Inter.Action.Button + ">"
		for _, r := range m.Inter.Action.Sections[0].Rows {
			s += " [" + r.Title + "|" + r.Description + "]"
		}
		return s
	}
	return fmt.Sprint(m.Type, m.Image, m.Document)
}

func choices(n int, label string) (out []message.Choice) {
	for i := range n {
		out = append(out, message.Choice{ID: fmt.Sprint("c", i), Label: fmt.Sprint(label, i)})
	}
	return out
}

func TestParts(t *testing.T) {
	long := strings.Repeat("word ", 1000) + "end" // 5003
	for name, c := range map[string]struct {
		part message.Part
		by   message.By
		want []string
	}{
		"a bot's text offers a person":    {message.Part{Text: "Hello"}, message.ByBot, []string{"buttons Hello [Talk to a person]"}},
		"in its language":                 {message.Part{Text: "Hallo", Lang: "de-AT"}, message.ByBot, []string{"buttons Hallo [Mit Mensch sprechen]"}},
		"an agent's does not":             {message.Part{Text: "Hello"}, message.ByAgent, []string{"text 5"}},
		"choices":                         {message.Part{Text: "Which?", Choices: choices(2, "Nr ")}, message.ByBot, []string{"buttons Which? [Nr 0] [Nr 1] [Talk to a person]"}},
		"more than three are a list":      {message.Part{Text: "Which?", Choices: choices(3, "Nr ")}, message.ByBot, []string{"list Which? <Choose> [Nr 0|] [Nr 1|] [Nr 2|] [Talk to a person|]"}},
		"long ones are a list":            {message.Part{Text: "?", Choices: choices(1, "Send the teapot back to the shop ")}, message.ByAgent, []string{"list ? <Choose> [Send the teapot back to…|Send the teapot back to the shop 0]"}},
		"ten leave no room for a person":  {message.Part{Text: "?", Choices: choices(10, "x")}, message.ByBot, []string{"list ? <Choose> [x0|] [x1|] [x2|] [x3|] [x4|] [x5|] [x6|] [x7|] [x8|] [x9|]"}},
		"eleven are written down":         {message.Part{Text: "?", Choices: choices(11, "x")}, message.ByBot, []string{fmt.Sprintf("text %d", len("?")+9*len("\n1. x0")+len("\n10. x9")+len("\n11. x10"))}},
		"choices without a text":          {message.Part{Choices: choices(1, "x")}, message.ByAgent, []string{"buttons … [x0]"}},
		"a long text is several messages": {message.Part{Text: long}, message.ByBot, []string{"text 4094", "text 908"}},
		"a link":                          {message.Part{Text: "See", Link: "https://x.example/a"}, message.ByAgent, []string{"text 23"}},
	} {
		g := newGraph(t)
		_, sender := g.build(t, "")
		out := outbound(c.part)
		out.By = c.by
		r, err := sender.Send(t.Context(), out)
		var got []string
		for _, m := range g.sends {
			if m.To != "15550101" || m.Opaque != "m_1" {
				t.Errorf("%s: %+v", name, m)
			}
			got = append(got, shown(m))
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) || r.ProviderID != fmt.Sprint("wamid.", len(got)) {
			t.Errorf("%s: %q, %+v, %v", name, got, r, err)
		}
	}
}

// A part that fails in its middle goes on there: nobody reads its beginning twice.
func TestPartGoesOn(t *testing.T) {
	g := newGraph(t)
	g.fails[2] = "131000"
	k, sender := g.build(t, "")
	out := outbound(message.Part{Text: strings.Repeat("word ", 2000)})
	_, err := sender.Send(t.Context(), out)
	var e *adapters.SendError
	if !errors.As(err, &e) || e.Class != adapters.SendRetry || e.Uncertain || e.Code != "131000" {
		t.Fatalf("%+v", err)
	}
	k.AssertQuiet(t, err.Error())
	out.Attempt = 2
	if r, err := sender.Send(t.Context(), out); err != nil || r.ProviderID != "wamid.4" {
		t.Fatalf("%+v, %v", r, err)
	}
	if len(g.sends) != 4 || g.sends[1].Text.Body != g.sends[2].Text.Body || g.sends[0].Text.Body != g.sends[3].Text.Body && false {
		t.Fatalf("%d sends", len(g.sends))
	}
	// The same part again, as after a dead letter is replayed, is whole.
	if _, err := sender.Send(t.Context(), out); err != nil || len(g.sends) != 7 {
		t.Errorf("%d sends, %v", len(g.sends), err)
	}
}

func TestSendErrors(t *testing.T) {
	for code, want := range map[string]adapters.SendError{
		"131047": {Class: adapters.SendWindow}, "131026": {Class: adapters.SendPermanent}, "190": {Class: adapters.SendOperator},
		"130429": {Class: adapters.SendRetry, Channel: true, RetryAfter: 5e9}, "131056": {Class: adapters.SendRetry, RetryAfter: 4e9}, "100": {Class: adapters.SendPermanent},
	} {
		g := newGraph(t)
		g.fails[1] = code
		k, sender := g.build(t, "")
		_, err := sender.Send(t.Context(), outbound(message.Part{Text: adaptertest.CanaryText}))
		var e *adapters.SendError
		if !errors.As(err, &e) || e.Code != code || e.Class != want.Class || e.Channel != want.Channel || e.RetryAfter != want.RetryAfter || e.Uncertain {
			t.Errorf("%s: %+v", code, err)
		}
		k.AssertQuiet(t, err.Error(), "15550101")
	}
}

func TestFilesGoOut(t *testing.T) {
	g := newGraph(t)
	k, sender := g.build(t, "")
	to := outbound(message.Part{}).To
	put := func(name, data string) message.Attachment {
		a, err := k.Deps.Blobs.Put(t.Context(), to, name, strings.NewReader(data), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	one := put(`bi"ll.txt`, "one teapot")
	if _, err := sender.Send(t.Context(), outbound(message.Part{Text: "Your bill", Attachments: []message.Attachment{one}})); err != nil {
		t.Fatal(err)
	}
	if len(g.sends) != 1 || g.sends[0].Document["id"] != "M1" || g.sends[0].Document["caption"] != "Your bill" || g.files["M1"] != "bi_ll.txt: one teapot" {
		t.Errorf("%+v, %v", g.sends, g.files)
	}
	// Several files follow their text.
	if _, err := sender.Send(t.Context(), outbound(message.Part{Text: "Two", Attachments: []message.Attachment{one, put("b.txt", "b")}})); err != nil {
		t.Fatal(err)
	}
	if len(g.sends) != 4 || g.sends[1].Type != "interactive" || g.sends[3].Document["id"] != "M3" || g.sends[3].Document["caption"] != nil {
		t.Errorf("%+v", g.sends[1:])
	}
	_, err := sender.Send(t.Context(), outbound(message.Part{Attachments: []message.Attachment{{ID: "a_gone", Name: "x"}}}))
	var e *adapters.SendError
	if !errors.As(err, &e) || e.Code != "no_file" || e.Class == adapters.SendRetry {
		t.Errorf("a file that is gone: %v", err)
	}
}
