package whatsapp

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

// ErrEnvelope says that a body is not a webhook at all: not JSON, or without the list of entries.
var ErrEnvelope = errors.New("the body is not a webhook of the platform")

// MaxUpdates bounds what is read of one webhook. Meta posts up to 1,000 updates, in at most 3 MB.
const MaxUpdates = 10_000

// Update is one element of a webhook: one message, one status or one thing that happened to an account. Exactly one of
// Message, Echo, Status, Failure and Broken is set where Field is "messages" or "smb_message_echoes"; for other fields none
// is, and Raw is the whole change.
type Update struct {
	Account string // the WhatsApp Business account
	Field   string
	// Number is the business's own number by its id, by which updates belong to one channel; Display is the number itself.
	Number, Display string

	Message *Message
	// Echo is a message that the business's people wrote in the app of their own. It is not the customer's.
	Echo *Message
	// Status is what became of a message that was sent.
	Status *Status
	// Failure is an error of the account or the number, of no message in particular.
	Failure *Failure
	// Broken says what is wrong with an element that cannot be read. It does not repeat its content.
	Broken error
	// Raw is the element as it came. It is a part of the body that was decoded.
	Raw json.RawMessage
}

// Failure is an error as the platform reports it, in a webhook or in an answer.
type Failure struct {
	Code int
	// Title and Details are for people; titles will go (documentation: support/error-codes).
	Title, Details string
}

// Status is what became of one message.
type Status struct {
	ID string // that of the send's answer
	// State is sent, delivered, read, played, failed, deleted or warning, and what else the platform will think of. They come
	// in any order; delivered may be missing before read, and may follow failed.
	State     string
	At        time.Time
	Recipient Identity
	// Group is the group that it was sent to; empty: a person.
	Group    string
	Failures []Failure
	// Window is until when the platform takes free text for the recipient; zero: it does not say.
	Window time.Time
	// Category is what the platform charges for: "service", "utility", "marketing". Empty: it does not say.
	Category string
	// Opaque is what the send carried as biz_opaque_callback_data. Meta documents it for calls only: a help, never a proof.
	Opaque string
}

type envelope struct {
	Object string            `json:"object"`
	Entry  []json.RawMessage `json:"entry"`
}

type entry struct {
	ID      loose             `json:"id"`
	Changes []json.RawMessage `json:"changes"`
}

type change struct {
	Field string          `json:"field"`
	Value json.RawMessage `json:"value"`
}

type value struct {
	Metadata struct {
		Display loose `json:"display_phone_number"`
		Number  loose `json:"phone_number_id"`
	} `json:"metadata"`
	Contacts []json.RawMessage `json:"contacts"`
	Messages []json.RawMessage `json:"messages"`
	Echoes   []json.RawMessage `json:"message_echoes"`
	Statuses []json.RawMessage `json:"statuses"`
	Errors   []json.RawMessage `json:"errors"`
}

type wireContact struct {
	Profile struct {
		Name     string `json:"name"`
		Username string `json:"username"`
	} `json:"profile"`
	WaID   loose `json:"wa_id"`
	User   loose `json:"user_id"`
	Parent loose `json:"parent_user_id"`
}

type wireFailure struct {
	Code    loose  `json:"code"`
	Title   string `json:"title"`
	Message string `json:"message"`
	Data    struct {
		Details string `json:"details"`
	} `json:"error_data"`
}

func (w wireFailure) failure() Failure {
	code, _ := strconv.Atoi(string(w.Code)) // 0 is a code of its own: nobody knows
	title := w.Title
	if title == "" {
		title = w.Message
	}
	return Failure{Code: code, Title: title, Details: w.Data.Details}
}

type wireStatus struct {
	ID           loose  `json:"id"`
	Status       string `json:"status"`
	Timestamp    loose  `json:"timestamp"`
	Recipient    loose  `json:"recipient_id"`
	User         loose  `json:"recipient_user_id"`
	Group        loose  `json:"group_id"`
	Conversation *struct {
		Expires loose `json:"expiration_timestamp"` // a string by the description, a number on the wire at times
	} `json:"conversation"`
	Pricing *struct {
		Category string `json:"category"`
	} `json:"pricing"`
	Opaque string        `json:"biz_opaque_callback_data"`
	Errors []wireFailure `json:"errors"`
}

// Decode takes a webhook apart, in its order: entries, their changes, and in each change messages, echoes, statuses and
// errors. What is wrong with one element is its own Broken. The error is ErrEnvelope, and nothing was read then.
func Decode(body []byte) ([]Update, error) {
	var e envelope
	if json.Unmarshal(body, &e) != nil || e.Entry == nil {
		return nil, ErrEnvelope
	}
	var d decoder
	for _, raw := range e.Entry {
		d.entry(raw)
	}
	return d.out, nil
}

