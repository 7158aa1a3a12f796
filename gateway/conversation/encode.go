package conversation

import (
	"fmt"

	"turnout/gateway/jsonenc"
)

// The encoders of this package write what encoding/json makes of the structs and their tags, which stay the definition of
// the form: a log is read by their Decode. A store keeps the same documents packed (pack.go). They exist because every turn writes several events and a state. Members stand
// in the order of the fields; TestEncoders finds a field that is missing here.

// Append appends e to dst as JSON, the bytes of Encode. It allocates nothing when dst has room. On an
// error dst is returned as it was.
func (e *Event) Append(dst []byte) ([]byte, error) {
	w := jsonenc.To(dst)
	return e.encode(&w)
}

func (e *Event) encode(w *jsonenc.Encoder) ([]byte, error) {
	w.Begin()
	w.Int("v", int64(e.V))
	w.Uint("seq", e.Seq)
	w.OptUint("vseq", e.VSeq)
	w.Int("at", e.At)
	w.String("type", string(e.Type))
	e.Epoch.encode(w, "epoch")
	w.String("op", e.Op)
	w.Object("actor")
	w.String("kind", string(e.Actor.Kind))
	w.OptString("id", e.Actor.ID)
	w.EndObject()
	if e.Data == nil {
		w.Null("data")
	} else {
		w.Object("data")
		encodeData(w, e.Data)
		w.EndObject()
	}
	w.EndObject()
	b, err := w.Finish()
	if err != nil {
		return b, fmt.Errorf("encoding %s: %w", e.Type, err)
	}
	return b, nil
}

// encodeData writes the members of a body. It is a switch and no method of Data so that w can stay on the stack.
func encodeData(w *jsonenc.Encoder, data Data) {
	switch d := data.(type) {
	case *Received:
		d.encode(w)
	case *Held:
		d.encode(w)
	case *Sent:
		d.encode(w)
	case *StatusChanged:
		w.String("id", d.ID)
		w.String("status", string(d.Status))
		w.OptString("code", d.Code)
	case *Note:
		w.String("id", d.ID)
		w.String("note", string(d.Note))
	case *TurnBegun:
		d.encode(w)
	case *TurnDropped:
		w.String("id", d.ID)
		w.String("reason", d.Reason)
		encodeParts(w, "answer", d.Answer)
	case *TurnBroken:
		d.encode(w)
	case *Decision:
		d.encode(w)
	case *Handoff:
		d.encode(w)
	case *OwnerMoved:
		d.encode(w)
	case *Offered:
		d.encode(w)
	case *offerLapsed:
		d.encode(w)
	case *offerDeclined:
		d.encode(w)
	case *Timer:
		d.encode(w)
	case *timerFired:
		d.encode(w)
	case *Profiled:
		d.encode(w)
	case *Linked:
		w.String("contact", d.Contact)
	case *Begun:
		w.String("id", d.ID)
		encodeAddress(w, "from", &d.From)
		w.OptString("previous", d.Previous)
		w.OptString("contact", d.Contact)
	case *Ended:
		w.String("reason", d.Reason)
	case *Resumed, *Wiped:
	default:
		w.Fail(fmt.Errorf("no encoder for %T", data))
	}
}

func (d *Profiled) encode(w *jsonenc.Encoder) {
	if d.Profile != nil {
		encodeProfile(w, "profile", d.Profile)
	}
	if d.Account != nil {
		encodeAccount(w, "account", d.Account)
	}
	w.OptString("turn", d.Turn)
	w.OptInt("rules", int64(d.Rules))
	w.OptRaw("inputs", d.Inputs)
}

func (d *Received) encode(w *jsonenc.Encoder) {
	w.String("id", d.ID)
	encodeInbound(w, "in", &d.In)
	w.OptInt("rules", int64(d.Rules))
	encodeScores(w, "scores", &d.Scores)
	encodeMemory(w, "memory", &d.Memory)
	w.OptString("model", d.Model)
	w.OptRaw("inputs", d.Inputs)
	w.OptBool("held", d.Held)
}

