package whatsapp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
	"turnout/adapters/whatsapp"
	wire "turnout/adapters/wire/whatsapp"
)

const number = "1000001"

func spec(graph string) adaptertest.YAML {
	return adaptertest.YAML("connection: meta\nnumber: \"" + number + "\"\ntoken: env:TOKEN\nperson_button: false\ngraph: " + graph + "\n")
}

// joined is a channel with the endpoints of its connection.
type joined struct {
	*whatsapp.Channel
	routes []adapters.Route
}

func (j joined) Routes() []adapters.Route { return j.routes }

func connect(d adapters.Deps, members ...adapters.Channel) ([]adapters.Route, error) {
	d.Tenant, d.Key = "", "meta"
	return whatsapp.NewConnection(adaptertest.YAML("app_secret: env:APP\nprevious_app_secret: env:OLD\nverify_token: env:VERIFY\n"), d, members)
}

func build(s adapters.Spec, d adapters.Deps) (adapters.Channel, error) {
	ch, err := whatsapp.New(s, d)
	if err != nil {
		return nil, err
	}
	routes, err := connect(d, ch)
	return joined{ch.(*whatsapp.Channel), routes}, err
}

type object = map[string]any

// webhook is a webhook with the value of one change.
func webhook(number string, value object) object {
	value["messaging_product"] = "whatsapp"
	value["metadata"] = object{"display_phone_number": "15550100", "phone_number_id": number}
	return object{"object": "whatsapp_business_account", "entry": []object{{"id": "9", "changes": []object{{"field": "messages", "value": value}}}}}
}

func text(from, id, body string) object {
	return object{"from": from, "id": id, "timestamp": fmt.Sprint(adaptertest.Epoch.Unix()), "type": "text", "text": object{"body": body}}
}

func messages(list ...object) object { return webhook(number, object{"messages": list}) }

// post returns a webhook as Meta posts it.
func post(t testing.TB, s *adaptertest.Server, body any) *http.Request {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, s.URL+"/v1/hooks/meta", strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(wire.HeaderSignature, wire.Sign([]byte(adaptertest.SecretOf("env:APP")), raw))
	return req
}

func status(to, id, state string) object {
	return webhook(number, object{"statuses": []object{{"id": id, "status": state, "timestamp": "1760000000", "recipient_id": to}}})
}

func TestChannelSuite(t *testing.T) {
	adaptertest.Channel(t, adaptertest.ChannelSuite{
		Build: build, Spec: spec("http://127.0.0.1:1"), Acknowledges: true,
		Message: func(t testing.TB, s *adaptertest.Server, who int, id, body string) *http.Request {
			return post(t, s, messages(text(fmt.Sprint("1555010", who), id, body)))
		},
		Foreign: func(t testing.TB, s *adaptertest.Server) [][2]*http.Request {
			return [][2]*http.Request{{post(t, s, status("15550101", "wamid.1", "read")), post(t, s, status("15550101", "wamid.2", "read"))}}
		},
	})
}

// sent is the body of a send, as the platform reads it.
type sent struct {
	Product   string `json:"messaging_product"`
	To        string
	Recipient string
	Type      string
	Opaque    string `json:"biz_opaque_callback_data"`
	Text      struct{ Body string }
	Image     object
	Document  object
	Inter     *struct {
		Type   string
		Body   struct{ Text string }
		Action struct {
			Button   string
			Buttons  []struct{ Reply struct{ ID, Title string } }
			Sections []struct {
				Rows []struct{ ID, Title, Description string }
			}
		}
	} `json:"interactive"`
}

func read(r *http.Request, body []byte) (adaptertest.Wire, bool) {
	var m sent
	ok := r.Method == http.MethodPost && r.URL.Path == "/"+number+"/messages" && json.Unmarshal(body, &m) == nil && m.Product == "whatsapp" &&
		r.Header.Get("Authorization") == "Bearer "+adaptertest.SecretOf("env:TOKEN") && m.Type != ""
	said := m.Text.Body
	if m.Inter != nil {
		said = m.Inter.Body.Text
	}
	return adaptertest.Wire{ID: m.Opaque, To: m.To + m.Recipient, Text: said, Part: body}, ok
}

