package whatsapp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"turnout/adapters/adaptertest"
	wire "turnout/adapters/wire/whatsapp"
)

// TestAgainstOthers lets clients that others wrote meet ours: they send to the Graph API of these tests, which takes it and
// gets from them what the channel sends, and they verify and read the webhooks of the fixtures as we sign them.
func TestAgainstOthers(t *testing.T) {
	dir := os.Getenv("TURNOUT_WHATSAPP")
	if dir == "" {
		t.Log("TURNOUT_WHATSAPP is not set: make test sets it and runs this with clients that others wrote")
		return
	}
	g := newGraph(t)
	type hook struct {
		Name      string `json:"name"`
		Body      string `json:"body"`
		Signature string `json:"signature"`
	}
	secret := adaptertest.SecretOf("env:APP")
	in := object{"graph": g.URL, "token": adaptertest.SecretOf("env:TOKEN"), "number": number, "secret": secret, "verify": "word", "to": "15550101"}
	var hooks []hook
	files, err := filepath.Glob("../wire/whatsapp/testdata/shapes/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	messages := map[string][]string{} // by fixture, what is to be read
	for _, file := range files {
		raw, err := os.ReadFile(file)
		var shape struct{ Webhook json.RawMessage }
		if err == nil {
			err = json.Unmarshal(raw, &shape)
		}
		if err != nil {
			t.Fatal(file, err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		hooks = append(hooks, hook{name, string(shape.Webhook), wire.Sign([]byte(secret), shape.Webhook)})
		updates, err := wire.Decode(shape.Webhook)
		if err != nil {
			t.Fatal(file, err)
		}
		for _, u := range updates {
			if u.Message != nil {
				messages[name] = append(messages[name], u.Message.Type+" "+u.Message.ID)
			}
		}
	}
	in["webhooks"] = hooks
	input, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "prove.mjs")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(input)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &problems)
	}
	var out struct {
		Kapso, APIJS  []string
		Upload        string
		Read, Refused bool
		Webhooks      []struct {
			Name           string
			Taken          any
			Forged, Signed bool
			Heard, Read    []string
		}
	}
	if err := json.Unmarshal(output, &out); err != nil {
		t.Fatal(err)
	}

	// What they send is what the channel would, but for what is of no consequence.
	to := wire.Identity{Phone: "15550101"}
	button := &wire.Buttons{Body: "Which?", Buttons: []wire.Offer{{ID: "a", Title: "A"}}}
	open := &wire.Link{Body: "Here", Label: "Open", URL: "https://x.example/"}
	want := []wire.Send{
		{To: to, Text: "hi"}, {To: to, Buttons: button}, {To: to, Link: open}, {To: wire.Identity{User: "US.77"}, Text: "hi"},
		{To: to, Media: &wire.SendMedia{Kind: "document", ID: "M1", Filename: "bill.txt", Caption: "the bill"}},
		{To: to, Text: "hi"}, {To: to, Buttons: button},
		{To: to, List: &wire.List{Body: "Which?", Button: "Choose", Rows: []wire.Offer{{ID: "a", Title: "A", Detail: "d"}}}}, {To: to, Link: open},
		{To: to, Template: &wire.Template{Name: "t1", Language: "en_US", Body: []string{"42"}}},
		{To: to, Media: &wire.SendMedia{Kind: "image", ID: "M9", Caption: "look"}},
		{To: to, Media: &wire.SendMedia{Kind: "document", Link: "https://x.example/a.pdf", Filename: "a.pdf"}},
	}
	if len(g.bodies) != len(want) || len(out.Kapso) != 5 || len(out.APIJS) != 7 || out.APIJS[6] != "wamid.12" {
		t.Fatalf("%d sends, %+v", len(g.bodies), out)
	}
	for i, body := range g.bodies {
		ours, err := want[i].Encode()
		if err != nil {
			t.Fatal(err)
		}
		if a, b := plain(t, body), plain(t, string(ours)); !reflect.DeepEqual(a, b) {
			t.Errorf("send %d: they wrote\n%s\nand the channel writes\n%s", i, body, ours)
		}
	}
	if out.Upload != "M1" || g.files["M1"] != "bill.txt: one teapot" || !out.Read || len(g.reads) != 1 || !out.Refused {
		t.Errorf("%+v, %v, %v", out, g.files, g.reads)
	}
	ours := plain(t, string(wire.EncodeRead("wamid.1", true)))
	if !reflect.DeepEqual(map[string]any(g.reads[0]), ours) {
		t.Errorf("they mark as read by %v", g.reads[0])
	}

	// What we sign they take, what is forged they do not, and they read the same messages.
	if len(out.Webhooks) != len(hooks) {
		t.Fatalf("%d webhooks", len(out.Webhooks))
	}
	heard := 0
	for _, h := range out.Webhooks {
		if !h.Signed || h.Forged {
			t.Errorf("%s: signed %t, and with another signature %t", h.Name, h.Signed, h.Forged)
		}
		heard += len(h.Heard)
		if fmt.Sprint(h.Read) != fmt.Sprint(messages[h.Name]) && h.Name != "echo" {
			t.Errorf("%s: they read %q, we %q", h.Name, h.Read, messages[h.Name])
		}
	}
	if heard < 30 {
		t.Errorf("the other client heard only %d messages and statuses", heard)
	}
}

// plain is a body without what is of no consequence: what is optional and says what is so anyhow.
func plain(t *testing.T, body string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	return strip(m).(map[string]any)
}

func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if name == "preview_url" || name == "recipient_type" || name == "policy" || inner == nil {
				delete(v, name)
				continue
			}
			v[name] = strip(inner)
		}
	case []any:
		for i := range v {
			v[i] = strip(v[i])
		}
	}
	return v
}
