package whatsapp_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
)

// picture is a message with a file, written age seconds before now.
func picture(id string, age int) object {
	m := text("15550101", "wamid."+id, "")
	delete(m, "text")
	m["timestamp"], m["type"] = fmt.Sprint(adaptertest.Epoch.Unix()-int64(age)), "image"
	m["image"] = object{"id": id, "mime_type": "image/png", "sha256": "", "caption": "look"}
	return m
}

func TestFilesComeIn(t *testing.T) {
	const png = "\x89PNG\r\n\x1a\nand so on"
	digest := sha256.Sum256([]byte(png))
	right := base64.StdEncoding.EncodeToString(digest[:])
	g := newGraph(t)
	fetched := 0
	g.lookup = func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimPrefix(r.URL.Path, "/")
		if id == "file" {
			fetched++
			if r.URL.Query().Get("cut") != "" {
				w.Header().Set("Content-Length", "1000")
			}
			_, _ = io.WriteString(w, png)
			return
		}
		url, sum := g.URL+"/file", right
		switch id {
		case "gone":
			http.Error(w, "{}", http.StatusBadRequest)
			return
		case "later":
			http.Error(w, "{}", http.StatusInternalServerError)
			return
		case "away":
			url = "http://169.254.169.254/latest"
		case "huge":
			_, _ = fmt.Fprintf(w, `{"url":%q,"file_size":"99999999999"}`, url)
			return
		case "other":
			sum = base64.StdEncoding.EncodeToString(make([]byte, 32))
		case "cut":
			url += "?cut=1"
		}
		_, _ = fmt.Fprintf(w, `{"url":%q,"mime_type":"image/png","sha256":%q,"file_size":"17","id":%q}`, url, sum, id)
	}
	k, sender := g.build(t, "")
	s := adaptertest.Serve(t, sender.(joined))
	if resp, body := s.Do(t, post(t, s, messages(picture("M1", 0)))); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	in := k.World.Inbounds()
	if len(in) != 1 || in[0].Kind != message.Media || in[0].Text != "look" || len(in[0].Attachments) != 1 || in[0].Attachments[0].Name != "image.png" {
		t.Fatalf("%+v", in)
	}
	_, file, err := k.Deps.Blobs.Get(t.Context(), in[0].From, in[0].Attachments[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(file); err != nil || string(data) != png {
		t.Errorf("%q, %v", data, err)
	}
	// Brought again it is not fetched again.
	if resp, _ := s.Do(t, post(t, s, messages(picture("M1", 0)))); resp.StatusCode != 200 || fetched != 1 || len(k.World.Inbounds()) != 1 {
		t.Errorf("again: %d, fetched %d times", resp.StatusCode, fetched)
	}
	for _, c := range []struct {
		id     string
		age    int
		status int
	}{
		{"gone", 0, 200}, {"away", 0, 200}, {"huge", 0, 200}, // never
		{"later", 10, 503}, {"cut", 10, 503}, {"other", 10, 503}, // another time
		{"later", 3700, 200}, // too long
	} {
		n := len(k.World.Inbounds())
		// A neighbour takes effect all the same.
		resp, body := s.Do(t, post(t, s, messages(picture(c.id, c.age), text("15550102", fmt.Sprintf("wamid.%s%d", c.id, c.age), "beside"))))
		in := k.World.Inbounds()[n:]
		if resp.StatusCode != c.status || (len(in) == 2) != (c.status == 200) {
			t.Errorf("%s: %d %s, %+v", c.id, resp.StatusCode, body, in)
		}
		for _, m := range in {
			if m.Kind == message.Media && (len(m.Attachments) > 0 || m.Text != "look\n[file not available: image]") {
				t.Errorf("%s: %+v", c.id, m)
			}
		}
		k.AssertQuiet(t, string(body), "15550101")
	}
}
