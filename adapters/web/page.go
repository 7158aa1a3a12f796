package web

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/adapters/problem"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var pageStyle string

const (
	pageCookie = "turnout_chat"
	pageEvents = 200 // the newest that the page shows
	maxForm    = 256 << 10
	pageWait   = 4 * time.Second // for an answer, before the page is shown without it
)

// page is the chat without JavaScript: one document that shows the conversation so far and posts a form to itself. The
// visitor's token is in a cookie that only this path gets and no script can read; a form is taken only with a mark that
// is made from that token.
type page struct {
	template *template.Template
	policy   string
	title    string
	path     string
	formKey  []byte
}

func newPage(title string, d adapters.Deps) (page, error) {
	t, err := template.New("page").Parse(pageSource)
	if err != nil {
		return page{}, fmt.Errorf("parsing the chat page: %w", err)
	}
	sum := sha256.Sum256([]byte(pageStyle))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return page{template: t, policy: policy, title: title, path: "/chat/" + d.Key, formKey: d.Derive("chat-form")}, nil
}

// pageView is what the template shows.
type pageView struct {
	Title, Path string
	Style       template.CSS
	Lines       []pageLine
	Cut         bool // older events are not shown
	Owner       message.Owner
	// Answering says that the bot has the last message and has not answered it: the page was shown before.
	Answering bool
	Notice    string
	Mark, ID  string
	MaxText   int
	// Continue makes the page a mere step to itself.
	Continue bool
}

// WithPeople reports whether a person is here or on the way: there is nothing to ask for then.
func (v pageView) WithPeople() bool {
	switch v.Owner.Kind {
	case message.OwnerQueued, message.OwnerAgent, message.OwnerCaptured:
		return true
	}
	return false
}

// Status says who answers.
func (v pageView) Status() string {
	switch v.Owner.Kind {
	case message.OwnerQueued:
		return "Waiting for a person"
	case message.OwnerAgent:
		if v.Owner.Name != "" {
			return v.Owner.Name + " is answering"
		}
		return "A person is answering"
	case message.OwnerCaptured:
		return "A person will answer here"
	case message.OwnerClosed:
		return "Closed. Write any time to go on"
	}
	return "Assistant"
}

type pageLine struct {
	Own, System bool
	// Person is set for what a person of the tenant's wrote.
	Person    bool
	Who, Text string
	Lang      string
	At        time.Time
	Choices   []message.Choice
	Files     []message.Attachment
	Link      string
}

func (c *Channel) getPage(ctx *fasthttp.RequestCtx) {
	v, known := c.pageVisitor(ctx)
	// The cookie is withheld from a visit that another site started. Going on from here is a visit of our own, so the
	// conversation is found again, where a new cookie would lose it.
	if !known && string(ctx.Request.Header.Peek("Sec-Fetch-Site")) == "cross-site" {
		c.render(ctx, fasthttp.StatusOK, pageView{Continue: true})
		return
	}
	if !known {
		v = visitor{id: c.newVisitor(), expires: c.deps.Now().Add(c.cfg.SessionTTL)}
		c.setPageCookie(ctx, v)
	}
	c.showPage(ctx, fasthttp.StatusOK, v, "")
}

// postPage takes the form: a message, or the wish for a person.
func (c *Channel) postPage(ctx *fasthttp.RequestCtx) {
	v, known := c.pageVisitor(ctx)
	if !known {
		ctx.Redirect(c.page.path, fasthttp.StatusSeeOther)
		return
	}
	if site := string(ctx.Request.Header.Peek("Sec-Fetch-Site")); site != "" && site != "same-origin" && site != "none" {
		problem.Write(ctx, fasthttp.StatusForbidden, problem.CodeForbidden, "The form was sent from another site.")
		return
	}
	if len(ctx.PostBody()) > maxForm {
		c.showPage(ctx, fasthttp.StatusRequestEntityTooLarge, v, "The message is too long.")
		return
	}
	f := readForm(ctx.PostBody())
	if !hmac.Equal([]byte(f.mark), []byte(c.page.mark(v))) {
		problem.Write(ctx, fasthttp.StatusForbidden, problem.CodeForbidden,
			"The form is not one of this visit. Open the page again and send it from there.")
		return
	}
	in, err := f.inbound(c, v)
	if err == nil {
		var receipt adapters.Receipt
		if receipt, err = c.accept(in); err == nil {
			// Waiting makes the answer be there when the page comes back; without it the next look shows it. A slow bot must
			// not keep the page away: the way to a person is on it.
			work, cancel := context.WithTimeout(c.life, min(c.cfg.Wait, pageWait))
			_, _ = c.deps.Timeline.Outcome(work, receipt)
			cancel()
			ctx.Redirect(c.page.path+"#end", fasthttp.StatusSeeOther)
			return
		}
	}
	d := problem.Of(err)
	c.showPage(ctx, d.Status, v, d.Detail)
}

func (c *Channel) getPageFile(ctx *fasthttp.RequestCtx) {
	v, known := c.pageVisitor(ctx)
	if !known {
		problem.WriteError(ctx, adapters.ErrNotFound)
		return
	}
	c.serveFile(ctx, v)
}

// form is a posted form, read without trust.
type form struct {
	mark, id, text string
	human          bool
}

func readForm(body []byte) form {
	var args fasthttp.Args
	args.ParseBytes(body)
	return form{
		mark:  string(args.Peek("mark")),
		id:    string(args.Peek("id")),
		text:  strings.TrimSpace(dropControls(string(args.Peek("text")))),
		human: string(args.Peek("do")) == "human",
	}
}

