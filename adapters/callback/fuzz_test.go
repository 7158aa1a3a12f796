package callback

import (
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/hook"
)

func FuzzMessages(f *testing.F) {
	for _, s := range []string{
		`{"messages":[{"id":"1","from":"a","text":"hi"}]}`, `{"messages":[{"id":"1","from":"a","choice":{"id":"x","label":"y"}}]}`,
		`{"messages":[{"id":"1","from":"a","text":"\ud800\u0000\r"}]}`, `{"entry":[{"id":1,"from":"a","text":"t"}]}`, `[[[[`, `null`, "", "\xff",
		`{"messages":[{"id":"1","from":"a","text":"x","profile":{"subject":"s","fields":{"a":1}}}]}`,
	} {
		f.Add([]byte(s))
	}
	build := func(section string) *Channel {
		ch, err := New(adaptertest.YAML("url: http://127.0.0.1:1/\nsecret: env:IN\n"+section), adaptertest.New(f, "acme.test").Deps)
		if err != nil {
			f.Fatal(err)
		}
		return ch.(*Channel)
	}
	own := build("")
	mapped := build(`inbound: {each: "body.entry", id: item.id, from: item.from, text: item.text, profile: item.profile}`)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, c := range []*Channel{own, mapped} {
			list, err := c.inbounds(body)
			var refused *adapters.RefusedError
			if err != nil && !errors.As(err, &refused) {
				t.Fatalf("%v is no RefusedError", err)
			}
			for _, in := range list {
				if in.ID == "" || in.From.Address == "" || in.From.Channel != "acme.test" || !in.Kind.Valid() || !utf8.ValidString(in.Text) ||
					len(in.Text) > defaultTextBytes || clean(in.Text) != in.Text {
					t.Errorf("%+v", in)
				}
			}
		}
	})
}

func FuzzSignature(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	v := verifier{keys: [][]byte{[]byte("key")}, now: func() time.Time { return now }, tolerance: time.Minute}
	good := hook.Sign([]byte("key"), "1700000000", []byte("body"))
	f.Add("1700000000", good, "body")
	f.Add("1700000000", "v1=,"+good, "body")
	f.Add("", "", "")
	f.Add("-1", "v1=zz", "x")
	f.Add("99999999999999999999", "=,=", "x")
	f.Fuzz(func(t *testing.T, timestamp, signatures, body string) {
		if v.verify([]byte(timestamp), []byte(signatures), []byte(body)) && hook.MAC([]byte("key"), timestamp, []byte(body)) == nil {
			t.Error("verified without a signature")
		}
	})
}
