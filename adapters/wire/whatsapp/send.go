package whatsapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Send is one message to a person: exactly one of Text, Media, Buttons, List, Link and Template is set.
type Send struct {
	// To is the person: the phone number goes before the BSUID.
	To Identity
	// Answers is the message that this one is an answer to ("wamid.…"); empty: none.
	Answers string
	// Opaque comes back in the statuses of the message, perhaps; at most 512 bytes.
	Opaque string

	Text     string
	Media    *SendMedia
	Buttons  *Buttons
	List     *List
	Link     *Link
	Template *Template
}

// SendMedia is a file, by the id of its upload or by an address from which the platform fetches it.
type SendMedia struct {
	Kind     string // image, video, audio, document, sticker
	ID, Link string
	Caption  string // not of audio and stickers
	Filename string // of documents
}

// Buttons are up to MaxButtons things to press below a text.
type Buttons struct {
	Body    string
	Buttons []Offer
}

// List is up to MaxRows things to choose from, behind one button.
type List struct {
	Body, Button string
	Rows         []Offer
}

// Offer is one thing to press or choose. Detail is of rows only.
type Offer struct {
	ID, Title, Detail string
}

// Link is one button that leads to the web.
type Link struct {
	Body, Label, URL string
}

// Template is a text that the platform has approved, the only thing that it takes outside of the reply window.
type Template struct {
	Name, Language string
	// Body fills the placeholders of the template's body, in their order.
	Body []string
	// Payloads are what the quick replies of the template come back with, by their order.
	Payloads []string
}

type object = map[string]any

// ErrSend says that a message cannot be said to this platform as it stands; what wraps it says why.
var ErrSend = errors.New("the message does not fit the platform")

// Encode returns the body of the call that sends s. Every bound of the platform is looked at here, so that what it would
// refuse is known before anything leaves. Errors wrap ErrSend and do not repeat what is sent.
func (s Send) Encode() ([]byte, error) {
	body := object{"messaging_product": "whatsapp", "recipient_type": "individual"}
	switch {
	case s.To.Phone != "":
		body["to"] = s.To.Phone
	case s.To.WaID != "":
		body["to"] = s.To.WaID
	case s.To.User != "":
		body["recipient"] = s.To.User
	default:
		return nil, fmt.Errorf("%w: it has no recipient", ErrSend)
	}
	if s.Answers != "" {
		body["context"] = object{"message_id": s.Answers}
	}
	if s.Opaque != "" {
		body["biz_opaque_callback_data"] = s.Opaque
	}
	kind, content, err := s.content()
	if err != nil {
		return nil, err
	}
	body["type"], body[kind] = kind, content
	return json.Marshal(body)
}