func (f form) inbound(c *Channel, v visitor) (message.Inbound, error) {
	if err := checkID(f.id); err != nil {
		return message.Inbound{}, badRequest("The form is not complete. Open the page again.")
	}
	switch {
	case f.human:
		return c.human("human-"+f.id, v), nil
	case f.text == "":
		return message.Inbound{}, badRequest("Write a message first.")
	case len(f.text) > c.cfg.Limits.TextBytes:
		return message.Inbound{}, tooLarge("The message is too long. Send it in parts.")
	}
	return c.inbound(wanted{id: f.id, kind: message.Text, text: f.text}, v)
}

func (c *Channel) pageVisitor(ctx *fasthttp.RequestCtx) (visitor, bool) {
	v, err := c.tokens.read(ctx.Request.Header.Cookie(pageCookie))
	return v, err == nil
}

func (c *Channel) setPageCookie(ctx *fasthttp.RequestCtx, v visitor) {
	var cookie fasthttp.Cookie
	cookie.SetKey(pageCookie)
	cookie.SetValue(c.tokens.sign(v))
	cookie.SetPath(c.page.path)
	cookie.SetMaxAge(int(c.cfg.SessionTTL / time.Second))
	cookie.SetHTTPOnly(true)
	cookie.SetSecure(secure(ctx))
	cookie.SetSameSite(fasthttp.CookieSameSiteStrictMode)
	ctx.Response.Header.SetCookie(&cookie)
}

// mark binds a form to the visitor's cookie.
func (p *page) mark(v visitor) string {
	mac := hmac.New(sha256.New, p.formKey)
	mac.Write(v.id[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// showPage renders the conversation of v with a notice above the form.
func (c *Channel) showPage(ctx *fasthttp.RequestCtx, status int, v visitor, notice string) {
	view := pageView{Notice: notice, Mark: c.page.mark(v), ID: c.randomID(), MaxText: c.cfg.Limits.TextBytes}
	if err := c.readPage(&view, v); err != nil {
		d := problem.Of(err)
		status, view.Notice = d.Status, "The conversation cannot be shown right now. Please try again in a moment."
	}
	c.render(ctx, status, view)
}

func (c *Channel) render(ctx *fasthttp.RequestCtx, status int, view pageView) {
	view.Title, view.Path, view.Style = c.page.title, c.page.path, template.CSS(pageStyle)
	var b bytes.Buffer
	if err := c.page.template.Execute(&b, view); err != nil {
		problem.WriteError(ctx, fmt.Errorf("rendering the chat page: %w", err))
		return
	}
	h := &ctx.Response.Header
	h.SetContentType("text/html; charset=utf-8")
	h.Set(fasthttp.HeaderContentSecurityPolicy, c.page.policy)
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set(fasthttp.HeaderReferrerPolicy, "same-origin")
	h.Set(fasthttp.HeaderCacheControl, "no-store")
	ctx.Response.SetStatusCode(status)
	ctx.Response.SetBody(b.Bytes())
}

// readPage fills in the newest events.
func (c *Channel) readPage(view *pageView, v visitor) error {
	work, cancel := c.request()
	defer cancel()
	f, err := newFollower(c.deps.Timeline, c.address(v.address()), "")
	if err != nil {
		return err
	}
	for more := true; more; {
		var events []message.Visible
		if events, more, err = f.next(work); err != nil {
			return err
		}
		for _, e := range events {
			if line, ok := pageLineOf(e); ok {
				view.Lines = append(view.Lines, line)
			}
			view.Answering = e.Type == message.VisibleMessage && e.By == message.ByCustomer
		}
		if over := len(view.Lines) - pageEvents; over > 0 {
			view.Lines, view.Cut = view.Lines[over:], true
		}
	}
	view.Owner = f.owner
	view.Answering = view.Answering && f.owner.Kind == message.OwnerBot
	return nil
}

// pageLineOf translates an event. Those that say nothing to a person are left out.
func pageLineOf(e message.Visible) (pageLine, bool) {
	line := pageLine{At: e.At.UTC(), Own: e.By == message.ByCustomer}
	switch e.Type {
	case message.VisibleMessage:
		if e.Part == nil {
			return pageLine{}, false
		}
		line.Text, line.Lang, line.Choices, line.Files = e.Part.Text, e.Part.Lang, e.Part.Choices, e.Part.Attachments
		line.Link = e.Part.Link
		switch e.By {
		case message.ByCustomer:
			line.Who = "You"
			if e.Part.Empty() { // the button
				return pageLine{At: line.At, System: true, Text: "You asked for a person."}, true
			}
		case message.ByAgent:
			line.Who, line.Person = e.Name, true
		case message.BySystem:
			line.System = true
		}
		return line, true
	case message.VisibleOwner:
		if e.Owner == nil {
			return pageLine{}, false
		}
		line.Own, line.System = false, true
		line.Text = ownerText(*e.Owner)
		return line, line.Text != ""
	case message.VisibleClosed:
		return pageLine{At: e.At.UTC(), System: true, Text: "The conversation was closed."}, true
	case message.VisibleReopened:
		return pageLine{At: e.At.UTC(), System: true, Text: "The conversation goes on."}, true
	case message.VisibleFailed:
		return pageLine{At: e.At.UTC(), System: true, Text: "A message could not be delivered."}, true
	}
	return pageLine{}, false
}

func ownerText(o message.Owner) string {
	switch o.Kind {
	case message.OwnerQueued:
		if o.Position > 0 {
			return fmt.Sprintf("You are waiting for a person, number %d in the queue.", o.Position)
		}
		return "You are waiting for a person."
	case message.OwnerAgent:
		if o.Name != "" {
			return o.Name + " is here for you."
		}
		return "A person is here for you."
	case message.OwnerCaptured:
		return "Nobody is here right now. Your message is kept and a person will answer it."
	case message.OwnerBot:
		return "The assistant answers again."
	}
	return ""
}
