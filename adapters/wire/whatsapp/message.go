package whatsapp

import (
	"encoding/json"
	"strings"
	"time"
)

// Message is what a customer did. Type is the platform's word, and says which of the pointers is set; for a type that is
// not known none is, and the update's Raw is all there is.
type Message struct {
	ID   string // "wamid.…"
	From Identity
	// To is the customer of an echo.
	To   Identity
	Name string // as the customer calls themselves; it proves nothing
	At   time.Time
	Type string
	// Group is the group in which it was written; empty: it was written to the business alone.
	Group string

	Text     string // of a text, the caption of a file, the words of a button
	Media    *Media
	Location *Location
	Cards    []Card
	Reply    *Reply
	Reaction *Reaction
	Order    *Order
	Moved    *Moved
	// Edits and Revokes name the message that is changed or taken back (on numbers that are also used in the app).
	Edits, Revokes string
	// Context is what the message answers.
	Context  *Context
	Referral *Referral
	Failures []Failure // of type unsupported: why there is nothing to read
}

// Media is a file that has to be fetched, within 7 days.
type Media struct {
	ID       string
	MimeType string // as the sender claims
	SHA256   string // of the file, in base64; empty: not said
	Filename string
	Voice    bool // a voice note
	Animated bool // a sticker that moves
}

// Location is a place.
type Location struct {
	Latitude, Longitude float64
	Name, Address       string
}

// Card is a person whom the customer passed on.
type Card struct {
	Name   string
	Phones []string
	Emails []string
}

// Reply is what the customer pressed or filled in.
type Reply struct {
	// Kind is "button" or "list" for what a message offered, "template" for the button of a template, "flow" for a form.
	Kind string
	// ID is what the offer named it: of a template's button its payload. A flow has none.
	ID    string
	Title string
	// Form is what was filled in, the JSON of a flow.
	Form json.RawMessage
}

// Reaction is an emoji put on a message, or taken away from it when Emoji is empty.
type Reaction struct {
	Message, Emoji string
}

// Order is a cart from the business's catalogue.
type Order struct {
	Catalog, Text string
	Items         []Item
}

// Item is one line of an order. Price is what the customer saw, in the currency's own units.
type Item struct {
	Product  string
	Quantity float64
	Price    float64
	Currency string
}

// Moved says that a person has another number now.
type Moved struct {
	To   Identity
	Body string
}

// Context is the message that another one answers.
type Context struct {
	ID        string
	Forwarded bool
	// Product is the product that the customer asks about, of Catalog.
	Catalog, Product string
}

// Referral is the advertisement or post that led the customer to write.
type Referral struct {
	URL, ID, Type, Headline, Body, Click string
}

type wireMessage struct {
	From      loose           `json:"from"`
	User      loose           `json:"from_user_id"`
	Parent    loose           `json:"from_parent_user_id"`
	To        loose           `json:"to"`
	ToUser    loose           `json:"to_user_id"`
	ID        loose           `json:"id"`
	Timestamp loose           `json:"timestamp"`
	Type      string          `json:"type"`
	Group     loose           `json:"group_id"`
	Context   json.RawMessage `json:"context"`
	Referral  json.RawMessage `json:"referral"`
	Errors    []wireFailure   `json:"errors"`
}

// decodeMessage reads one message, or returns nil: without an id nothing could keep it from having an effect twice, and
// without a sender nobody wrote it. Content that is not of its form leaves the pointers empty: the message is there all the
// same, and its raw form with it.
func decodeMessage(raw json.RawMessage, people []wireContact) *Message {
	var w wireMessage
	if json.Unmarshal(raw, &w) != nil || w.ID == "" {
		return nil
	}
	m := &Message{
		ID: string(w.ID), From: identity(string(w.From), string(w.User)), To: identity(string(w.To), string(w.ToUser)),
		At: instant(w.Timestamp), Type: w.Type, Group: string(w.Group),
	}
	m.From.Parent = string(w.Parent)
	if c := contactOf(m.From, people); c != nil {
		if digits(string(c.WaID)) {
			m.From.WaID = string(c.WaID)
		}
		if m.From.User == "" {
			m.From.User = string(c.User)
		}
		if m.From.Parent == "" {
			m.From.Parent = string(c.Parent)
		}
		m.Name, m.From.Username = c.Profile.Name, c.Profile.Username
	}
	if m.From.Empty() {
		return nil
	}
	for _, f := range w.Errors {
		m.Failures = append(m.Failures, f.failure())
	}
	m.readContext(w.Context)
	m.readReferral(w.Referral)
	var all map[string]json.RawMessage
	if json.Unmarshal(raw, &all) == nil {
		m.readContent(all)
	}
	return m
}

