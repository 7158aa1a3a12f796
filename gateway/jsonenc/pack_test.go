package jsonenc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"turnout/gateway/jsonenc"
)

var words = jsonenc.NewDictionary("id", "text", "list", "members", "n", "pass", "message.sent", "é")

// write makes the same calls, which t decides on, at each encoder.
func write(t *rapid.T, depth int, encoders ...*jsonenc.Encoder) {
	each := func(f func(e *jsonenc.Encoder)) {
		for _, e := range encoders {
			f(e)
		}
	}
	text := func() string {
		return rapid.OneOf(rapid.SampledFrom([]string{
			"", "pass", "message.sent", "<&\u2028>\xff", strings.Repeat("long ", 40), strings.Repeat("x", 127), strings.Repeat("x", 128),
			"m_2v06h13gq3mzwk9e14gnwbbecr", "m_2v06h13gq3mzwk9e14gnwbbecz", "m_2v06h13gq3mzwk9e14gnwbbeiu", "\"_2v06h13gq3mzwk9e14gnwbbecr",
			"qj6bX8GMFVR4yRcb4wicAg", "qj6bX8GMFVR4yRcb4wicAh", "qj6bX8GMFVR4yRcb4wic+/", "0123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789abcdef",
			strings.Repeat("0a", 64), strings.Repeat("0a", 65), "1234567890123456789012",
		}), rapid.String()).Draw(t, "text")
	}
	for range rapid.IntRange(0, 6).Draw(t, "members") {
		key := rapid.SampledFrom([]string{"id", "text", "list", "members", "other", "n"}).Draw(t, "key")
		switch rapid.IntRange(0, 12).Draw(t, "member") {
		case 0:
			each(func(e *jsonenc.Encoder) { e.Null(key) })
		case 1:
			s := text()
			each(func(e *jsonenc.Encoder) { e.String(key, s) })
		case 2:
			s := text()
			each(func(e *jsonenc.Encoder) { e.OptStrings(key, []string{s, "pass", s}) })
		case 3:
			n := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-200, 200)).Draw(t, "int")
			each(func(e *jsonenc.Encoder) { e.Int(key, n) })
		case 4:
			n := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 200)).Draw(t, "uint")
			each(func(e *jsonenc.Encoder) { e.Uint(key, n) })
		case 5:
			b := rapid.Bool().Draw(t, "bool")
			each(func(e *jsonenc.Encoder) { e.Bool(key, b) })
		case 6:
			f := rapid.Float64().Draw(t, "float")
			each(func(e *jsonenc.Encoder) { e.Float(key, f) })
		case 7:
			each(func(e *jsonenc.Encoder) { e.Time(key, time.UnixMilli(1_700_000_000_123)) })
		case 8:
			b := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
			each(func(e *jsonenc.Encoder) { e.OptBase64(key, b) })
		case 9:
			each(func(e *jsonenc.Encoder) { e.OptRaw(key, json.RawMessage(`{"a": [1, "<"]}`)) })
		case 10:
			m := map[string]any{text(): text(), "b": 0.5, "c": true, "d": []any{1}, "n": nil}
			each(func(e *jsonenc.Encoder) { e.OptValues(key, m) })
			each(func(e *jsonenc.Encoder) { e.OptInts(key, map[string]int64{"n": 1, "\"": -1}) })
		case 11:
			each(func(e *jsonenc.Encoder) { e.Plain(key, []byte("0123456789abcdef0123456789abcdef")) })
		default:
			if depth > 3 {
				continue
			}
			each(func(e *jsonenc.Encoder) { e.Object(key) })
			write(t, depth+1, encoders...)
			each(func(e *jsonenc.Encoder) { e.EndObject(); e.List(key); e.Begin() })
			write(t, depth+1, encoders...)
			each(func(e *jsonenc.Encoder) { e.EndObject(); e.EndList() })
		}
	}
}

// TestUnpack checks that what is packed comes back as the JSON that the same calls write.
func TestUnpack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain, packed := jsonenc.To(nil), jsonenc.Packed([]byte("before"), words)
		for _, e := range []*jsonenc.Encoder{&plain, &packed} {
			e.Begin()
		}
		write(t, 0, &plain, &packed)
		for _, e := range []*jsonenc.Encoder{&plain, &packed} {
			e.EndObject()
		}
		want, wantErr := plain.Finish()
		b, err := packed.Finish()
		if err != nil || wantErr != nil {
			t.Fatalf("%v, %v", err, wantErr)
		}
		got, err := jsonenc.Unpack([]byte("x"), b[len("before"):], words)
		if err != nil || string(got) != "x"+string(want) {
			t.Fatalf("unpacked\n%s (%v)\nwant\n%s", got, err, want)
		}
		for end := range len(b) - len("before") {
			if got, err := jsonenc.Unpack([]byte("x"), b[len("before"):][:end], words); !errors.Is(err, jsonenc.ErrPacked) || string(got) != "x" {
				t.Fatalf("the first %d bytes: %q, %v", end, got, err)
			}
		}
	})
}

// TestPackedIsSmall checks that what is said to be short is short.
func TestPackedIsSmall(t *testing.T) {
	for text, want := range map[string]int{
		"m_2v06h13gq3mzwk9e14gnwbbecr": 18, "qj6bX8GMFVR4yRcb4wicAg": 17, strings.Repeat("0a", 32): 34, "message.sent": 2, "abc": 4,
	} {
		e := jsonenc.Packed(nil, words)
		e.Begin()
		e.String("id", text)
		e.EndObject()
		if b, err := e.Finish(); err != nil || len(b) != want+3 {
			t.Errorf("%q takes %d bytes (%v), want %d", text, len(b)-3, err, want)
		}
	}
}

func TestDictionaryRefuses(t *testing.T) {
	for name, bad := range map[string][]string{"twice": {"a", "b", "a"}, "empty": {""}, "an escape": {"a\"b"}, "long": {strings.Repeat("x", 41)}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: it is a dictionary", name)
				}
			}()
			jsonenc.NewDictionary(bad...)
		}()
	}
}

// FuzzUnpack feeds arbitrary bytes to Unpack: it must refuse or make JSON, and not much more than there was.
func FuzzUnpack(f *testing.F) {
	e := jsonenc.Packed(nil, words)
	e.Begin()
	e.String("id", "m_2v06h13gq3mzwk9e14gnwbbecr")
	e.String("other", "qj6bX8GMFVR4yRcb4wicAg")
	e.Float("n", 0.93)
	e.Int("n", -5)
	e.OptStrings("list", []string{"pass", strings.Repeat("0a", 16), strings.Repeat("x", 130)})
	e.OptRaw("text", json.RawMessage("[1]"))
	e.Null("text")
	e.EndObject()
	b, err := e.Finish()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{2, 2, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := jsonenc.Unpack(nil, b, words)
		if err != nil {
			if len(got) != 0 {
				t.Fatalf("left %q", got)
			}
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%q is no JSON", got)
		}
		if len(got) > 64+24*len(b) || bytes.IndexByte(got, 0) >= 0 {
			t.Fatalf("%d bytes of %d", len(got), len(b))
		}
	})
}
