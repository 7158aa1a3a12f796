package hostile

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestNothingInTheClear: after conversations with texts, files, notes, profiles and people, no file of the data folder
// holds a word of it, nor a token or a key; and nothing of it is told by health, or by errors to other people.
func TestNothingInTheClear(t *testing.T) {
	w := start(t, setup{rules: map[string]string{"acme": rule(`text contains "never ever"`)}})
	o := w.owned(t, "acme")
	w.identify(t, o.visitor)
	ann := w.keys["acme/ann"]
	conv := "/v1/agent/conversations/" + o.conversation
	for _, r := range []struct{ path, body string }{
		{"/v1/agent/presence", "{}"},
		{conv + "/claim", ""},
		{conv + "/note", `{"text":"` + word() + `"}`},
		{conv + "/reply", `{"text":"` + word() + `"}`},
		{conv + "/release", `{"note":"` + word() + `"}`},
	} {
		if a := w.call(t, "POST", r.path, ann, r.body, "Idempotency-Key: "+watch.keep("an idempotency key", "key-"+word())); a.status/100 != 2 {
			t.Fatal(a)
		}
	}
	o.say(t, word())

	canaries := watch.all()
	stranger := w.visitor(t, "other")
	bodies := map[string][]byte{}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/nothing"} {
		resp, err := http.Get("http://" + w.ops + path)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := resp.Write(&b); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		bodies[path] = b.Bytes()
	}
	for name, a := range map[string]answer{
		"a bad body":       w.call(t, "POST", stranger.base+"/messages", stranger.token, `{"id":"`+o.message+`","text":7}`),
		"a foreign cursor": w.call(t, "GET", stranger.base+"/events?after="+o.cursor, stranger.token, ""),
		"a foreign file":   w.call(t, "GET", stranger.base+"/attachments/"+o.attachment, stranger.token, ""),
		"a foreign agent":  w.call(t, "GET", conv, w.keys["other/sue"], ""),
		"no agent":         w.call(t, "POST", conv+"/reply", o.token, `{"text":"hello"}`),
		"a late claim":     w.call(t, "POST", conv+"/reply", ann, `{"text":"hello"}`),
	} {
		if a.status/100 != 4 {
			t.Errorf("%s: %s", name, a)
		}
		bodies[name] = []byte(a.same())
	}
	for name, body := range bodies {
		for value, what := range canaries {
			if bytes.Contains(body, []byte(value)) {
				t.Errorf("the answer to %s holds %s", name, what)
			}
		}
	}

	for name, what := range search(t, w.data, canaries) {
		t.Errorf("with the gateway running, %s holds %s", name, what)
	}
	w.stop()
	for name, what := range search(t, w.data, canaries) {
		t.Errorf("after its end, %s holds %s", name, what)
	}
	// The control: the search finds what is there, plain and packed.
	for i, value := range []string{o.token, base64.StdEncoding.EncodeToString([]byte(o.token))} {
		file := filepath.Join(w.data, "store", "control")
		if err := os.WriteFile(file, []byte("x"+value+"x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if found := search(t, w.data, canaries); len(found) != 1 {
			t.Errorf("control %d: found %v", i, found)
		}
	}
}

// identify proves who a visitor is, with an address that may not be seen.
func (w *world) identify(t testing.TB, v *visitor) {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(w.dir, "keys/identity.key"))
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{
		"sub": watch.keep("a subject", "subject-"+word()), "exp": time.Now().Add(time.Hour).Unix(),
		"name": watch.keep("a name", "Name "+word()), "email": watch.keep("a mail address", word()+"@mail.example"),
		"phone": watch.keep("a phone number", "+49"+word()), "fields": map[string]any{"plan": word()},
	}
	statement, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	watch.keep("an identity", statement)
	a := w.call(t, "POST", v.base+"/session", "", `{"token":"`+v.token+`","identity":"`+statement+`"}`)
	var s struct{ Token string }
	if err := json.Unmarshal(a.body, &s); err != nil || a.status != 200 {
		t.Fatal(a)
	}
	v.token = watch.keep("a visitor's token", s.Token)
}

// search returns the files below a folder that hold one of the values, as it is or in base64, and which.
func search(t testing.TB, dir string, values map[string]string) map[string]string {
	t.Helper()
	found, files := map[string]string{}, 0
	forms := map[string]string{}
	for value, what := range values {
		forms[value] = what
		for shift := range 3 { // base64 looks different at each of three places
			packed := base64.StdEncoding.EncodeToString(append(make([]byte, shift), value...))
			forms[packed[4:len(packed)-4]] = what + " in base64"
		}
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Type()&fs.ModeSocket != 0 || e.Name() == "ballast" {
			return err
		}
		body, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // the store tidies up
		}
		files++
		for form, what := range forms {
			if bytes.Contains(body, []byte(form)) {
				found[path] = what
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Errorf("there are no files in %s", dir)
	}
	return found
}
