package audit

import (
	"encoding/json"
	"testing"
)

// FuzzDecodeEntry: the quick way reads what encoding/json reads, or leaves it to that.
func FuzzDecodeEntry(f *testing.F) {
	for _, e := range []Entry{
		{Chain: "c_1", N: 7, Prev: "00", At: 5, Seq: 3, Type: "decision.made", Kind: "pass", Epoch: 2, Op: "op", Actor: "agent:ann", Rule: "r", Rules: 3, Count: 4, Digest: "ab"},
		{Chain: "shop", N: 1, At: -1, Type: "login", Actor: "agent:\u00e4\u2028<>\"\\"},
		{},
	} {
		b, err := e.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add(`{"chain":"c","n":01,"prev":"","at":-0,"type":"","op":"","actor":"","digest":""}`)
	f.Add(`{"chain":"c","n":18446744073709551616,"prev":"","at":0,"type":"","op":"","actor":"","digest":""}`)
	f.Add(`{"chain":"c","n":1,"prev":"","at":0,"type":"","op":"","actor":"","rules":9999999999999,"digest":"x"}`)
	f.Fuzz(func(t *testing.T, s string) {
		var quick, whole Entry
		if !quick.quick(s) {
			return
		}
		if err := json.Unmarshal([]byte(s), &whole); err != nil || quick != whole {
			t.Fatalf("%q is read as %+v, encoding/json reads %+v, %v", s, quick, whole, err)
		}
	})
}
