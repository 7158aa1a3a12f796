package form_test

import (
	"reflect"
	"testing"

	"turnout/gateway/audit"
	"turnout/gateway/store/form"
)

// FuzzCheckpoint: whatever is read as a checkpoint's row encodes to what reads the same, and nothing else is read.
func FuzzCheckpoint(f *testing.F) {
	full := form.EncodeCheckpoint(audit.Sealed{Note: []byte("note"), Heads: []audit.ChainHead{{Chain: "acme", Head: audit.Head{N: 300}}, {Chain: "c_1"}}})
	for _, seed := range [][]byte{nil, {0}, {255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, full, full[:len(full)-1], form.EncodeCheckpoint(audit.Sealed{})} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := form.DecodeCheckpoint(b)
		if err != nil {
			return
		}
		again, err := form.DecodeCheckpoint(form.EncodeCheckpoint(c))
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("%+v came back as %+v, %v", c, again, err)
		}
	})
}
