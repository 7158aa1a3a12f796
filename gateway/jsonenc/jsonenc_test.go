package jsonenc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"turnout/gateway/jsonenc"
)

// all has a member for every method of Encoder; its encoding by encoding/json is what append must make.
type all struct {
	S    string           `json:"s"`
	OS   string           `json:"os,omitempty"`
	List []string         `json:"list,omitempty"`
	I    int64            `json:"i"`
	OI   int64            `json:"oi,omitempty"`
	U    uint64           `json:"u"`
	OU   uint64           `json:"ou,omitempty"`
	B    bool             `json:"b"`
	OB   bool             `json:"ob,omitempty"`
	F    float64          `json:"f"`
	OF   float64          `json:"of,omitempty"`
	T    time.Time        `json:"t"`
	B64  []byte           `json:"b64,omitempty"`
	Raw  json.RawMessage  `json:"raw,omitempty"`
	Ints map[string]int64 `json:"ints,omitempty"`
	Any  map[string]any   `json:"any,omitempty"`
	Nil  *int             `json:"nil"`
	In   struct{}         `json:"in"`
	Ins  []one            `json:"ins"`
}

type one struct {
	N string `json:"n,omitempty"`
}

func (a *all) append(dst []byte) ([]byte, error) {
	e := jsonenc.To(dst)
	e.Begin()
	e.String("s", a.S)
	e.OptString("os", a.OS)
	e.OptStrings("list", a.List)
	e.Int("i", a.I)
	e.OptInt("oi", a.OI)
	e.Uint("u", a.U)
	e.OptUint("ou", a.OU)
	e.Bool("b", a.B)
	e.OptBool("ob", a.OB)
	e.Float("f", a.F)
	e.OptFloat("of", a.OF)
	e.Time("t", a.T)
	e.OptBase64("b64", a.B64)
	e.OptRaw("raw", a.Raw)
	e.OptInts("ints", a.Ints)
	e.OptValues("any", a.Any)
	e.Null("nil")
	e.Object("in")
	e.EndObject()
	e.List("ins")
	for _, in := range a.Ins {
		e.Begin()
		e.OptString("n", in.N)
		e.EndObject()
	}
	e.EndList()
	e.EndObject()
	return e.Finish()
}

// check compares append with encoding/json: the same bytes, or an error of both.
func check(t *testing.T, a *all) {
	t.Helper()
	if a.Ins == nil {
		a.Ins = []one{} // an Encoder knows lists, not their absence
	}
	want, wantErr := json.Marshal(a)
	got, err := a.append([]byte("before "))
	switch {
	case (err != nil) != (wantErr != nil):
		t.Fatalf("error %v, encoding/json %v", err, wantErr)
	case err != nil && string(got) != "before ":
		t.Fatalf("failed with %v and left %q", err, got)
	case err == nil && string(got) != "before "+string(want):
		t.Fatalf("%q\nencoding/json %q", got, want)
	}
}

var strange = []string{
	"", "plain", `"\/<>&'`, "\x00\x01\b\t\n\v\f\r\x1e\x1f \x7f", "é ß 日本語 🎈", "\u2028\u2029\u2027\u202a", "\ufffd", "\xff", "a\xc3", "\xe2\x80",
	"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf", "x\x80y\x80\x80z", "\xe2\x80\xa8\xe2\x80", "\ufeff", strings.Repeat("long ", 100) + "<",
}

func TestStrings(t *testing.T) {
	for c := range 256 {
		check(t, &all{S: string([]byte{byte(c)}), OS: string(rune(c))})
	}
	for _, s := range strange {
		check(t, &all{S: s, OS: s, List: []string{s, "", s}, Ints: map[string]int64{s: 1}, Any: map[string]any{s: s}, Ins: []one{{s}, {}, {s}}})
	}
}

func TestPlain(t *testing.T) {
	e, f := jsonenc.To(nil), jsonenc.To(nil)
	for _, b := range []*jsonenc.Encoder{&e, &f} {
		b.Begin()
	}
	e.Plain("k", []byte("0123 abc"))
	f.String("k", "0123 abc")
	e.EndObject()
	f.EndObject()
	got, err := e.Finish()
	want, wantErr := f.Finish()
	if !bytes.Equal(got, want) || err != nil || wantErr != nil {
		t.Errorf("plain %s, string %s, %v, %v", got, want, err, wantErr)
	}
}

func TestNumbers(t *testing.T) {
	for _, f := range []float64{
		0, math.Copysign(0, -1), 1, -1, 0.1, 1.0 / 3, 100, 1e6, 1e20, 999999999999999999999, 1e21, -1e21, 1.5e22, 1e100, 1e-5, 1e-6, 9.99e-7, 1e-7,
		-1.25e-9, 1e-10, 1e-100, math.MaxFloat64, math.SmallestNonzeroFloat64, math.NaN(), math.Inf(1), math.Inf(-1), 1 << 53, 123456789.125,
	} {
		check(t, &all{F: f, OF: f, Any: map[string]any{"f": f}})
	}
	for _, n := range []int64{0, 1, -1, 9, 10, math.MaxInt64, math.MinInt64} {
		check(t, &all{I: n, OI: n, U: uint64(n), OU: uint64(n), Ints: map[string]int64{"n": n}, B: n > 0, OB: n > 0})
	}
}