// contactOf finds the person who wrote: by either id, and where there is only one by that.
func contactOf(i Identity, people []wireContact) *wireContact {
	for n := range people {
		c := &people[n]
		if i.User != "" && (string(c.User) == i.User || string(c.WaID) == i.User) || i.WaID != "" && string(c.WaID) == i.WaID {
			return c
		}
	}
	// A number and the platform's id of it differ in some countries.
	if len(people) == 1 {
		return &people[0]
	}
	return nil
}

func (m *Message) readContext(raw json.RawMessage) {
	var c struct {
		ID         loose `json:"id"`
		Forwarded  bool  `json:"forwarded"`
		Frequently bool  `json:"frequently_forwarded"`
		Product    struct {
			Catalog loose `json:"catalog_id"`
			Product loose `json:"product_retailer_id"`
		} `json:"referred_product"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &c) != nil {
		return
	}
	x := Context{ID: string(c.ID), Forwarded: c.Forwarded || c.Frequently, Catalog: string(c.Product.Catalog), Product: string(c.Product.Product)}
	if x != (Context{}) {
		m.Context = &x
	}
}

func (m *Message) readReferral(raw json.RawMessage) {
	var r struct {
		URL      string `json:"source_url"`
		ID       loose  `json:"source_id"`
		Type     string `json:"source_type"`
		Headline string `json:"headline"`
		Body     string `json:"body"`
		Click    loose  `json:"ctwa_clid"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &r) != nil {
		return
	}
	x := Referral{URL: r.URL, ID: string(r.ID), Type: r.Type, Headline: r.Headline, Body: r.Body, Click: string(r.Click)}
	if x != (Referral{}) {
		m.Referral = &x
	}
}

// readContent reads the member that the type names.
func (m *Message) readContent(all map[string]json.RawMessage) {
	raw := all[m.Type]
	if len(raw) == 0 {
		return
	}
	switch m.Type {
	case "text":
		var t struct{ Body string }
		if json.Unmarshal(raw, &t) == nil {
			m.Text = t.Body
		}
	case "image", "video", "audio", "voice", "document", "sticker":
		m.readMedia(raw)
	case "location":
		var l struct {
			Latitude, Longitude *float64
			Name, Address       string
		}
		if json.Unmarshal(raw, &l) == nil && l.Latitude != nil && l.Longitude != nil {
			m.Location = &Location{*l.Latitude, *l.Longitude, l.Name, l.Address}
		}
	case "contacts":
		m.readCards(raw)
	case "button":
		var b struct{ Payload, Text string }
		if json.Unmarshal(raw, &b) == nil && (b.Payload != "" || b.Text != "") {
			m.Text, m.Reply = b.Text, &Reply{Kind: "template", ID: b.Payload, Title: b.Text}
		}
	case "interactive":
		m.readInteractive(raw)
	case "reaction":
		var r struct {
			Message loose `json:"message_id"`
			Emoji   string
		}
		if json.Unmarshal(raw, &r) == nil && r.Message != "" {
			m.Reaction = &Reaction{string(r.Message), r.Emoji}
		}
	case "order":
		m.readOrder(raw)
	case "system":
		var s struct {
			Body string
			WaID loose `json:"wa_id"`
			// The number before the description had wa_id.
			New  loose `json:"new_wa_id"`
			User loose `json:"user_id"`
		}
		if json.Unmarshal(raw, &s) == nil {
			to := string(s.WaID)
			if to == "" {
				to = string(s.New)
			}
			m.Moved = &Moved{To: identity(to, string(s.User)), Body: s.Body}
		}
	case "edit", "revoke":
		var e struct {
			Original loose `json:"original_message_id"`
			Message  struct {
				Text struct{ Body string }
			}
		}
		if json.Unmarshal(raw, &e) != nil {
			return
		}
		if m.Type == "revoke" {
			m.Revokes = string(e.Original)
			return
		}
		m.Edits, m.Text = string(e.Original), e.Message.Text.Body
	}
}