func take(w http.ResponseWriter, m adaptertest.Wire) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"messaging_product":"whatsapp","contacts":[{"input":"1","wa_id":"1"}],"messages":[{"id":"wamid.`+m.ID+`"}]}`)
}

func TestPushSuite(t *testing.T) {
	adaptertest.Push(t, adaptertest.PushSuite{
		Build: build, Spec: spec, Read: read, Take: take, ProviderID: true,
		Report: func(t testing.TB, s *adaptertest.Server, r message.Report) *http.Request {
			return post(t, s, status(r.To.Address, r.ProviderID, string(r.Status)))
		},
		Forge: func(r *http.Request) { r.Header.Set(wire.HeaderSignature, "sha256="+strings.Repeat("0", 64)) },
	})
}

func start(t *testing.T, extra string) (*adaptertest.Kit, *adaptertest.Server) {
	t.Helper()
	k := adaptertest.New(t, "acme.test")
	ch, err := build(spec("http://127.0.0.1:1")+adaptertest.YAML(extra), k.Deps)
	if err != nil {
		t.Fatal(err)
	}
	return k, adaptertest.Serve(t, ch)
}

func TestHandshakeAndSignature(t *testing.T) {
	k, s := start(t, "")
	for query, want := range map[string]string{
		"hub.mode=subscribe&hub.challenge=115&hub.verify_token=" + adaptertest.SecretOf("env:VERIFY"): "200 115",
		"hub.mode=subscribe&hub.challenge=115&hub.verify_token=wrong":                                 "403",
		"hub.challenge=115": "403",
	} {
		req, err := http.NewRequest(http.MethodGet, s.URL+"/v1/hooks/meta?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, body := s.Do(t, req)
		if got := fmt.Sprint(resp.StatusCode, " ", string(body)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", query, got)
		}
		k.AssertQuiet(t, string(body))
	}
	req := post(t, s, messages(text("15550100", "wamid.1", "x")))
	raw, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(strings.NewReader(string(raw)))
	req.Header.Set(wire.HeaderSignature, wire.Sign([]byte(adaptertest.SecretOf("env:OLD")), raw))
	if resp, body := s.Do(t, req); resp.StatusCode != 200 {
		t.Errorf("by the secret before: %d %s", resp.StatusCode, body)
	}
	for name, forge := range map[string]func(*http.Request){
		"unsigned":   func(r *http.Request) { r.Header.Del(wire.HeaderSignature) },
		"by another": func(r *http.Request) { r.Header.Set(wire.HeaderSignature, wire.Sign([]byte("other"), raw)) },
		"of another body": func(r *http.Request) {
			r.Header.Set(wire.HeaderSignature, wire.Sign([]byte(adaptertest.SecretOf("env:APP")), raw))
		},
		"truncated": func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("{}")); r.ContentLength = 2 },
	} {
		req := post(t, s, messages(text("15550100", "wamid.2", adaptertest.CanaryText)))
		forge(req)
		resp, body := s.Do(t, req)
		if resp.StatusCode != 401 {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		k.AssertQuiet(t, string(body))
	}
	if n := len(k.World.Inbounds()); n != 1 {
		t.Errorf("%d messages took effect, want 1", n)
	}
}

// A batch takes effect but for what is wrong with single elements, and the order of one person's messages holds.
func TestBatch(t *testing.T) {
	k, s := start(t, "")
	var list []object
	for i := range 200 {
		list = append(list, text(fmt.Sprint("155501", 10+i%7), fmt.Sprint("wamid.", i), fmt.Sprint("text ", i)))
	}
	list = append(list, object{"id": 5}, object{"from": "15550100"}, text("15550199", "wamid.last", "last"))
	body := messages(list...)
	body["entry"] = append(body["entry"].([]object), webhook("999", object{"messages": []object{text("15550100", "wamid.x", "to nobody")}})["entry"].([]object)...)
	for range 2 { // redelivered whole
		if resp, answer := s.Do(t, post(t, s, body)); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, answer)
		}
	}
	in := k.World.Inbounds()
	if len(in) != 201 {
		t.Fatalf("%d messages, want 201", len(in))
	}
	last := map[string]int{}
	for _, m := range in {
		var n int
		if _, err := fmt.Sscanf(m.Text, "text %d", &n); err != nil {
			continue
		}
		if before, ok := last[m.From.Address]; ok && before > n {
			t.Errorf("%s: %d after %d", m.From.Address, n, before)
		}
		last[m.From.Address] = n
	}
}

func TestKinds(t *testing.T) {
	k, s := start(t, "")
	of := func(kind string, content any) object {
		m := text("15550100", "wamid."+kind, "")
		delete(m, "text")
		m["type"], m[kind] = kind, content
		return m
	}
	person := of("interactive", object{"type": "button_reply", "button_reply": object{"id": "turnout:person", "title": "Talk to a person"}})
	person["id"] = "wamid.person"
	flow := of("interactive", object{"type": "nfm_reply", "nfm_reply": object{"name": "flow", "body": "Sent", "response_json": `{"flow_token":"secret","size":"L","n":2}`}})
	flow["id"] = "wamid.flow"
	group := text("15550100", "wamid.group", "hello all")
	group["group_id"] = "G1"
	s.Do(t, post(t, s, messages(
		of("interactive", object{"type": "list_reply", "list_reply": object{"id": "r2", "title": "Returns"}}), person, flow,
		of("button", object{"payload": "YES", "text": "Yes please"}), of("location", object{"latitude": 48.1, "longitude": 11.5, "name": "Shop"}),
		of("order", object{"catalog_id": "8", "product_items": []object{{"product_retailer_id": "pot", "quantity": 2, "item_price": 19.5, "currency": "EUR"}}}),
		of("reaction", object{"message_id": "wamid.OUT", "emoji": "👍"}), of("edit", object{"original_message_id": "wamid.0", "message": object{"text": object{"body": "better"}}}),
		of("revoke", object{"original_message_id": "wamid.0"}), of("contacts", []object{{"name": object{"formatted_name": "Bo"}, "phones": []object{{"phone": "+1 555"}}}}),
		of("telepathy", object{"thought": "x"}), of("system", object{"type": "user_changed_number", "wa_id": "15550109"}), group,
	)))
	var got []string
	for _, m := range k.World.Inbounds() {
		line := fmt.Sprintf("%s %q", m.Kind, m.Text)
		if m.Choice != nil {
			line += " " + m.Choice.ID
		}
		if m.From.Address != "+15550100" || len(m.Raw) == 0 || m.SentAt.Unix() != adaptertest.Epoch.Unix() {
			t.Errorf("%+v", m)
		}
		got = append(got, line)
	}
	want := []string{
		`action "Returns" r2`, `human "Talk to a person"`, `action "Sent\nn: 2\nsize: L" flow`, `action "Yes please" YES`, `location "Shop\n48.1,11.5"`,
		`order "2 × pot (19.5 EUR)"`, `reaction "👍"`, `edit "better"`, `revoke ""`, `text "Bo +1 555"`, `text "[message of type telepathy]"`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestConfig(t *testing.T) {
	k := adaptertest.New(t, "acme.test")
	for _, c := range []struct{ section, want string }{
		{"", "connection: is missing"}, {"number: abc", "number: must be the id"}, {"connection: x\nnumber: \"1\"", "token: is missing"},
		{string(spec("ftp://x")), "graph: must begin with http"}, {string(spec("http://x")) + "media: {wait: 200h}", "media.wait: must lie"},
		{string(spec("http://x")) + "media: {hosts: [\"http://x\"]}", "media.hosts: must hold names"}, {string(spec("http://x")) + "attempts: -1", "attempts: must lie"},
		{string(spec("http://x")) + "person_texts: {en: much too long for any button}", "person_texts.en: must have 1 to 20"}, {string(spec("http://x")) + "oops: 1", "oops"},
	} {
		ch, err := whatsapp.New(adaptertest.YAML(c.section), k.Deps)
		if err == nil {
			ch.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.section, err, c.want)
		}
	}
	for section, want := range map[string]string{"verify_token: env:V": "app_secret: is missing", "app_secret: env:A": "verify_token: is missing", "oops: 1": "oops"} {
		if _, err := whatsapp.NewConnection(adaptertest.YAML(section), k.Deps, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", section, err, want)
		}
	}
}
