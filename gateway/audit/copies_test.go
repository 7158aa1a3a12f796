package audit_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"turnout/gateway/audit"
)

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