func (s Send) content() (kind string, content object, err error) {
	check := func(what, text string, most int) {
		if err == nil && (text == "" || Units(text) > most || !utf8.ValidString(text)) {
			err = fmt.Errorf("%w: %s must be a text of 1 to %d characters", ErrSend, what, most)
		}
	}
	set := 0
	for _, there := range []bool{s.Text != "", s.Media != nil, s.Buttons != nil, s.List != nil, s.Link != nil, s.Template != nil} {
		if there {
			set++
		}
	}
	if set != 1 {
		return "", nil, fmt.Errorf("%w: it holds %d things, not one", ErrSend, set)
	}
	switch {
	case s.Text != "":
		check("the text", s.Text, MaxText)
		return "text", object{"body": s.Text, "preview_url": false}, err
	case s.Media != nil:
		return s.Media.content()
	case s.Buttons != nil:
		check("the text", s.Buttons.Body, MaxBody)
		if n := len(s.Buttons.Buttons); err == nil && (n == 0 || n > MaxButtons) {
			err = fmt.Errorf("%w: %d buttons, where there can be 1 to %d", ErrSend, n, MaxButtons)
		}
		var buttons []object
		for _, b := range s.Buttons.Buttons {
			check("a button's id", b.ID, MaxReplyID)
			check("a button's title", b.Title, MaxButtonTitle)
			buttons = append(buttons, object{"type": "reply", "reply": object{"id": b.ID, "title": b.Title}})
		}
		return "interactive", object{"type": "button", "body": object{"text": s.Buttons.Body}, "action": object{"buttons": buttons}}, err
	case s.List != nil:
		check("the text", s.List.Body, MaxBody)
		check("the list's button", s.List.Button, MaxListButton)
		if n := len(s.List.Rows); err == nil && (n == 0 || n > MaxRows) {
			err = fmt.Errorf("%w: %d rows, where there can be 1 to %d", ErrSend, n, MaxRows)
		}
		var rows []object
		for _, r := range s.List.Rows {
			check("a row's id", r.ID, MaxRowID)
			check("a row's title", r.Title, MaxRowTitle)
			row := object{"id": r.ID, "title": r.Title}
			if r.Detail != "" {
				check("a row's description", r.Detail, MaxRowDetail)
				row["description"] = r.Detail
			}
			rows = append(rows, row)
		}
		return "interactive", object{
			"type": "list", "body": object{"text": s.List.Body},
			"action": object{"button": s.List.Button, "sections": []object{{"rows": rows}}},
		}, err
	case s.Link != nil:
		check("the text", s.Link.Body, MaxBody)
		check("the button", s.Link.Label, MaxButtonTitle)
		return "interactive", object{
			"type": "cta_url", "body": object{"text": s.Link.Body},
			"action": object{"name": "cta_url", "parameters": object{"display_text": s.Link.Label, "url": s.Link.URL}},
		}, err
	}
	return s.Template.content()
}

func (f SendMedia) content() (string, object, error) {
	switch f.Kind {
	case "image", "video", "document":
	case "audio", "sticker":
		if f.Caption != "" {
			return "", nil, fmt.Errorf("%w: %s takes no caption", ErrSend, f.Kind)
		}
	default:
		return "", nil, fmt.Errorf("%w: there are no files of this kind", ErrSend)
	}
	content := object{}
	switch {
	case f.ID != "":
		content["id"] = f.ID
	case f.Link != "":
		content["link"] = f.Link
	default:
		return "", nil, fmt.Errorf("%w: the file has no id and no address", ErrSend)
	}
	if f.Caption != "" {
		if Units(f.Caption) > MaxBody || !utf8.ValidString(f.Caption) {
			return "", nil, fmt.Errorf("%w: a caption must be a text of at most %d characters", ErrSend, MaxBody)
		}
		content["caption"] = f.Caption
	}
	if f.Filename != "" && f.Kind == "document" {
		content["filename"] = f.Filename
	}
	return f.Kind, content, nil
}

func (t Template) content() (string, object, error) {
	if t.Name == "" || t.Language == "" {
		return "", nil, fmt.Errorf("%w: a template needs its name and its language", ErrSend)
	}
	var components []object
	if len(t.Body) > 0 {
		var parameters []object
		for _, p := range t.Body {
			parameters = append(parameters, object{"type": "text", "text": p})
		}
		components = append(components, object{"type": "body", "parameters": parameters})
	}
	for i, p := range t.Payloads {
		components = append(components, object{
			"type": "button", "sub_type": "quick_reply", "index": fmt.Sprint(i),
			"parameters": []object{{"type": "payload", "payload": p}},
		})
	}
	content := object{"name": t.Name, "language": object{"code": t.Language}}
	if components != nil {
		content["components"] = components
	}
	return "template", content, nil
}

// EncodeRead returns the body of the call by which a customer's message, and all before it, shows as read; with typing also
// that somebody is writing, for at most 25 s or until a message follows. There is no typing without reading.
func EncodeRead(message string, typing bool) []byte {
	body := object{"messaging_product": "whatsapp", "status": "read", "message_id": message}
	if typing {
		body["typing_indicator"] = object{"type": "text"}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		panic("encoding strings: " + err.Error()) // they always can be
	}
	return raw
}
