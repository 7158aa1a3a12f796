package whatsapp

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/shapes/*.json")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		var shape struct{ Webhook json.RawMessage }
		if err != nil || json.Unmarshal(raw, &shape) != nil {
			f.Fatal(file, err)
		}
		f.Add([]byte(shape.Webhook))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		updates, err := Decode(body)
		if err != nil {
			if !errors.Is(err, ErrEnvelope) || updates != nil {
				t.Fatalf("%+v, %v", updates, err)
			}
			return
		}
		for _, u := range updates {
			set := 0
			for _, there := range []bool{u.Message != nil, u.Echo != nil, u.Status != nil, u.Failure != nil, u.Broken != nil} {
				if there {
					set++
				}
			}
			known := u.Field == "messages" || u.Field == "smb_message_echoes"
			if set > 1 || known && set == 0 {
				t.Fatalf("%+v", u)
			}
			if m := u.Message; m != nil && (m.ID == "" || m.From.Empty() || u.Number == "" || !utf8.ValidString(m.Text)) {
				t.Fatalf("%+v", m)
			}
			if s := u.Status; s != nil && s.ID == "" {
				t.Fatalf("%+v", s)
			}
			if len(u.Raw) > 0 && !json.Valid(u.Raw) {
				t.Fatalf("%s", u.Raw)
			}
		}
	})
}

// FuzzSplit looks at what Split promises: the pieces fit, hold everything but white space at the cuts, in order.
func FuzzSplit(f *testing.F) {
	f.Add("one two three. Four!\n\n👩‍👩‍👧 e\u0301", uint8(8))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		if !utf8.ValidString(text) {
			return
		}
		most := int(size)%60 + 2
		rest := text
		for _, piece := range Split(text, most) {
			if Units(piece) > most || strings.TrimSpace(piece) == "" {
				t.Fatalf("the piece %q of %q in %d", piece, text, most)
			}
			rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
			if !strings.HasPrefix(rest, piece) {
				t.Fatalf("%q does not go on with %q", rest, piece)
			}
			rest = rest[len(piece):]
		}
		if strings.TrimSpace(rest) != "" {
			t.Fatalf("%q is missing of %q", rest, text)
		}
		if short := Shorten(text, most); Units(short) > most || !utf8.ValidString(short) {
			t.Fatalf("%q in %d is %q", text, most, short)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add(400, []byte(`{"error":{"code":131047,"error_data":{"details":"x"}}}`))
	f.Add(200, []byte(`{"messages":[{"id":"wamid.1"}],"contacts":[{"wa_id":"1"}],"url":"https://x/","id":1}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := DecodeError(status, body)
		if e.Class() == "" || e.Error() == "" {
			t.Fatalf("%+v", e)
		}
		if s, err := DecodeSent(body); err == nil && s.ID == "" {
			t.Fatalf("%+v", s)
		}
		if x, err := DecodeFile(body); err == nil && (x.URL == "" || x.Size < 0) {
			t.Fatalf("%+v", x)
		}
		if id, err := DecodeUpload(body); err == nil && id == "" {
			t.Fatal("an upload without an id")
		}
	})
}
