package conversation_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	conv "turnout/gateway/conversation"
)

// samePacked checks that a packed event is read back as one that was encoded is.
func samePacked(t interface{ Fatalf(string, ...any) }, e *conv.Event) {
	b, err := e.AppendPacked([]byte("before"))
	plain, plainErr := e.Append(nil)
	if (err == nil) != (plainErr == nil) {
		t.Fatalf("packing: %v, encoding: %v", err, plainErr)
	}
	if err != nil {
		if string(b) != "before" {
			t.Fatalf("packing failed with %v and left %q", err, b)
		}
		return
	}
	want, wantErr := conv.Decode(plain)
	got, gotErr := conv.DecodePacked(b[len("before"):])
	if (gotErr == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
		t.Fatalf("packed, %s is\n%+v (%v), and not\n%+v (%v)", e.Type, got, gotErr, want, wantErr)
	}
}

// TestPackedLog checks that every event with every field in use survives being packed.
func TestPackedLog(t *testing.T) {
	s := life(t)
	for i := range s.events {
		samePacked(t, &s.events[i])
	}
	b, err := s.state.AppendPacked(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := conv.DecodePackedState(b)
	if err != nil || asJSON(t, got) != asJSON(t, &s.state) {
		t.Errorf("the state came back as\n%s (%v), and not\n%s", asJSON(t, got), err, asJSON(t, &s.state))
	}
}

func TestPackedRandom(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		e := conv.Event{Data: body(t, rapid.SampledFrom(allTypes).Draw(r, "type"))}
		random(r, reflect.ValueOf(&e).Elem())
		e.V, e.Type = conv.Version, typeOf(t, e.Data)
		samePacked(r, &e)
		var s conv.State
		random(r, reflect.ValueOf(&s).Elem())
		b, err := s.AppendPacked(nil)
		want, wantErr := json.Marshal(&s)
		if (err == nil) != (wantErr == nil) {
			r.Fatalf("packing: %v, encoding/json: %v", err, wantErr)
		}
		if err != nil {
			return
		}
		back := new(conv.State)
		if err := json.Unmarshal(want, back); err != nil {
			return // what encoding/json cannot read back need not be read here
		}
		got, err := conv.DecodePackedState(b)
		if err != nil || !reflect.DeepEqual(got, back) {
			r.Fatalf("the state came back as\n%+v (%v), and not\n%+v", got, err, back)
		}
	})
}

func typeOf(t testing.TB, d conv.Data) conv.Type {
	for _, typ := range allTypes {
		if reflect.TypeOf(body(t, typ)) == reflect.TypeOf(d) {
			return typ
		}
	}
	t.Fatalf("no type for %T", d)
	return ""
}

// TestPackedGolden holds the stored form to the bytes that stores were written with, and with them the dictionary. A line
// that changes is a store that cannot be read any more: then the version byte of the form has to change, too.
func TestPackedGolden(t *testing.T) {
	s := life(t)
	var lines bytes.Buffer
	for i := range s.events {
		b, err := s.events[i].AppendPacked(nil)
		if err != nil {
			t.Fatal(err)
		}
		lines.WriteString(hex.EncodeToString(b) + "\n")
	}
	b, err := s.state.AppendPacked(nil)
	if err != nil {
		t.Fatal(err)
	}
	lines.WriteString(hex.EncodeToString(b) + "\n")
	file := filepath.Join("testdata", "packed.hex")
	if *update {
		if err := os.WriteFile(file, lines.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, golden := strings.Split(lines.String(), "\n"), strings.Split(string(want), "\n")
	if len(got) != len(golden) {
		t.Fatalf("%d lines, not %d", len(got), len(golden))
	}
	for i := range got {
		if got[i] != golden[i] {
			t.Errorf("row %d is packed as\n%s, stores hold\n%s", i+1, got[i], golden[i])
		}
	}
}

// stateBefore is the state of TestPackedGolden as a store has it that was written before states knew when the customer was heard.
const stateBefore = "010102210d83635f310f01108861636d652e7765621180005b836b5f31035404345d010c0a9a010007010b2a08856f702d3235005e2f6505672152013d8e6275696c74696e2e72656f70656e55846361726556250507c08b97ffbc31004b020a33006d216f07e8d795ffbc317007c08b97ffbc317107a89397ffbc315c83635f3000"

// TestPackedBefore reads a row of before: what it does not say is not known, and everything else is as it was.
func TestPackedBefore(t *testing.T) {
	b, err := hex.DecodeString(stateBefore)
	if err != nil {
		t.Fatal(err)
	}
	got, err := conv.DecodePackedState(b)
	if err != nil {
		t.Fatal(err)
	}
	want := life(t).state
	want.HeardAt = 0
	a, err := json.Marshal(&want)
	b, err2 := json.Marshal(got)
	if err != nil || err2 != nil || !bytes.Equal(a, b) {
		t.Errorf("read as\n%s, want\n%s", b, a)
	}
}

// TestPackedHalf checks what the form is for.
func TestPackedHalf(t *testing.T) {
	y := newTypical()
	plain, err := y.decided.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := y.decided.AppendPacked(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > len(plain)*3/5 {
		t.Errorf("%d bytes packed, %d as JSON", len(b), len(plain))
	}
}

func TestPackedRefuses(t *testing.T) {
	y := newTypical()
	good, err := y.sent.AppendPacked(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "JSON": []byte(`{"v":1}`), "another form": append([]byte{2}, good[1:]...), "cut short": good[:len(good)-1],
		"one byte more": append(bytes.Clone(good), 0), "only the form": {1},
	} {
		if _, err := conv.DecodePacked(b); !errors.Is(err, conv.ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := conv.DecodePackedState(b); !errors.Is(err, conv.ErrEncoding) {
			t.Errorf("%s as a state: %v", name, err)
		}
	}
}

// FuzzDecodePacked feeds arbitrary bytes to the decoder of the stored form: it must refuse or return an event that can be
// written again and read back the same.
func FuzzDecodePacked(f *testing.F) {
	s := life(f)
	for i := range s.events {
		b, err := s.events[i].AppendPacked(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := conv.DecodePacked(b)
		if err != nil {
			return
		}
		again, err := e.AppendPacked(nil)
		if err != nil {
			t.Fatalf("%+v cannot be packed: %v", e, err)
		}
		back, err := conv.DecodePacked(again)
		if err != nil || asJSON(t, &back) != asJSON(t, &e) {
			t.Fatalf("%s came back as %s (%v)", asJSON(t, &e), asJSON(t, &back), err)
		}
	})
}
