package audit_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"turnout/gateway/audit"
)

// A line that was torn does not make the whole file worthless, also where another tenant's came before it came again, or
// where it has not come again yet; anything else that is no copy does.
func TestTornCopies(t *testing.T) {
	s := signer(t, "ours")
	_, notes := shop(t, s)
	line := func(note []byte) string {
		b, err := json.Marshal(map[string]string{"checkpoint": string(note)})
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	one, two := line(notes[0]), line(notes[1])
	for name, tt := range map[string]struct {
		file   string
		copies int
	}{
		"it comes again":              {one[:40] + "\n" + one, 1},
		"it comes again after others": {one[:300] + "\n" + two + one, 2},
		"torn twice":                  {one[:40] + "\n" + one[:90] + "\n" + two + one, 2},
		"the end":                     {two + one[:40], 1},
		"the very end":                {two + one[:3], 1},
		"never again":                 {one[:300] + "\n" + two, -1},
		"something else at the end":   {two + "checkpoint", -1},
		"nothing at all":              {"", -1},
		"an empty line":               {two + "\n" + one, -1},
	} {
		got, err := audit.ReadCopies("file", strings.NewReader(tt.file))
		if tt.copies < 0 && err == nil || tt.copies >= 0 && (err != nil || len(got) != tt.copies) {
			t.Errorf("%s: %d copies, %v", name, len(got), err)
		}
	}
}

// FuzzReadCopies: whatever is read, each copy is one that a line or the whole holds.
func FuzzReadCopies(f *testing.F) {
	s := signer(f, "ours")
	_, notes := shop(f, s)
	line := func(note []byte) string {
		b, err := json.Marshal(map[string]string{"checkpoint": string(note)})
		if err != nil {
			f.Fatal(err)
		}
		return string(b) + "\n"
	}
	f.Add(notes[0])
	f.Add([]byte(line(notes[0]) + line(notes[1])))
	f.Add([]byte(line(notes[0])[:40] + "\n" + line(notes[0])))
	f.Add([]byte("{\"checkpoint\":\"\"}\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		copies, err := audit.ReadCopies("file", bytes.NewReader(b))
		if err != nil {
			if !strings.Contains(err.Error(), "file:") {
				t.Fatalf("it does not say where: %v", err)
			}
			return
		}
		if len(copies) > bytes.Count(b, []byte("\n"))+1 {
			t.Fatalf("%d copies in %q", len(copies), b)
		}
		for _, c := range copies {
			if len(c.Note) == 0 || c.Name == "" {
				t.Fatalf("an empty copy: %+v", c)
			}
		}
	})
}
