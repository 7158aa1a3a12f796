package web

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
)

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// nastyText is a text, often empty, with what encoders get wrong.
func nastyText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(4) {
		b.WriteString(pick(r, "hello", " ", `"`, `\`, "<b>", "&", "\n", "\t", "\r", "\x00", "\x1f", "\x7f", "é", "转人工", "👋🏽",
			"\u2028", "\u2029", "\xff", "\xed\xa0\x80", "\u0085", "\ufffd"))
	}
	return b.String()
}

func someOwner(r *rand.Rand) message.Owner {
	return message.Owner{Kind: message.OwnerKind(nastyText(r)), Name: nastyText(r), Position: pick(r, 0, 0, 3, -1)}
}

func someVisible(r *rand.Rand) message.Visible {
	v := message.Visible{
		Conversation: nastyText(r), VSeq: pick(r, 0, 1, uint64(1)<<63), At: someTime(r), Type: message.VisibleType(nastyText(r)), ID: nastyText(r),
		ClientID: nastyText(r), By: message.By(nastyText(r)), Name: nastyText(r), Turn: nastyText(r),
	}
	if r.IntN(3) > 0 {
		v.Part = &message.Part{Text: nastyText(r), Lang: nastyText(r), Link: nastyText(r)}
		for range r.IntN(3) {
			v.Part.Choices = append(v.Part.Choices, message.Choice{ID: nastyText(r), Label: nastyText(r)})
		}
		for range r.IntN(3) {
			v.Part.Attachments = append(v.Part.Attachments, message.Attachment{
				ID: nastyText(r), Name: nastyText(r), Type: nastyText(r), Size: pick(r, 0, 7, -1, int64(1)<<62),
			})
		}
	}
	if r.IntN(3) == 0 {
		owner := someOwner(r)
		v.Owner = &owner
	}
	return v
}

func someTime(r *rand.Rand) time.Time {
	at := time.Unix(r.Int64N(4e9), pick[int64](r, 0, 0, 120_000_000, 123_456_789)).UTC()
	switch r.IntN(12) {
	case 0:
		return at.In(time.FixedZone("", pick(r, 3600, -5*3600-1800, 30)))
	case 1:
		return time.Date(pick(r, -1, 0, 9999, 10_000), 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return at
}

// TestAppendedIsMarshalled holds what is appended to encoding/json, which defines the form.
func TestAppendedIsMarshalled(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	appended := 0
	for range 5000 {
		var messages []message.Visible
		if r.IntN(10) > 0 {
			messages = []message.Visible{}
		}
		for range r.IntN(3) {
			messages = append(messages, someVisible(r))
		}
		for _, v := range []appender{
			&answered{Conversation: nastyText(r), Owner: someOwner(r), Position: pick(r, 0, 2), Messages: messages, Cursor: adapters.Cursor(nastyText(r))},
			&merged{Conversation: nastyText(r), MergedInto: nastyText(r), Cursor: adapters.Cursor(nastyText(r))},
			&pending{Conversation: nastyText(r), Owner: someOwner(r), Position: pick(r, 0, 2), Cursor: adapters.Cursor(nastyText(r))},
			&eventFrame{Type: nastyText(r), Cursor: adapters.Cursor(nastyText(r)), Event: someVisible(r)},
		} {
			got, ok := v.appendJSON([]byte("before"))
			want, err := json.Marshal(v)
			if !ok {
				continue
			}
			appended++
			if err != nil || string(got) != "before"+string(want) {
				t.Fatalf("%+v\nis  %q\nnot %q, %v", v, got, want, err)
			}
		}
	}
	if appended < 15_000 {
		t.Errorf("only %d values were appended", appended)
	}
}

// TestUnusualTimesAreLeftToMarshal is about times that encoding/json writes another way, or not at all.
func TestUnusualTimesAreLeftToMarshal(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600)),
	} {
		if _, ok := (&eventFrame{Event: message.Visible{At: at}}).appendJSON(nil); ok {
			t.Errorf("%v was appended", at)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00\x7f\u0085", "<&>\"\\", "\u2028\u2029", "\xff\xed\xa0\x80", "é转👋🏽"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if got := appendString(nil, s); err != nil || string(got) != string(want) {
			t.Fatalf("%q is %q, not %q, %v", s, got, want, err)
		}
	})
}
