package audit_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"turnout/gateway/audit"
)

// build makes a chain of n entries.
func build(t testing.TB, name string, n int) ([][]byte, audit.Head) {
	var head audit.Head
	var chain [][]byte
	for i := range n {
		link, err := audit.Append(name, head, audit.Entry{At: int64(i), Seq: uint64(2*i + 1), Type: "decision.made", Kind: "pass",
			Epoch: 1, Op: fmt.Sprintf("op-%d", i), Actor: "system", Rules: i % 3, Digest: hex.EncodeToString(mac([]byte{byte(i)}))})
		if err != nil {
			t.Fatal(err)
		}
		head, chain = link.Head, append(chain, link.Bytes)
	}
	return chain, head
}

// TestTampering changes a chain of 200 entries in every way there is. A change is found when Verify fails or ends at
// another head than the one that was signed.
func TestTampering(t *testing.T) {
	const n = 200
	chain, head := build(t, "c_1", n)
	found := func(changed [][]byte) bool {
		end, err := audit.Verify("c_1", audit.Head{}, changed)
		return err != nil || end != head
	}
	if found(chain) {
		t.Fatal("the chain as it was made does not verify")
	}
	// Hashing starts at the changed entry: what stands before it verifies as it did.
	heads := make([]audit.Head, n)
	for i := range n - 1 {
		end, err := audit.Verify("c_1", heads[i], chain[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		heads[i+1] = end
	}
	for i, b := range chain {
		for at := range b {
			for _, change := range []byte{b[at] ^ 1, b[at] ^ 0x20, ' '} {
				if change == b[at] {
					continue
				}
				edited := bytes.Clone(b)
				edited[at] = change
				rest := [][]byte{edited}
				if i+1 < n { // the next entry holds the hash of this one: no further need be read
					rest = append(rest, chain[i+1])
				}
				end, err := audit.Verify("c_1", heads[i], rest)
				if err == nil && (i+1 < n || end == head) {
					t.Fatalf("entry %d with %q at byte %d passes: %s", i+1, change, at, edited)
				}
			}
		}
	}
	for i := range n {
		if !found(slices.Delete(slices.Clone(chain), i, i+1)) {
			t.Errorf("entry %d cut out: not found", i+1)
		}
		if !found(slices.Insert(slices.Clone(chain), i, chain[i])) {
			t.Errorf("entry %d twice: not found", i+1)
		}
		if !found(chain[:i]) {
			t.Errorf("all from entry %d on cut off: not found", i+1)
		}
		if i > 0 && !found(chain[i:]) {
			t.Errorf("all before entry %d cut off: not found", i+1)
		}
		for j := i + 1; j < n; j++ {
			swapped := slices.Clone(chain)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			if _, err := audit.Verify("c_1", heads[i], swapped[i:i+1]); err == nil {
				t.Fatalf("entries %d and %d swapped: not found", i+1, j+1)
			}
		}
		forged, err := audit.Append("c_1", heads[i], audit.Entry{Type: "decision.made", Op: "forged", Actor: "system"})
		if err != nil {
			t.Fatal(err)
		}
		if !found(slices.Insert(slices.Clone(chain), i, forged.Bytes)) {
			t.Errorf("an entry inserted before %d: not found", i+1)
		}
	}
}

// TestShorterChain documents what a chain by itself cannot show: cut off at its end it is a valid chain of fewer entries,
// and so is one that was made anew. Only a head that is kept elsewhere tells.
func TestShorterChain(t *testing.T) {
	chain, head := build(t, "c_1", 5)
	end, err := audit.Verify("c_1", audit.Head{}, chain[:3])
	if err != nil || end.N != 3 || end == head {
		t.Errorf("three of five entries verify to %d, %v", end.N, err)
	}
	rest, err := audit.Verify("c_1", end, chain[3:])
	if err != nil || rest != head {
		t.Errorf("the other two verify to %d, %v", rest.N, err)
	}
	if none, err := audit.Verify("c_1", end, nil); err != nil || none != end {
		t.Errorf("no entries verify to %d, %v", none.N, err)
	}
}

func TestVerifyNames(t *testing.T) {
	chain, _ := build(t, "c_1", 3)
	foreign, _ := build(t, "c_2", 1)
	spaced := append([]byte(" "), chain[0]...)
	twice := bytes.Replace(chain[0], []byte(`"n":1`), []byte(`"n":1,"n":1`), 1)
	extra := bytes.Replace(chain[0], []byte(`"n":1`), []byte(`"n":1,"x":1`), 1)
	for name, test := range map[string]struct {
		chain [][]byte
		want  string
	}{
		"no JSON":          {[][]byte{chain[0], []byte("{")}, "reading entry 2 of c_1"},
		"another chain":    {foreign, `entry 1 of c_1 belongs to chain "c_2"`},
		"number":           {[][]byte{chain[0], chain[2]}, "entry 2 of c_1 has number 3"},
		"wrong hash":       {[][]byte{chain[0], bytes.Replace(chain[1], []byte(`"prev":"`), []byte(`"prev":"0`), 1)}, "entry 2 of c_1 does not follow"},
		"a space":          {[][]byte{spaced}, "entry 1 of c_1 is not in canonical form"},
		"a field twice":    {[][]byte{twice}, "entry 1 of c_1 is not in canonical form"},
		"a field too many": {[][]byte{extra}, "entry 1 of c_1 is not in canonical form"},
	} {
		if _, err := audit.Verify("c_1", audit.Head{}, test.chain); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// FuzzVerify checks that whatever verifies as the next entry is exactly what Append would have made.
func FuzzVerify(f *testing.F) {
	chain, _ := build(f, "c_1", 2)
	for _, b := range chain {
		f.Add(b)
	}
	first, err := audit.Verify("c_1", audit.Head{}, chain[:1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"chain":"c_1","n":1,"prev":""}`))
	f.Add(bytes.ToUpper(chain[1]))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, head := range []audit.Head{{}, first} {
			end, err := audit.Verify("c_1", head, [][]byte{b})
			if err != nil {
				if end != head {
					t.Fatalf("refused, but the head moved from %d to %d", head.N, end.N)
				}
				continue
			}
			var e audit.Entry
			if err := json.Unmarshal(b, &e); err != nil {
				t.Fatal(err)
			}
			link, err := audit.Append("c_1", head, e)
			if err != nil || !bytes.Equal(link.Bytes, b) || link.Head != end {
				t.Fatalf("verified\n%s\nAppend makes\n%s (%v)", b, link.Bytes, err)
			}
		}
	})
}

// FuzzAppend checks that whatever was appended verifies. Names have to be valid UTF-8.
func FuzzAppend(f *testing.F) {
	f.Add("agent:ann", "op-1", "<rule>\u2028", "care")
	f.Add("agent:\ufffd", "", "\x00", "\ud7ff")
	valid := func(s string) string { return strings.ToValidUTF8(s, "") }
	_, head := build(f, "c_1", 1)
	f.Fuzz(func(t *testing.T, actor, op, rule, kind string) {
		link, err := audit.Append("c_1", head, audit.Entry{Type: "decision.made", Actor: valid(actor), Op: valid(op), Rule: valid(rule), Kind: valid(kind)})
		if err != nil {
			t.Fatal(err)
		}
		if end, err := audit.Verify("c_1", head, [][]byte{link.Bytes}); err != nil || end != link.Head {
			t.Fatalf("%s does not verify: %v", link.Bytes, err)
		}
	})
}
