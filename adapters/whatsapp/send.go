package whatsapp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/textproto"
	"strconv"
	"strings"

	"turnout/adapters"
	"turnout/adapters/message"
	wire "turnout/adapters/wire/whatsapp"
)

// step is one call of a part.
type step struct {
	send wire.Send
	file *message.Attachment // to be uploaded for send.Media
}

// Send implements adapters.Sender: the calls that the part takes, each once. The id in the receipt is that of the last of them.
func (c *Channel) Send(ctx context.Context, out message.Outbound) (message.Receipt, error) {
	if !c.enter() {
		return message.Receipt{}, &adapters.SendError{Code: "closed", Class: adapters.SendRetry}
	}
	defer c.running.Done()
	steps := c.plan(&out)
	if len(steps) == 0 {
		return message.Receipt{}, &adapters.SendError{Code: "empty", Err: errors.New("the part holds nothing that the platform can show")}
	}
	done := c.partial.of(out.ID)
	for i := min(done.calls, len(steps)); i < len(steps); i++ {
		id, err := c.step(ctx, &out, steps[i])
		if err != nil {
			return message.Receipt{}, err
		}
		if done = (taken{i + 1, id}); i+1 < len(steps) {
			c.partial.set(out.ID, done)
		}
	}
	c.partial.forget(out.ID)
	return message.Receipt{ProviderID: done.last}, nil
}

func (c *Channel) step(ctx context.Context, out *message.Outbound, s step) (string, error) {
	if s.file != nil {
		id, err := c.upload(ctx, out.To, *s.file)
		if err != nil {
			return "", err
		}
		s.send.Media.ID = id
	}
	s.send.To, s.send.Opaque = identityOf(out.To.Address), out.ID
	body, err := s.send.Encode()
	if err != nil {
		return "", &adapters.SendError{Code: "encoding", Err: err}
	}
	answer, err := c.call(ctx, "messages", body)
	if err != nil {
		return "", err
	}
	sent, err := wire.DecodeSent(answer)
	if err != nil {
		return "", nil // it was taken; nothing will be heard of it
	}
	return sent.ID, nil
}

// plan makes the calls of a part: its text first, as many messages as it takes, the last of them with what there is to press;
// then its files.
func (c *Channel) plan(out *message.Outbound) (steps []step) {
	p := out.Part
	text := strings.TrimSpace(p.Text)
	if p.Link != "" && !strings.Contains(text, p.Link) {
		text = strings.TrimSpace(text + "\n" + p.Link)
	}
	offers := p.Choices
	if out.By == message.ByBot && *c.cfg.Person {
		offers = append(append([]message.Choice(nil), offers...), message.Choice{ID: personID, Label: inLang(p.Lang, c.cfg.PersonTexts, personTexts)})
	}
	caption := ""
	if len(p.Attachments) == 1 && len(p.Choices) == 0 && text != "" && wire.Units(text) <= wire.MaxBody && takesCaption(p.Attachments[0]) {
		caption, text = text, ""
	}
	if text == "" && len(p.Choices) > 0 {
		text = "…" // something to press needs something to stand below
	}
	if text != "" {
		steps = c.texts(steps, p.Lang, text, offers, len(p.Choices))
	}
	for i := range p.Attachments {
		m := &wire.SendMedia{Kind: kindOf(p.Attachments[i]), Filename: p.Attachments[i].Name}
		if i == 0 {
			m.Caption = caption
		}
		steps = append(steps, step{send: wire.Send{Media: m}, file: &p.Attachments[i]})
	}
	return steps
}

