package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"turnout/gateway/audit"
)

// canonical is what encoding/json makes of an entry, or of a struct like it.
func canonical(t interface{ Fatalf(string, ...any) }, e any) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return b
}

// TestEntryEncoder checks that the canonical form has every field of an entry: all are set, then one after the other is
// not, and the bytes must stay those of encoding/json.
func TestEntryEncoder(t *testing.T) {
	var e audit.Entry
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		set(t, v.Field(i), int64(i+1), fmt.Sprint("s", i))
	}
	full, err := e.Append([]byte("before "))
	if want := append([]byte("before "), canonical(t, &e)...); err != nil || !bytes.Equal(full, want) {
		t.Fatalf("%s (%v), encoding/json %s", full, err, want)
	}
	for i := range v.NumField() {
		less := e
		reflect.ValueOf(&less).Elem().Field(i).SetZero()
		got, err := less.Append(nil)
		if want := canonical(t, &less); err != nil || !bytes.Equal(got, want) || bytes.Equal(got, full[len("before "):]) {
			t.Errorf("without %s: %s (%v), encoding/json %s", v.Type().Field(i).Name, got, err, want)
		}
	}
	// The comparison can fail: a field that the encoder does not know shows.
	more := struct {
		audit.Entry
		More int `json:"more"`
	}{e, 1}
	if bytes.Equal(full[len("before "):], canonical(t, &more)) {
		t.Error("a field more makes no difference")
	}
}

// TestEntryEncoderRandom compares the canonical form of random entries with encoding/json.
func TestEntryEncoderRandom(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "<&>\u2028\"\\", "\x00\x7f\xff", "é\xc3", "plain"}))
	rapid.Check(t, func(r *rapid.T) {
		var e audit.Entry
		v := reflect.ValueOf(&e).Elem()
		for i := range v.NumField() {
			set(t, v.Field(i), rapid.SampledFrom([]int64{0, 1, -1, 1 << 40}).Draw(r, "n"), text.Draw(r, "s"))
		}
		got, err := e.Append(nil)
		if want := canonical(r, &e); err != nil || !bytes.Equal(got, want) {
			r.Fatalf("%s (%v), encoding/json %s", got, err, want)
		}
	})
}

func set(t *testing.T, v reflect.Value, n int64, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Int, reflect.Int64:
		v.SetInt(n)
	case reflect.Uint64:
		v.SetUint(uint64(n))
	default:
		t.Fatalf("no value for a %s", v.Type())
	}
}

// TestEntryAllocates checks that the canonical form needs nothing but its buffer.
func TestEntryAllocates(t *testing.T) {
	e := audit.Entry{Chain: "c_1", N: 7, Type: "decision.made", Kind: "pass", Op: "op", Actor: "system", Rule: "r", Rules: 1}
	buf := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := e.Append(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestPacked checks that an entry comes back from its row in canonical form, and that nothing else is read as one.
func TestPacked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := audit.Entry{
			Chain: rapid.SampledFrom([]string{"c_2v06h13gq3m25rqeyfz13gsbtr", "acme"}).Draw(t, "chain"), N: rapid.Uint64().Draw(t, "n"),
			Prev: strings.Repeat("0f", 32), At: rapid.Int64().Draw(t, "at"), Seq: rapid.Uint64Range(0, 300).Draw(t, "seq"),
			Type: "decision.made", Kind: rapid.SampledFrom([]string{"", "pass", "other"}).Draw(t, "kind"), Op: "qj6bX8GMFVR4yRcb4wicAg",
			Actor: rapid.String().Draw(t, "actor"), Rules: rapid.Int().Draw(t, "rules"), Digest: strings.Repeat("a1", 32),
		}
		want, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.AppendPacked(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := audit.Unpack(nil, b)
		if err != nil || string(got) != string(want) {
			t.Fatalf("unpacked\n%s (%v)\nwant\n%s", got, err, want)
		}
		// What was packed of the canonical form is the same, and no other form is taken.
		if again, err := audit.Pack([]byte("x"), want); err != nil || string(again) != "x"+string(b) {
			t.Fatalf("packed anew\n%q (%v)\nwant\n%q", again, err, b)
		}
		for _, bad := range []string{"", "{", string(want[:len(want)-1]), strings.Replace(string(want), ",", ", ", 1), strings.TrimSuffix(string(want), "}") + `,"more":1}`} {
			if _, err := audit.Pack(nil, []byte(bad)); err == nil {
				t.Fatalf("%q was packed", bad)
			}
		}
		for _, bad := range [][]byte{nil, want, b[:len(b)-1], append([]byte{2}, b[1:]...)} {
			if _, err := audit.Unpack(nil, bad); err == nil {
				t.Fatalf("%q was read as an entry", bad)
			}
		}
	})
}