func TestTimes(t *testing.T) {
	for _, zone := range []*time.Location{
		time.UTC, time.FixedZone("", 3600), time.FixedZone("", -12_600), time.FixedZone("", 30), time.FixedZone("", 24*3600), time.FixedZone("", -86_399),
	} {
		for _, at := range []time.Time{
			{}, time.UnixMilli(1_700_000_000_123), time.Unix(1, 1), time.Unix(1, 0), time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
			time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(10000, 1, 2, 0, 0, 0, 0, time.UTC),
		} {
			check(t, &all{T: at.In(zone)})
		}
	}
}

type marshaler struct{ text string }

func (m marshaler) MarshalJSON() ([]byte, error) { return []byte(m.text), nil }

func TestMaps(t *testing.T) {
	many := map[string]int64{}
	for i := range 40 {
		many[strings.Repeat("k", i%7)+string(rune('Z'-i))] = int64(i)
	}
	check(t, &all{Ints: many})
	check(t, &all{Ints: map[string]int64{}, Any: map[string]any{}, List: []string{}, B64: []byte{}, Raw: json.RawMessage{}})
	check(t, &all{Any: map[string]any{"b": "<", "a": true, "c": 2.5, "A": false, "": nil, "l": []any{"&", 1, nil}, "o": map[string]any{"z": 1, "y": "\u2029"},
		"i": 7, "m": marshaler{` { "<" : [ 1 ] } `}, "p": new(string)}})
	check(t, &all{Any: map[string]any{"x": func() {}}})
	check(t, &all{Any: map[string]any{"x": marshaler{"{"}}})
}

// raws are JSON and what is nearly JSON, in both of the forms that a copy may and may not be made of.
var raws = []string{
	`null`, `true`, `false`, `0`, `-0`, `1.5e-7`, `1E+9`, `""`, `"a"`, `[]`, `{}`, `[1,"a",null,{"b":[true]}]`, `{"a":{"b":{}},"c":[[],[0]]}`,
	` 1`, `1 `, "\t[ 1 , 2 ]\n", `{ "a" : 1 }`, `"<>&"`, `"\u2028\u003c\/\b\""`, "\"\u2028\"", "\"\u2022\"", "\"\xff\"", "\"é\"", "\"\x7f\"",
	`01`, `1.`, `.5`, `-`, `+1`, `1e`, `1e+`, `0x1`, `1a`, `nul`, `nulll`, `True`, `"`, `"a`, `"\`, `"\u12"`, `"\u123g"`, `"\x"`, "\"\n\"", `[`, `]`, `[1`,
	`[1,]`, `[,1]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, `{"a":1 "b":2}`, `[1 2]`, `{}{}`, `1 1`, `[}`, `{]`, `,`, `:`, "\x00", "\ufeff1",
	strings.Repeat("[", 30) + strings.Repeat("]", 30), strings.Repeat("[", 50) + strings.Repeat("]", 50),
	strings.Repeat("[", 10001) + strings.Repeat("]", 10001), strings.Repeat(`{"a":`, 40),
}

func TestRaw(t *testing.T) {
	for _, raw := range raws {
		check(t, &all{Raw: json.RawMessage(raw)})
	}
	for n := range 10 {
		check(t, &all{B64: []byte("\x00\xff<>&abcdef")[:n]})
	}
}

// TestNothing checks that an Encoder that was given no value is an error, and that the first error stays.
func TestNothing(t *testing.T) {
	e := jsonenc.To([]byte("x"))
	if b, err := e.Finish(); err == nil || string(b) != "x" {
		t.Errorf("nothing is encoded as %q", b)
	}
	e = jsonenc.To(nil)
	e.Begin()
	e.Float("a", math.NaN())
	e.Fail(bytes.ErrTooLarge)
	e.Float("b", math.Inf(1))
	e.EndObject()
	if b, err := e.Finish(); err == nil || errors.Is(err, bytes.ErrTooLarge) || !strings.Contains(err.Error(), "NaN") || len(b) != 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// FuzzString checks strings against encoding/json, wherever one can stand.
func FuzzString(f *testing.F) {
	for _, s := range strange {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		check(t, &all{S: s, OS: s, List: []string{s}, Ints: map[string]int64{s: 1, "k": 2}, Any: map[string]any{"k": s, s: true}, B64: []byte(s)})
	})
}

// FuzzRaw checks raw JSON, and what is none, against encoding/json.
func FuzzRaw(f *testing.F) {
	for _, s := range raws {
		if len(s) < 1000 {
			f.Add([]byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		check(t, &all{Raw: raw})
		if json.Valid(raw) {
			b, err := json.Marshal(json.RawMessage(raw))
			if err != nil {
				t.Fatal(err)
			}
			check(t, &all{Raw: b})
		}
	})
}

// FuzzNumber checks numbers against encoding/json.
func FuzzNumber(f *testing.F) {
	for _, bits := range []uint64{0, 1, 1 << 63, math.Float64bits(1e21), math.Float64bits(1e-7), math.Float64bits(math.NaN())} {
		f.Add(bits)
	}
	f.Fuzz(func(t *testing.T, bits uint64) {
		n := math.Float64frombits(bits)
		check(t, &all{I: int64(bits), OI: int64(bits), U: bits, OU: bits, F: n, OF: n, Any: map[string]any{"f": n}})
	})
}
