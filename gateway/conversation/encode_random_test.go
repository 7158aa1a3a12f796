package conversation_test

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	conv "turnout/gateway/conversation"
)

// TestEncodersRandom compares the encoders with encoding/json over random values of every type.
func TestEncodersRandom(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		e := conv.Event{Data: body(t, rapid.SampledFrom(allTypes).Draw(r, "type"))}
		random(r, reflect.ValueOf(&e).Elem())
		if diff := difference(&e, e.Append); diff != "" {
			r.Fatalf("%T: %s", e.Data, diff)
		}
		b, err := e.Encode()
		if want, wantErr := e.Append(nil); !bytes.Equal(b, want) || (err == nil) != (wantErr == nil) {
			r.Fatalf("Encode makes %s (%v), Append %s (%v)", b, err, want, wantErr)
		}
		var s conv.State
		random(r, reflect.ValueOf(&s).Elem())
		if diff := difference(&s, s.Append); diff != "" {
			r.Fatalf("state: %s", diff)
		}
	})
}

var (
	strangeStrings = []string{
		"", "a", "plain text", `"\/<>&'`, "\x00\b\t\n\v\f\r\x1f\x7f", "é 日本語 🎈", "\u2028\u2029", "\ufffd", "\xff", "a\xc3", "\xe2\x80", "\xed\xa0\x80",
		"x\x80y\x80\x80", strings.Repeat("long ", 50), "<b>",
	}
	strangeFloats = []float64{0, math.Copysign(0, -1), 1, -0.5, 1.0 / 3, 1e20, 1e21, 1e-6, 1e-7, -1e-10, math.MaxFloat64, math.SmallestNonzeroFloat64}
	strangeInts   = []int64{0, 1, -1, 10, 1_700_000_000_123, math.MaxInt64, math.MinInt64}
	strangeRaws   = []string{"", "null", `{"a":[1,"b"]}`, " { \"<\" : \"\u2028\" } ", `"\u003c"`, "[]", "1"}
	strangeTimes  = []time.Time{{}, time.UnixMilli(1_700_000_000_123), time.Unix(1, 1).UTC(), time.Unix(0, 0).In(time.FixedZone("", -12_600)),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Unix(0, 0).In(time.FixedZone("", 30))}
)

// random sets v to anything that its type allows; once in a while to something that has no JSON.
func random(t *rapid.T, v reflect.Value) {
	rare := func() bool { return rapid.IntRange(0, 300).Draw(t, "rare") == 150 }
	some := func(most int) int { return rapid.IntRange(0, most).Draw(t, "length") }
	switch v.Interface().(type) {
	case time.Time:
		at := rapid.SampledFrom(strangeTimes).Draw(t, "time")
		if rare() {
			at = time.Date(10_000, 1, 2, 0, 0, 0, 0, time.UTC)
		}
		v.Set(reflect.ValueOf(at))
		return
	case json.RawMessage:
		raw := rapid.SampledFrom(strangeRaws).Draw(t, "raw")
		if rare() {
			raw = "{"
		}
		v.SetBytes([]byte(raw))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && rapid.IntRange(0, 3).Draw(t, "set") > 0 {
				random(t, v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		random(t, v.Elem())
	case reflect.Interface:
		if v.Type() == reflect.TypeFor[conv.Data]() {
			random(t, v.Elem().Elem())
			return
		}
		if value := anything(t); value != nil {
			v.Set(reflect.ValueOf(value))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), some(3), 3))
		for i := range v.Len() {
			random(t, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			random(t, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range some(12) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			random(t, key)
			random(t, value)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(text(t))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Float64:
		v.SetFloat(rapid.OneOf(rapid.SampledFrom(strangeFloats), rapid.Float64()).Draw(t, "float"))
		if rare() {
			v.SetFloat(rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}).Draw(t, "no number"))
		}
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.OneOf(rapid.SampledFrom(strangeInts), rapid.Int64()).Draw(t, "int"))
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(uint64(rapid.SampledFrom(strangeInts).Draw(t, "uint")) & (1<<v.Type().Bits() - 1))
	default:
		t.Fatalf("no random %s", v.Type())
	}
}

func text(t *rapid.T) string {
	return rapid.OneOf(rapid.SampledFrom(strangeStrings), rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 12),
		func(b []byte) string { return string(b) })).Draw(t, "text")
}

// anything is a value of a profile's field, of the kinds that are meant to be there and of some that are not.
func anything(t *rapid.T) any {
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.SampledFrom(strangeFloats).Draw(t, "float")
	case 3:
		return []any{text(t), nil, 1}
	case 4:
		return map[string]any{text(t): text(t)}
	case 5:
		return 42
	}
	return text(t)
}