type decoder struct {
	out []Update
	at  Update // what the elements of a change have in common
}

var (
	errEntry    = errors.New("the entry is not of the form of the platform")
	errChange   = errors.New("the change is not of the form of the platform")
	errMessage  = errors.New("the message is not of the form of the platform, or has no id or no sender")
	errStatus   = errors.New("the status is not of the form of the platform, or has no id")
	errFailure  = errors.New("the error is not of the form of the platform")
	errTooMany  = errors.New("the webhook holds more updates than are read")
	errNoNumber = errors.New("the change does not say for which number it is")
)

func (d *decoder) add(u Update) {
	switch {
	case len(d.out) < MaxUpdates:
		d.out = append(d.out, u)
	case len(d.out) == MaxUpdates:
		d.out = append(d.out, Update{Broken: errTooMany})
	}
}

// broken reports an element that cannot be read.
func (d *decoder) broken(raw json.RawMessage, why error) {
	u := d.at
	u.Raw, u.Broken = raw, why
	d.add(u)
}

func (d *decoder) entry(raw json.RawMessage) {
	var e entry
	d.at = Update{}
	if json.Unmarshal(raw, &e) != nil {
		d.broken(raw, errEntry)
		return
	}
	for _, c := range e.Changes {
		d.at = Update{Account: string(e.ID)}
		d.change(c)
	}
}

func (d *decoder) change(raw json.RawMessage) {
	var c change
	if json.Unmarshal(raw, &c) != nil {
		d.broken(raw, errChange)
		return
	}
	d.at.Field = c.Field
	if c.Field != "messages" && c.Field != "smb_message_echoes" {
		u := d.at
		u.Raw = raw
		d.add(u)
		return
	}
	var v value
	if json.Unmarshal(c.Value, &v) != nil {
		d.broken(raw, errChange)
		return
	}
	d.at.Number, d.at.Display = string(v.Metadata.Number), string(v.Metadata.Display)
	if d.at.Number == "" {
		d.broken(raw, errNoNumber)
		return
	}
	people := readContacts(v.Contacts)
	for _, raw := range v.Messages {
		if m := decodeMessage(raw, people); m != nil {
			d.add(d.with(raw, func(u *Update) { u.Message = m }))
		} else {
			d.broken(raw, errMessage)
		}
	}
	for _, raw := range v.Echoes {
		if m := decodeMessage(raw, nil); m != nil {
			d.add(d.with(raw, func(u *Update) { u.Echo = m }))
		} else {
			d.broken(raw, errMessage)
		}
	}
	for _, raw := range v.Statuses {
		if s := decodeStatus(raw); s != nil {
			d.add(d.with(raw, func(u *Update) { u.Status = s }))
		} else {
			d.broken(raw, errStatus)
		}
	}
	for _, raw := range v.Errors {
		var w wireFailure
		if json.Unmarshal(raw, &w) != nil {
			d.broken(raw, errFailure)
			continue
		}
		f := w.failure()
		d.add(d.with(raw, func(u *Update) { u.Failure = &f }))
	}
}

func (d *decoder) with(raw json.RawMessage, set func(*Update)) Update {
	u := d.at
	u.Raw = raw
	set(&u)
	return u
}

func readContacts(raws []json.RawMessage) (out []wireContact) {
	for _, raw := range raws {
		var c wireContact
		if json.Unmarshal(raw, &c) == nil {
			out = append(out, c)
		}
	}
	return out
}

func decodeStatus(raw json.RawMessage) *Status {
	var w wireStatus
	if json.Unmarshal(raw, &w) != nil || w.ID == "" {
		return nil
	}
	s := &Status{
		ID: string(w.ID), State: w.Status, At: instant(w.Timestamp), Recipient: identity(string(w.Recipient), string(w.User)),
		Group: string(w.Group), Opaque: w.Opaque,
	}
	if w.Conversation != nil {
		s.Window = instant(w.Conversation.Expires)
	}
	if w.Pricing != nil {
		s.Category = w.Pricing.Category
	}
	for _, f := range w.Errors {
		s.Failures = append(s.Failures, f.failure())
	}
	return s
}

// identity reads the two members that name a person in a message or status. The BSUID has been seen in the place of the
// number.
func identity(from, user string) Identity {
	i := Identity{User: user}
	switch {
	case digits(from):
		i.Phone, i.WaID = from, from
	case i.User == "":
		i.User = from
	}
	return i
}
