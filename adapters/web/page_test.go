package web_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/message"
)

const chat = "/chat/" + key

var hidden = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)

// browse is a browser without JavaScript: it keeps the cookie and fills in the form.
type browser struct {
	t      *testing.T
	s      *adaptertest.Server
	cookie *http.Cookie
	form   url.Values
}

func (b *browser) open() (*http.Response, string) {
	b.t.Helper()
	return b.do(request(b.s, "GET", chat, "", nil))
}

func (b *browser) do(req *http.Request) (*http.Response, string) {
	b.t.Helper()
	if b.cookie != nil {
		req.AddCookie(b.cookie)
	}
	resp, body := b.s.Do(b.t, req)
	for _, c := range resp.Cookies() {
		b.cookie = c
	}
	b.form = url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(string(body), -1) {
		b.form.Set(m[1], html.UnescapeString(m[2]))
	}
	return resp, string(body)
}

func (b *browser) submit(form url.Values) (*http.Response, string) {
	b.t.Helper()
	req := request(b.s, "POST", chat, "", form.Encode())
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(req)
}

func TestPage(t *testing.T) {
	k, s := start(t, spec)
	b := &browser{t: t, s: s}
	resp, body := b.open()
	if resp.StatusCode != 200 || !strings.Contains(body, "<h1>Acme</h1>") || strings.Contains(body, "<script") {
		t.Errorf("page: %d %s", resp.StatusCode, body)
	}
	c := b.cookie
	if c == nil || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != chat || c.Secure {
		t.Errorf("cookie %+v", c)
	}
	_, style, _ := strings.Cut(body, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, base64.StdEncoding.EncodeToString(sum[:])) || !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("the policy %q does not let the style through", csp)
	}

	said := url.Values{"do": {"say"}, "text": {"<b>hi</b>\r\n\x00\x1b[1m"}, "mark": b.form["mark"], "id": b.form["id"]}
	for range 2 { // the second is a double click
		if resp, body := b.submit(said); resp.StatusCode != 303 || !strings.HasSuffix(resp.Header.Get("Location"), chat+"#end") {
			t.Fatalf("submitted: %d %s", resp.StatusCode, body)
		}
	}
	in := k.World.Inbounds()
	if len(in) != 1 || in[0].Text != "<b>hi</b>\n[1m" || in[0].Kind != message.Text {
		t.Errorf("handed in: %+v", in)
	}
	_, body = b.open()
	if !strings.Contains(body, "echo: &lt;b&gt;hi&lt;/b&gt;") || strings.Contains(body, "<b>") {
		t.Errorf("the page shows %s", body)
	}

	const ask = "Talk to a person"
	if !strings.Contains(body, ask) {
		t.Error("the page has no way to a person")
	}
	if resp, _ := b.submit(url.Values{"do": {"human"}, "mark": b.form["mark"], "id": b.form["id"]}); resp.StatusCode != 303 {
		t.Errorf("the wish for a person: %d", resp.StatusCode)
	}
	if in := k.World.Inbounds(); in[len(in)-1].Kind != message.Human {
		t.Errorf("handed in: %+v", in)
	}
	if _, body = b.open(); !strings.Contains(body, "number 1 in the queue") || strings.Contains(body, ask) {
		t.Errorf("the page shows %s", body)
	}
	k.World.Say(in[0].From, message.ByAgent, message.Part{Text: "x", Lang: "es", Link: "javascript:alert(1)"})
	if _, body = b.open(); !strings.Contains(body, `lang="es"`) || strings.Contains(body, `href="javascript:`) {
		t.Errorf("the page shows %s", body)
	}
	k.AssertQuiet(t, "", "hi</b>")
}