func (d *Held) encode(w *jsonenc.Encoder) {
	w.String("id", d.ID)
	w.String("by", string(d.By))
	w.OptString("name", d.Name)
	if d.In != nil {
		encodeInbound(w, "in", d.In)
	}
	if d.Part != nil {
		w.Object("part")
		encodePart(w, d.Part)
		w.EndObject()
	}
	w.OptInt("until", d.Until)
	w.OptString("reason", d.Reason)
}

func (d *Sent) encode(w *jsonenc.Encoder) {
	w.String("id", d.ID)
	w.String("by", string(d.By))
	w.OptString("name", d.Name)
	w.Object("part")
	encodePart(w, &d.Part)
	w.EndObject()
	w.OptString("turn", d.Turn)
	w.OptString("rule", d.Rule)
	w.OptBool("rating", d.Rating)
}

func (d *TurnBegun) encode(w *jsonenc.Encoder) {
	w.String("id", d.ID)
	w.Uint("from", d.From)
	w.Uint("to", d.To)
	w.OptInt("rules", int64(d.Rules))
	w.Int("attempt", int64(d.Attempt))
	w.OptString("bot", d.Bot)
}

func (d *TurnBroken) encode(w *jsonenc.Encoder) {
	w.String("id", d.ID)
	w.String("kind", d.Kind)
	w.OptInt("status", int64(d.Status))
	w.Int("attempt", int64(d.Attempt))
	w.OptBool("final", d.Final)
}

func (d *Decision) encode(w *jsonenc.Encoder) {
	w.String("kind", string(d.Kind))
	w.String("phase", string(d.Phase))
	w.OptString("turn", d.Turn)
	w.OptUint("seq", d.Seq)
	w.OptInt("rules", int64(d.Rules))
	w.OptString("rule", d.Rule)
	w.OptStrings("matched", d.Matched)
	w.OptStrings("shadow", d.Shadow)
	w.OptStrings("failed", d.Failed)
	w.OptStrings("tags", d.Tags)
	w.OptStrings("notify", d.Notify)
	w.OptBool("must_reach_human", d.MustReachHuman)
	w.OptString("route", d.Route)
	encodeScores(w, "scores", &d.Scores)
	encodeMemory(w, "memory", &d.Memory)
	w.OptString("model", d.Model)
	w.OptRaw("inputs", d.Inputs)
	if d.Bot != nil {
		w.Object("bot")
		d.Bot.encode(w)
		w.EndObject()
	}
	encodeParts(w, "withheld", d.Withheld)
}

func (s *BotSaid) encode(w *jsonenc.Encoder) {
	if s.Confidence != nil {
		w.Float("confidence", *s.Confidence)
	}
	w.OptString("intent", s.Intent)
	if s.Fallback != nil {
		w.Bool("fallback", *s.Fallback)
	}
	w.OptString("handoff", s.Handoff)
	w.OptBool("end", s.End)
	w.OptInt("sources", int64(s.Sources))
}

func (h *Handoff) encode(w *jsonenc.Encoder) {
	w.String("rule", h.Rule)
	w.OptString("reason", h.Reason)
	w.String("queue", h.Queue)
	w.Int("priority", int64(h.Priority))
	w.OptStrings("skills", h.Skills)
	w.OptString("turn", h.Turn)
	w.OptStrings("in_flight", h.InFlight)
}

func (d *OwnerMoved) encode(w *jsonenc.Encoder) {
	d.From.encode(w, "from")
	d.To.encode(w, "to")
	w.String("reason", d.Reason)
	w.OptInt("position", int64(d.Position))
	w.OptInt("priority", int64(d.Priority))
	w.OptStrings("in_flight", d.InFlight)
}

func (o *Offered) encode(w *jsonenc.Encoder) {
	w.String("agent", o.Agent)
	w.OptInt("until", o.Until)
}

func (t *Timer) encode(w *jsonenc.Encoder) {
	w.String("name", t.Name)
	w.Int("at", t.At)
}

func (p *Epoch) encode(w *jsonenc.Encoder, key string) {
	w.Object(key)
	w.Uint("n", p.N)
	w.String("op", p.Op)
	w.EndObject()
}

func (o *Owner) encode(w *jsonenc.Encoder, key string) {
	w.Object(key)
	w.String("kind", string(o.Kind))
	w.OptString("queue", o.Queue)
	w.OptString("agent", o.Agent)
	w.OptString("name", o.Name)
	w.EndObject()
}
