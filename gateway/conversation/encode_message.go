package conversation

import (
	"turnout/adapters/message"
	"turnout/gateway/jsonenc"
	"turnout/rules/signal"
)

// Encoders of what events and states hold of other packages.

func encodeInbound(w *jsonenc.Encoder, key string, in *message.Inbound) {
	w.Object(key)
	w.String("id", in.ID)
	encodeAddress(w, "from", &in.From)
	w.String("kind", string(in.Kind))
	w.OptString("text", in.Text)
	w.OptString("quoted", in.Quoted)
	if in.Choice != nil {
		w.Object("choice")
		encodeChoice(w, in.Choice)
		w.EndObject()
	}
	encodeAttachments(w, in.Attachments)
	w.OptString("lang", in.Lang)
	if !in.SentAt.IsZero() {
		w.Time("sent_at", in.SentAt)
	}
	if in.Profile != nil {
		encodeProfile(w, "profile", in.Profile)
	}
	w.OptString("trace", in.Trace)
	w.OptBase64("raw", in.Raw)
	w.EndObject()
}

func encodeAddress(w *jsonenc.Encoder, key string, a *message.Address) {
	w.Object(key)
	w.String("channel", a.Channel)
	w.String("address", a.Address)
	w.OptString("thread", a.Thread)
	w.EndObject()
}

func encodeProfile(w *jsonenc.Encoder, key string, p *message.Profile) {
	w.Object(key)
	w.String("subject", p.Subject)
	w.OptString("name", p.Name)
	w.OptString("email", p.Email)
	w.OptString("phone", p.Phone)
	w.OptValues("fields", p.Fields)
	w.OptString("level", p.Level)
	w.EndObject()
}

func encodeAccount(w *jsonenc.Encoder, key string, a *message.Account) {
	w.Object(key)
	w.String("subject", a.Subject)
	w.Time("at", a.At)
	w.OptBool("unknown", a.Unknown)
	w.OptString("name", a.Name)
	w.OptValues("fields", a.Fields)
	if len(a.Tickets) > 0 {
		w.List("tickets")
		for i := range a.Tickets {
			t := &a.Tickets[i]
			w.Begin()
			w.String("id", t.ID)
			w.OptString("subject", t.Subject)
			w.OptString("status", t.Status)
			if !t.At.IsZero() {
				w.Time("at", t.At)
			}
			w.OptString("url", t.URL)
			w.EndObject()
		}
		w.EndList()
	}
	w.EndObject()
}

func encodeParts(w *jsonenc.Encoder, key string, parts []message.Part) {
	if len(parts) == 0 {
		return
	}
	w.List(key)
	for i := range parts {
		w.Begin()
		encodePart(w, &parts[i])
		w.EndObject()
	}
	w.EndList()
}

func encodePart(w *jsonenc.Encoder, p *message.Part) {
	w.OptString("text", p.Text)
	w.OptString("lang", p.Lang)
	if len(p.Choices) > 0 {
		w.List("choices")
		for i := range p.Choices {
			w.Begin()
			encodeChoice(w, &p.Choices[i])
			w.EndObject()
		}
		w.EndList()
	}
	encodeAttachments(w, p.Attachments)
	w.OptString("link", p.Link)
}

func encodeChoice(w *jsonenc.Encoder, c *message.Choice) {
	w.String("id", c.ID)
	w.String("label", c.Label)
}

func encodeAttachments(w *jsonenc.Encoder, files []message.Attachment) {
	if len(files) == 0 {
		return
	}
	w.List("attachments")
	for i := range files {
		f := &files[i]
		w.Begin()
		w.String("id", f.ID)
		w.String("name", f.Name)
		w.String("type", f.Type)
		w.Int("size", f.Size)
		w.EndObject()
	}
	w.EndList()
}

func encodeScores(w *jsonenc.Encoder, key string, s *signal.Scores) {
	if *s == (signal.Scores{}) {
		return
	}
	w.Object(key)
	w.OptFloat("human_request", s.HumanRequest)
	w.OptFloat("frustration", s.Frustration)
	w.OptFloat("repeat", s.Repeat)
	w.OptFloat("bot_fallback", s.BotFallback)
	w.OptFloat("bot_repeat", s.BotRepeat)
	w.EndObject()
}

func encodeMemory(w *jsonenc.Encoder, key string, m *signal.Memory) {
	if *m == (signal.Memory{}) {
		return
	}
	w.Object(key)
	w.OptString("l", m.Language)
	w.OptBool("g", m.Guessed)
	encodeDigests(w, "c", &m.Customer)
	encodeDigests(w, "b", &m.Bot)
	w.OptUint("f", uint64(m.Fallbacks))
	w.OptUint("a", uint64(m.Annoyed))
	w.OptUint("t", uint64(m.Trend))
	w.EndObject()
}

func encodeDigests(w *jsonenc.Encoder, key string, d *signal.Digests) {
	if *d == (signal.Digests{}) {
		return
	}
	var room [48]byte
	text, err := d.AppendText(room[:0])
	if err != nil {
		w.Fail(err)
		return
	}
	w.Plain(key, text)
}
