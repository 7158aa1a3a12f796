package conversation_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	conv "turnout/gateway/conversation"
)

// body returns a new body of events of a type, all zero.
func body(t testing.TB, typ conv.Type) conv.Data {
	e, err := conv.Decode(fmt.Appendf(nil, `{"v":1,"type":%q,"data":{}}`, typ))
	if err != nil {
		t.Fatal(err)
	}
	return e.Data
}

// difference compares what was appended with what encoding/json makes of value: the same bytes, or an error of both.
// Empty is no difference.
func difference(value any, appended func([]byte) ([]byte, error)) string {
	const before = "before "
	want, wantErr := json.Marshal(value)
	got, err := appended([]byte(before))
	switch {
	case (err != nil) != (wantErr != nil):
		return fmt.Sprintf("error %v, encoding/json %v", err, wantErr)
	case err != nil && string(got) != before:
		return fmt.Sprintf("failed with %v and left %q", err, got)
	case err == nil && string(got) != before+string(want):
		return fmt.Sprintf("encoded as\n%s\nencoding/json:\n%s", got[len(before):], want)
	}
	return ""
}

// TestEncoders checks that the encoders write every field that there is: each exported field of every event and of the
// state is set, one field after the other to something else, and the bytes must stay those of encoding/json. A field
// that was added to a struct and not to its encoder is found here.
func TestEncoders(t *testing.T) {
	for _, typ := range allTypes {
		e := conv.Event{Data: body(t, typ)}
		leaves := fill(reflect.ValueOf(&e).Elem())
		e.Type = typ
		eachChanged(t, string(typ), &e, e.Append, leaves)
	}
	var s conv.State
	eachChanged(t, "state", &s, s.Append, fill(reflect.ValueOf(&s).Elem()))
	for name, e := range map[string]conv.Event{"no body": {Type: conv.NoteAdded}, "zero": {}, "zero body": {Data: body(t, conv.DecisionMade)}} {
		if diff := difference(&e, e.Append); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func eachChanged(t *testing.T, name string, value any, appended func([]byte) ([]byte, error), leaves []reflect.Value) {
	t.Helper()
	if diff := difference(value, appended); diff != "" {
		t.Errorf("%s: %s", name, diff)
		return
	}
	full := asJSON(t, value)
	for i, leaf := range leaves {
		was := reflect.New(leaf.Type()).Elem()
		was.Set(leaf)
		leaf.SetZero()
		if asJSON(t, value) == full {
			t.Errorf("%s: field %d, a %s, has no place in the form", name, i, leaf.Type())
		}
		if diff := difference(value, appended); diff != "" {
			t.Errorf("%s without field %d, a %s: %s", name, i, leaf.Type(), diff)
		}
		leaf.Set(was)
	}
}

// TestEncodersControl shows that the comparison of TestEncoders can fail: each body gets one field more, which its
// encoder cannot know.
func TestEncodersControl(t *testing.T) {
	for _, typ := range allTypes {
		e := conv.Event{Type: typ, Data: body(t, typ)}
		fill(reflect.ValueOf(e.Data).Elem())
		was := reflect.ValueOf(e.Data).Elem()
		var fields []reflect.StructField
		for _, f := range reflect.VisibleFields(was.Type()) {
			if !f.Anonymous {
				fields = append(fields, reflect.StructField{Name: f.Name, Type: f.Type, Tag: f.Tag})
			}
		}
		same := reflect.New(reflect.StructOf(fields)).Elem()
		more := reflect.New(reflect.StructOf(append(fields, reflect.StructField{Name: "More", Type: reflect.TypeFor[int](), Tag: `json:"more"`}))).Elem()
		for _, f := range fields {
			same.FieldByName(f.Name).Set(was.FieldByName(f.Name))
			more.FieldByName(f.Name).Set(was.FieldByName(f.Name))
		}
		appended := func(dst []byte) ([]byte, error) {
			b, err := e.Append(nil)
			_, data, _ := bytes.Cut(b, []byte(`"data":`))
			return append(dst, data[:len(data)-1]...), err
		}
		if diff := difference(same.Interface(), appended); diff != "" {
			t.Errorf("%s with the same fields: %s", typ, diff)
		}
		if difference(more.Interface(), appended) == "" {
			t.Errorf("%s: a field that the encoder does not know was not found", typ)
		}
	}
}

// fill sets every exported field of v, at any depth, to something that is not zero and returns the fields that it set,
// outer ones first.
func fill(v reflect.Value) (leaves []reflect.Value) {
	n := 0
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		n++
		switch v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(time.UnixMilli(int64(1_700_000_000_000 + n)).UTC()))
			return
		case json.RawMessage:
			v.Set(reflect.ValueOf(json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))))
			return
		case map[string]any:
			v.Set(reflect.ValueOf(map[string]any{"s": fmt.Sprint(n), "f": 0.5, "b": true, "l": []any{1, "a"}, "": nil}))
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				f := v.Type().Field(i)
				if !f.IsExported() {
					continue
				}
				if !f.Anonymous && v.Field(i).Kind() != reflect.Interface {
					leaves = append(leaves, v.Field(i))
				}
				walk(v.Field(i))
			}
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			walk(v.Elem())
		case reflect.Interface:
			walk(v.Elem().Elem())
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Array:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Map:
			v.Set(reflect.MakeMap(v.Type()))
			for range 3 {
				value := reflect.New(v.Type().Elem()).Elem()
				walk(value)
				v.SetMapIndex(reflect.ValueOf(fmt.Sprint("k", -n)), value)
			}
		case reflect.String:
			v.SetString(fmt.Sprint("s", n))
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Float64:
			v.SetFloat(float64(n) + 0.5)
		case reflect.Int, reflect.Int64:
			v.SetInt(int64(n))
		case reflect.Uint8, reflect.Uint64:
			v.SetUint(uint64(n % 251))
		default:
			panic("no filling for " + v.Type().String())
		}
	}
	walk(v)
	return leaves
}

// TestEncodersRefuse checks that what has no JSON is an error that names the type of the event and nothing of its text.
func TestEncodersRefuse(t *testing.T) {
	nan := math.NaN()
	for _, d := range []conv.Data{
		&conv.Decision{Model: canary, Bot: &conv.BotSaid{Confidence: &nan}},
		&conv.Decision{Model: canary, Inputs: json.RawMessage("{")},
	} {
		e := conv.Event{Type: conv.DecisionMade, Data: d}
		b, err := e.Append([]byte("before"))
		if err == nil || string(b) != "before" || !strings.Contains(err.Error(), "encoding decision.made: ") || strings.Contains(err.Error(), canary) {
			t.Errorf("%q, %v", b, err)
		}
	}
}