// texts appends a text with what there is to press, own of them the bot's and the rest the way to a person. What does not
// fit the platform's forms becomes a text that lists it: what is pressed there can be written.
func (c *Channel) texts(steps []step, lang, text string, offers []message.Choice, own int) []step {
	plain := func(text string) {
		for _, piece := range wire.Split(text, wire.MaxText) {
			steps = append(steps, step{send: wire.Send{Text: piece}})
		}
	}
	if own > wire.MaxRows || !fitIDs(offers[:own]) {
		var b strings.Builder
		b.WriteString(text)
		for i, o := range offers[:own] {
			b.WriteString("\n" + strconv.Itoa(i+1) + ". " + o.Label)
		}
		plain(b.String())
		return steps
	}
	if len(offers) > wire.MaxRows {
		offers = offers[:own] // the way to a person is a word away all the same
	}
	if own == 0 && (len(offers) == 0 || wire.Units(text) > wire.MaxBody) {
		plain(text)
		return steps
	}
	// The last piece carries what there is to press, and may have less.
	pieces := wire.Split(text, wire.MaxText)
	last := pieces[len(pieces)-1]
	tail := wire.Split(last, wire.MaxBody)
	for _, piece := range append(pieces[:len(pieces)-1:len(pieces)-1], tail[:len(tail)-1]...) {
		steps = append(steps, step{send: wire.Send{Text: piece}})
	}
	body := tail[len(tail)-1]
	if buttons, ok := buttonsOf(offers); ok {
		return append(steps, step{send: wire.Send{Buttons: &wire.Buttons{Body: body, Buttons: buttons}}})
	}
	var rows []wire.Offer
	for _, o := range offers {
		row := wire.Offer{ID: o.ID, Title: wire.Shorten(o.Label, wire.MaxRowTitle)}
		if row.Title != o.Label {
			row.Detail = wire.Shorten(o.Label, wire.MaxRowDetail)
		}
		rows = append(rows, row)
	}
	return append(steps, step{send: wire.Send{List: &wire.List{Body: body, Button: inLang(lang, c.cfg.ListTexts, listTexts), Rows: rows}}})
}

func fitIDs(offers []message.Choice) bool {
	seen := map[string]bool{}
	for _, o := range offers {
		if o.ID == "" || o.Label == "" || wire.Units(o.ID) > wire.MaxRowID || seen[o.ID] {
			return false
		}
		seen[o.ID] = true
	}
	return true
}

// buttonsOf makes buttons of offers, if they are few and short enough.
func buttonsOf(offers []message.Choice) (out []wire.Offer, ok bool) {
	titles := map[string]bool{} // the platform refuses two of the same words
	for _, o := range offers {
		if wire.Units(o.Label) > wire.MaxButtonTitle || titles[o.Label] {
			return nil, false
		}
		titles[o.Label] = true
		out = append(out, wire.Offer{ID: o.ID, Title: o.Label})
	}
	return out, len(out) <= wire.MaxButtons
}

// kindOf is how the platform shows a file: as what it is, if it takes such, and else as a document.
func kindOf(a message.Attachment) string {
	const mb = 1 << 20
	switch kind := strings.SplitN(a.Type, ";", 2)[0]; kind {
	case "image/jpeg", "image/png":
		if a.Size <= 5*mb {
			return "image"
		}
	case "video/mp4", "video/3gpp":
		if a.Size <= 16*mb {
			return "video"
		}
	case "audio/aac", "audio/mp4", "audio/mpeg", "audio/amr", "audio/ogg":
		if a.Size <= 16*mb {
			return "audio"
		}
	}
	return "document"
}

func takesCaption(a message.Attachment) bool { return kindOf(a) != "audio" }

// upload brings a file to the platform and returns its id.
func (c *Channel) upload(ctx context.Context, to message.Address, a message.Attachment) (string, error) {
	_, file, err := c.deps.Blobs.Get(ctx, to, a.ID)
	if errors.Is(err, adapters.ErrNotFound) {
		return "", &adapters.SendError{Code: "no_file", Err: errors.New("the file is not there any more")}
	}
	if err != nil {
		return "", &adapters.SendError{Code: "store", Class: adapters.SendRetry, Err: errors.New("the file cannot be read now")}
	}
	defer file.Close()
	var head bytes.Buffer
	form := multipart.NewWriter(&head)
	kind := a.Type
	if kind == "" {
		kind = "application/octet-stream"
	}
	// A bytes.Buffer takes everything.
	_ = form.WriteField("messaging_product", "whatsapp")
	_ = form.WriteField("type", kind)
	_, _ = form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="file"; filename="` + quoted.Replace(a.Name) + `"`}, "Content-Type": {kind},
	})
	start := bytes.Clone(head.Bytes())
	head.Reset()
	_ = form.Close()
	size := int64(len(start)) + a.Size + int64(head.Len())
	answer, err := c.post(ctx, "media", form.FormDataContentType(), io.MultiReader(bytes.NewReader(start), file, &head), size)
	if err != nil {
		var e *adapters.SendError
		if errors.As(err, &e) {
			e.Uncertain = false // a file that was brought twice is seen by nobody
		}
		return "", err
	}
	id, err := wire.DecodeUpload(answer)
	if err != nil {
		return "", &adapters.SendError{Code: "answer", Class: adapters.SendRetry, Err: err}
	}
	return id, nil
}

var quoted = strings.NewReplacer(`\`, "_", `"`, "_", "\r", "_", "\n", "_")