func (m *Message) readMedia(raw json.RawMessage) {
	var f struct {
		ID       loose
		MimeType string `json:"mime_type"`
		SHA256   string `json:"sha256"`
		Filename string
		Caption  string
		Voice    bool
		Animated bool
	}
	if json.Unmarshal(raw, &f) != nil || f.ID == "" {
		return
	}
	m.Text = f.Caption
	m.Media = &Media{
		ID: string(f.ID), MimeType: f.MimeType, SHA256: f.SHA256, Filename: f.Filename,
		Voice: f.Voice || m.Type == "voice", Animated: f.Animated,
	}
}

// maxCards and the like bound what one message may make others keep.
const (
	maxCards = 20
	maxItems = 100
)

func (m *Message) readCards(raw json.RawMessage) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return
	}
	for _, raw := range list[:min(len(list), maxCards)] {
		var c struct {
			Name struct {
				Formatted string `json:"formatted_name"`
				First     string `json:"first_name"`
				Last      string `json:"last_name"`
			}
			Phones []struct{ Phone loose }
			Emails []struct{ Email string }
		}
		if json.Unmarshal(raw, &c) != nil {
			continue
		}
		card := Card{Name: c.Name.Formatted}
		if card.Name == "" {
			card.Name = strings.TrimSpace(c.Name.First + " " + c.Name.Last)
		}
		for _, p := range c.Phones[:min(len(c.Phones), maxCards)] {
			if p.Phone != "" {
				card.Phones = append(card.Phones, string(p.Phone))
			}
		}
		for _, e := range c.Emails[:min(len(c.Emails), maxCards)] {
			if e.Email != "" {
				card.Emails = append(card.Emails, e.Email)
			}
		}
		m.Cards = append(m.Cards, card)
	}
}

func (m *Message) readInteractive(raw json.RawMessage) {
	type pressed struct {
		ID          loose
		Title       string
		Description string
	}
	var i struct {
		Type   string
		Button *pressed `json:"button_reply"`
		List   *pressed `json:"list_reply"`
		Flow   *struct {
			Name, Body string
			Response   string `json:"response_json"` // JSON in a string
		} `json:"nfm_reply"`
	}
	if json.Unmarshal(raw, &i) != nil {
		return
	}
	switch {
	case i.Button != nil:
		m.Reply = &Reply{Kind: "button", ID: string(i.Button.ID), Title: i.Button.Title}
	case i.List != nil:
		m.Reply = &Reply{Kind: "list", ID: string(i.List.ID), Title: i.List.Title}
	case i.Flow != nil:
		m.Reply = &Reply{Kind: "flow", Title: i.Flow.Body}
		if json.Valid([]byte(i.Flow.Response)) {
			m.Reply.Form = json.RawMessage(i.Flow.Response)
		}
	default:
		return
	}
	m.Text = m.Reply.Title
}

func (m *Message) readOrder(raw json.RawMessage) {
	var o struct {
		Catalog loose `json:"catalog_id"`
		Text    string
		Items   []struct {
			Product  loose `json:"product_retailer_id"`
			Quantity loose `json:"quantity"`
			Price    loose `json:"item_price"`
			Currency string
		} `json:"product_items"`
	}
	if json.Unmarshal(raw, &o) != nil {
		return
	}
	m.Text = o.Text
	m.Order = &Order{Catalog: string(o.Catalog), Text: o.Text}
	for _, i := range o.Items[:min(len(o.Items), maxItems)] {
		m.Order.Items = append(m.Order.Items, Item{string(i.Product), i.Quantity.number(), i.Price.number(), i.Currency})
	}
}