// A bot that hangs keeps nobody from a person: the page comes back without the answer and has the way on it.
func TestPageWhileTheBotAnswers(t *testing.T) {
	k, s := start(t, spec) // which waits 50 ms
	k.World.Script(func(message.Inbound) adaptertest.Reply { return adaptertest.Reply{Hang: true} })
	b := &browser{t: t, s: s}
	b.open()
	if resp, _ := b.submit(url.Values{"do": {"say"}, "text": {"hi"}, "mark": b.form["mark"], "id": b.form["id"]}); resp.StatusCode != 303 {
		t.Fatalf("submitted: %d", resp.StatusCode)
	}
	_, body := b.open()
	if !strings.Contains(body, "The assistant is writing") || !strings.Contains(body, `value="human"`) {
		t.Errorf("the page shows %s", body)
	}
	if resp, _ := b.submit(url.Values{"do": {"human"}, "mark": b.form["mark"], "id": b.form["id"]}); resp.StatusCode != 303 {
		t.Errorf("the wish for a person: %d", resp.StatusCode)
	}
	_, body = b.open()
	if strings.Contains(body, "The assistant is writing") || !strings.Contains(body, "You asked for a person") || !strings.Contains(body, "Waiting for a person") {
		t.Errorf("the page shows %s", body)
	}
}

func TestPageRefuses(t *testing.T) {
	k, s := start(t, spec)
	b, other := &browser{t: t, s: s}, &browser{t: t, s: s}
	b.open()
	other.open()
	mine := b.form
	with := func(change func(url.Values)) url.Values {
		form := url.Values{"do": {"say"}, "text": {"hi"}, "mark": mine["mark"], "id": mine["id"]}
		change(form)
		return form
	}
	for name, c := range map[string]struct {
		form   url.Values
		status int
	}{
		"no mark":        {with(func(f url.Values) { f.Del("mark") }), 403},
		"another's mark": {with(func(f url.Values) { f["mark"] = other.form["mark"] }), 403},
		"no id":          {with(func(f url.Values) { f.Del("id") }), 400},
		"no text":        {with(func(f url.Values) { f.Set("text", " \n") }), 400},
		"long":           {with(func(f url.Values) { f.Set("text", strings.Repeat("x", 3000)) }), 413},
	} {
		if resp, body := b.submit(c.form); resp.StatusCode != c.status {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	cross := request(s, "POST", chat, "", with(func(url.Values) {}).Encode())
	cross.Header.Set("Sec-Fetch-Site", "cross-site")
	if resp, _ := b.do(cross); resp.StatusCode != 403 {
		t.Errorf("from another site: %d", resp.StatusCode)
	}
	stranger := &browser{t: t, s: s}
	if resp, _ := stranger.submit(with(func(url.Values) {})); resp.StatusCode != 303 {
		t.Errorf("without a cookie: %d", resp.StatusCode)
	}
	if n := len(k.World.Inbounds()); n != 0 {
		t.Errorf("%d messages came in", n)
	}
	k.World.Fail(adapters.ErrUnavailable)
	if resp, body := b.submit(with(func(url.Values) {})); resp.StatusCode != 503 || !strings.Contains(body, `role="alert"`) {
		t.Errorf("without a store: %d %s", resp.StatusCode, body)
	}
}

func TestPageAfterALinkFromElsewhere(t *testing.T) {
	_, s := start(t, spec)
	req := request(s, "GET", chat, "", nil)
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, body := s.Do(t, req)
	if resp.StatusCode != 200 || len(resp.Cookies()) != 0 || !strings.Contains(string(body), `http-equiv="refresh"`) {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Cookies(), body)
	}
}

func TestPageFiles(t *testing.T) {
	_, s := start(t, spec)
	sess := newSession(t, s)
	var a message.Attachment
	call(t, s, upload(s, sess.Token, "x.txt", "plain words"), 200, &a)
	b := &browser{t: t, s: s, cookie: &http.Cookie{Name: "turnout_chat", Value: sess.Token}}
	if resp, body := b.do(request(s, "GET", chat+"/files/"+a.ID, "", nil)); resp.StatusCode != 200 || body != "plain words" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	stranger := &browser{t: t, s: s}
	if resp, _ := stranger.do(request(s, "GET", chat+"/files/"+a.ID, "", nil)); resp.StatusCode != 404 {
		t.Errorf("a stranger: %d", resp.StatusCode)
	}
}
