package conversation

import (
	"fmt"

	"turnout/gateway/jsonenc"
)

// Append appends s to dst as JSON, as encoding/json writes it and reads it back. It allocates nothing
// when dst has room and s no more than a few timers. On an error dst is returned as it was.
func (s *State) Append(dst []byte) ([]byte, error) {
	w := jsonenc.To(dst)
	return s.encode(&w)
}

func (s *State) encode(w *jsonenc.Encoder) ([]byte, error) {
	w.Begin()
	w.Int("v", int64(s.V))
	w.String("id", s.ID)
	encodeAddress(w, "from", &s.From)
	w.OptString("contact", s.Contact)
	w.Uint("seq", s.Seq)
	w.Uint("vseq", s.VSeq)
	s.Owner.encode(w, "owner")
	s.Epoch.encode(w, "epoch")
	s.encodeWork(w)
	s.encodePeople(w)
	w.OptStrings("tags", s.Tags)
	w.OptString("bot", s.Bot)
	w.OptInt("turns", int64(s.Turns))
	encodeMemory(w, "memory", &s.Memory)
	if s.Profile != nil {
		encodeProfile(w, "profile", s.Profile)
	}
	if s.Account != nil {
		encodeAccount(w, "account", s.Account)
	}
	w.OptInts("timers", s.Timers)
	w.Int("opened_at", s.OpenedAt)
	w.OptInt("heard_at", s.HeardAt)
	w.OptInt("active_at", s.ActiveAt)
	w.OptInt("closed_at", s.ClosedAt)
	w.OptString("resolver", s.Resolver)
	w.OptString("previous", s.Previous)
	w.EndObject()
	b, err := w.Finish()
	if err != nil {
		return b, fmt.Errorf("encoding state: %w", err)
	}
	return b, nil
}

// encodeWork writes what is put or still has to be put to the bot.
func (s *State) encodeWork(w *jsonenc.Encoder) {
	w.OptUint("consumed", s.Consumed)
	if p := &s.Pending; *p != (Pending{}) {
		w.Object("pending")
		w.OptUint("first", p.First)
		w.OptUint("last", p.Last)
		w.OptInt("count", int64(p.Count))
		w.OptInt("rules", int64(p.Rules))
		w.EndObject()
	}
	s.Turn.encode(w, "turn")
	s.Orphan.encode(w, "orphan")
}

// encodePeople writes what was asked of people and what they do.
func (s *State) encodePeople(w *jsonenc.Encoder) {
	w.OptBool("must_reach_human", s.MustReachHuman)
	w.OptBool("human_involved", s.HumanInvolved)
	w.OptInt("returns", int64(s.Returns))
	w.OptInt("handoffs", int64(s.Handoffs))
	if h := s.Handoff; h != nil {
		w.Object("handoff")
		h.Handoff.encode(w)
		w.Int("at", h.At)
		w.OptBool("touched", h.Touched)
		w.EndObject()
	}
	if s.Offer != nil {
		w.Object("offer")
		s.Offer.encode(w)
		w.EndObject()
	}
	w.OptInt("snoozed", s.Snoozed)
	encodeHeld(w, "held_in", s.HeldIn)
	encodeHeld(w, "held_out", s.HeldOut)
}

func (t *Turn) encode(w *jsonenc.Encoder, key string) {
	if t == nil {
		return
	}
	w.Object(key)
	w.String("id", t.ID)
	w.Uint("from", t.From)
	w.Uint("to", t.To)
	w.OptInt("rules", int64(t.Rules))
	w.Int("attempt", int64(t.Attempt))
	w.OptString("bot", t.Bot)
	w.Int("since", t.Since)
	w.EndObject()
}

func encodeHeld(w *jsonenc.Encoder, key string, refs []HeldRef) {
	if len(refs) == 0 {
		return
	}
	w.List(key)
	for i := range refs {
		r := &refs[i]
		w.Begin()
		w.String("id", r.ID)
		w.Uint("seq", r.Seq)
		w.OptInt("until", r.Until)
		w.OptString("by", r.By)
		w.EndObject()
	}
	w.EndList()
}
