package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"turnout/gateway/audit"
)

// ledger is a tenant's chains and checkpoints in memory.
type ledger struct {
	tenant string
	chains map[string][][]byte
	heads  map[string]audit.Head
	sealed []audit.Sealed
	moved  map[string]bool
	now    int64
}

func newLedger(tenant string) *ledger {
	return &ledger{tenant: tenant, chains: map[string][][]byte{}, heads: map[string]audit.Head{}, moved: map[string]bool{}, now: 1_770_000_000_000}
}

func (l *ledger) append(t testing.TB, chain string, n int) {
	t.Helper()
	if chain == "" {
		chain = l.tenant
	}
	for range n {
		l.now += 10
		head := l.heads[chain]
		link, err := audit.Append(chain, head, audit.Entry{
			At: l.now, Seq: head.N * 3, Type: "decision.made", Kind: "pass", Op: fmt.Sprint("op-", l.now), Actor: "system",
			Rules: 3, Digest: hex.EncodeToString(mac([]byte(fmt.Sprint(chain, head.N)))),
		})
		if err != nil {
			t.Fatal(err)
		}
		l.chains[chain] = append(l.chains[chain], link.Bytes)
		l.heads[chain] = link.Head
		l.moved[chain] = true
	}
}

func (l *ledger) seal(t testing.TB, s *audit.Signer) []byte {
	t.Helper()
	var newest []byte
	if n := len(l.sealed); n > 0 {
		newest = l.sealed[n-1].Note
	}
	var list []audit.ChainHead
	for chain := range l.moved {
		list = append(list, audit.ChainHead{Chain: chain, Head: l.heads[chain]})
	}
	clear(l.moved)
	l.now += 60_000
	c, err := s.Seal(l.tenant, newest, l.now, list)
	if err != nil {
		t.Fatal(err)
	}
	l.sealed = append(l.sealed, c)
	return c.Note
}

func (l *ledger) Checkpoints(_ context.Context, after uint64, limit int) ([]audit.Sealed, error) {
	rest := l.sealed[min(int(after), len(l.sealed)):]
	return rest[:min(limit, len(rest))], nil
}

func (l *ledger) Chains(_ context.Context, after string, limit int) (names []string, err error) {
	for name := range l.chains {
		if name != l.tenant && name > after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(limit, len(names))], nil
}

func (l *ledger) Entries(_ context.Context, chain string, after uint64, limit int) ([][]byte, error) {
	if chain == "" {
		chain = l.tenant
	}
	rest := l.chains[chain][min(int(after), len(l.chains[chain])):]
	return rest[:min(limit, len(rest))], nil
}

func (l *ledger) export(t testing.TB, s *audit.Signer) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := audit.Export(t.Context(), &b, l, l.tenant, s.VerifierKey(), time.UnixMilli(l.now)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// shop is a ledger with three checkpoints and a tail, and the notes of its checkpoints.
func shop(t testing.TB, s *audit.Signer) (*ledger, [][]byte) {
	t.Helper()
	l := newLedger("shop")
	var notes [][]byte
	l.append(t, "", 3)
	l.append(t, "c_1", 5)
	notes = append(notes, l.seal(t, s))
	l.append(t, "c_1", 2)
	l.append(t, "c_2", 4)
	notes = append(notes, l.seal(t, s))
	l.append(t, "c_2", 1)
	l.append(t, "", 1)
	notes = append(notes, l.seal(t, s))
	l.append(t, "c_3", 2)
	return l, notes
}

func verify(t testing.TB, export []byte, o audit.VerifyOptions) audit.Verdict {
	t.Helper()
	v, err := audit.VerifyExport(bytes.NewReader(export), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// resign makes the last line of an export fit what stands before it, as whoever changes an export would.
func resign(lines []string) []byte {
	body := strings.Join(lines, "\n") + "\n"
	chains := map[string]bool{}
	var entries, checkpoints int
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, `{"chain":"`); ok {
			name, _, _ := strings.Cut(rest, `"`)
			chains[name] = true
			entries++
		}
		if strings.HasPrefix(line, `{"checkpoint":`) {
			checkpoints++
		}
	}
	return fmt.Appendf(nil, `%s{"end":{"checkpoints":%d,"chains":%d,"entries":%d,"sha256":"%x"}}`+"\n",
		body, checkpoints, len(chains), entries, sha256.Sum256([]byte(body)))
}

func lines(export []byte) []string {
	list := strings.Split(strings.TrimSuffix(string(export), "\n"), "\n")
	return list[:len(list)-1]
}

func TestExport(t *testing.T) {
	s := signer(t, "ours")
	l, notes := shop(t, s)
	export := l.export(t, s)
	key := []string{s.VerifierKey()}
	v := verify(t, export, audit.VerifyOptions{Keys: key, Tenant: "shop", Copies: []audit.Copy{{Name: "usb", Note: notes[2]}}})
	want := audit.Verdict{
		OK: true, Tenant: "shop", ExportedAt: v.ExportedAt, Checkpoints: 3, Chains: 4, Entries: 18, Covered: 16, OutsideCopy: 3,
		LastCheckpoint: v.LastCheckpoint, Proven: v.Proven, NotProven: v.NotProven,
	}
	if fmt.Sprint(v) != fmt.Sprint(want) || v.OutsideCopy != 3 || v.Covered != 16 {
		t.Errorf("verdict %+v", v)
	}
	if len(v.Proven) != 2 || len(v.NotProven) != 1 || !strings.Contains(v.NotProven[0], "2 entries that are younger") {
		t.Errorf("proven %q, not proven %q", v.Proven, v.NotProven)
	}
	if !bytes.Equal(resign(lines(export)), export) {
		t.Error("the last line made anew is another one")
	}

	// What is not given is not proven, and the verdict says so.
	for name, test := range map[string]struct {
		o    audit.VerifyOptions
		want []string
	}{
		"nothing":     {audit.VerifyOptions{}, []string{"who signed", "an administrator who has the signing key", "2 entries"}},
		"a key":       {audit.VerifyOptions{Keys: key}, []string{"an administrator who has the signing key", "2 entries"}},
		"an old copy": {audit.VerifyOptions{Keys: key, Copies: []audit.Copy{{Name: "a", Note: notes[0]}}}, []string{"what came after checkpoint 1", "2 entries"}},
	} {
		v := verify(t, export, test.o)
		if !v.OK || len(v.NotProven) != len(test.want) {
			t.Errorf("%s: %+v", name, v)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(v.NotProven[i], want) {
				t.Errorf("%s: not proven: %q, want %q", name, v.NotProven[i], want)
			}
		}
	}
	if bytes.Contains(export, []byte(secret)) {
		t.Error("the export holds text")
	}
}

func TestExportEmpty(t *testing.T) {
	s := signer(t, "ours")
	v := verify(t, newLedger("shop").export(t, s), audit.VerifyOptions{Keys: []string{s.VerifierKey()}})
	if !v.OK || v.Entries != 0 || len(v.Proven) != 0 || len(v.NotProven) != 1 {
		t.Errorf("%+v", v)
	}
}

// TestVerdicts tampers in every way that a verdict has a word for: it says what, where, and how.
func TestVerdicts(t *testing.T) {
	ours, theirs := signer(t, "ours"), signer(t, "theirs")
	l, notes := shop(t, ours)
	export := l.export(t, ours)
	plain := lines(export)
	at := func(prefix string) int {
		i := slices.IndexFunc(plain, func(line string) bool { return strings.HasPrefix(line, prefix) })
		if i < 0 {
			t.Fatalf("no line begins with %s", prefix)
		}
		return i
	}
	// Of the export's lines: the first entries of each chain, and the first checkpoint.
	own, one, two, cp := at(`{"chain":"shop"`), at(`{"chain":"c_1"`), at(`{"chain":"c_2"`), at(`{"checkpoint"`)
	edit := func(i int, old, now string) func([]string) []string {
		return func(list []string) []string {
			if !strings.Contains(list[i], old) {
				t.Fatalf("no %q in %s", old, list[i])
			}
			list[i] = strings.Replace(list[i], old, now, 1)
			return list
		}
	}
	// A history of its own, of the same tenant and by the same key.
	other := newLedger("shop")
	other.append(t, "", 9)
	fork := other.seal(t, ours)
	// Another tenant's.
	foreign := newLedger("mall")
	foreign.append(t, "", 2)
	foreignNote := foreign.seal(t, ours)
	foreignLines := lines(foreign.export(t, ours))
	// The same history to a later end.
	later, _ := shop(t, ours)
	laterNote := later.seal(t, ours)
	// Chain c_1 made anew from its fifth entry on.
	anew := func(list []string) []string {
		var head audit.Head
		for i := range 7 {
			b := []byte(list[one+i])
			if i >= 4 {
				link, err := audit.Append("c_1", head, audit.Entry{Type: "decision.made", Kind: "handoff", Op: "forged", Actor: "system"})
				if err != nil {
					t.Fatal(err)
				}
				b, list[one+i] = link.Bytes, string(link.Bytes)
			}
			head = audit.Head{N: uint64(i + 1), Hash: sha256.Sum256(b)}
		}
		return list
	}
	forged := func(chain string, after int, at int64) string {
		var head audit.Head
		if after >= 0 {
			head = audit.Head{N: uint64(after), Hash: sha256.Sum256([]byte(l.chains[chain][after-1]))}
		}
		link, err := audit.Append(chain, head, audit.Entry{At: at, Type: "decision.made", Op: "forged", Actor: "system"})
		if err != nil {
			t.Fatal(err)
		}
		return string(link.Bytes)
	}
	same := func(list []string) []string { return list }
	copies := func(notes ...[]byte) audit.VerifyOptions {
		var o audit.VerifyOptions
		for i, n := range notes {
			o.Copies = append(o.Copies, audit.Copy{Name: fmt.Sprint("copy-", i+1), Note: n})
		}
		return o
	}
	for name, test := range map[string]struct {
		tamper func([]string) []string
		o      audit.VerifyOptions
		want   string
	}{
		"an edit in the middle": {edit(one+2, `"kind":"pass"`, `"kind":"deny"`), audit.VerifyOptions{},
			"edit: chain c_1, entry 3: it was changed"},
		"an edit of the last covered": {edit(one+6, `"kind":"pass"`, `"kind":"deny"`), audit.VerifyOptions{},
			"edit: chain c_1, entry 7: the chain is not the one that checkpoint 2 vouches for: something from entry 6"},
		"an edit of the only one": {edit(two+4, `"kind":"pass"`, `"kind":"deny"`), audit.VerifyOptions{},
			"edit: chain c_2, entry 5: it is not the entry that checkpoint 3 vouches for"},
		"another way to write it": {edit(one+1, `"n":2`, `"n": 2`), audit.VerifyOptions{},
			"edit: chain c_1, entry 2: it is not written as entries are"},
		"an entry that is none": {edit(two, `{"chain":"c_2"`, `["chain":"c_2"`), audit.VerifyOptions{},
			"edit: chain c_2, entry 1: it cannot be read"},
		"a rewritten history": {anew, audit.VerifyOptions{},
			"edit: chain c_1, entry 5: the chain is not the one that checkpoint 1 vouches for: something from entry 1"},
		"a cut": {func(list []string) []string { return slices.Delete(list, one+2, one+3) }, audit.VerifyOptions{},
			"cut: chain c_1, entry 3: it is missing"},
		"a cut of two": {func(list []string) []string { return slices.Delete(list, one+2, one+4) }, audit.VerifyOptions{},
			"cut: chain c_1, entry 3: it and all up to entry 4 are missing"},
		"the beginning": {func(list []string) []string { return slices.Delete(list, own, own+1) }, audit.VerifyOptions{},
			"cut: chain shop, entry 1: it is missing"},
		"a chain cut out": {func(list []string) []string { return slices.Delete(list, one, one+7) }, audit.VerifyOptions{},
			"cut: chain c_1: the whole chain is missing; checkpoint 2 vouches for 7 entries"},
		"a swap": {func(list []string) []string { list[one+2], list[one+3] = list[one+3], list[one+2]; return list }, audit.VerifyOptions{},
			"swap: chain c_1, entry 3: entry 4 stands before it"},
		"an insertion": {func(list []string) []string { return slices.Insert(list, one+2, forged("c_1", 2, 1)) }, audit.VerifyOptions{},
			"insert: chain c_1, entry 3: there are two entries of this number"},
		"one twice": {func(list []string) []string { return slices.Insert(list, one+2, list[one+1]) }, audit.VerifyOptions{},
			"insert: chain c_1, entry 2: there are two entries of this number"},
		"one of another chain": {func(list []string) []string { return slices.Insert(list, one+2, list[own+1]) }, audit.VerifyOptions{},
			"insert: chain c_1, entry 3: an entry of chain shop stands here"},
		"a chain twice": {func(list []string) []string { return append(list, list[own]) }, audit.VerifyOptions{},
			"insert: chain shop: the chain stands there twice"},
		"an old one at the end": {func(list []string) []string { return slices.Insert(list, one+7, forged("c_1", 7, 1)) }, audit.VerifyOptions{},
			"insert: chain c_1, entry 8: an entry from here on is more than"},
		"an old chain": {func(list []string) []string { return append(list, forged("c_9", -1, 1)) }, audit.VerifyOptions{},
			"insert: chain c_9, entry 1: an entry from here on is more than"},
		"the end of a chain": {func(list []string) []string { return slices.Delete(list, one+6, one+7) }, audit.VerifyOptions{},
			"missing_tail: chain c_1, entry 7: the chain ends at entry 6, but checkpoint 2 vouches for entry 7"},
		"a chain of another tenant": {func(list []string) []string { return append(list, foreignLines[len(foreignLines)-2]) }, audit.VerifyOptions{},
			"foreign: chain mall: it is neither a conversation nor the chain of tenant shop"},
		"a checkpoint of another tenant": {func(list []string) []string { return slices.Insert(list, cp+1, foreignLines[1]) }, audit.VerifyOptions{},
			"foreign: checkpoint 1: it is of tenant mall, not of shop"},
		"another tenant's export": {same, audit.VerifyOptions{Tenant: "mall"},
			"foreign: the export is of tenant shop, not of mall"},
		"a checkpoint cut out": {func(list []string) []string { return slices.Delete(list, cp+1, cp+2) }, audit.VerifyOptions{},
			"cut: checkpoint 3: checkpoint 2 is missing before it"},
		"checkpoints swapped": {func(list []string) []string { list[cp+1], list[cp+2] = list[cp+2], list[cp+1]; return list }, audit.VerifyOptions{},
			"swap: checkpoint 3: it stands before checkpoint 2"},
		"a checkpoint twice": {func(list []string) []string { return slices.Insert(list, cp+1, list[cp]) }, audit.VerifyOptions{},
			"insert: checkpoint 1: it stands there twice"},
		"a checkpoint of another history": {func(list []string) []string { list[cp] = lines(other.export(t, ours))[1]; return list }, audit.VerifyOptions{},
			"forked: checkpoint 2: it does not follow the checkpoint before"},
		"a checkpoint behind entries": {func(list []string) []string { return append(list, list[cp+2]) }, audit.VerifyOptions{},
			"swap: checkpoint 4: a checkpoint stands behind entries"},
		"a signed text changed": {edit(cp, `\nheads 2\n`, `\nheads 1\n`), audit.VerifyOptions{},
			"bad_signature: checkpoint 1: it was changed after it was signed"},
		"a head changed": {edit(cp, `"chain":"c_1","n":5`, `"chain":"c_1","n":4`), audit.VerifyOptions{},
			"edit: checkpoint 1: its heads are not those that were signed"},
		"another key": {same, audit.VerifyOptions{Keys: []string{theirs.VerifierKey()}},
			"unknown_key: checkpoint 1: it is signed with a key that is not yours"},
		"another key in the export": {edit(0, ours.VerifierKey(), theirs.VerifierKey()), audit.VerifyOptions{},
			"unknown_key: checkpoint 1: it is signed with another key than the one that the export names"},
		"a copy of another history": {same, copies(fork),
			"forked: checkpoint 1: the export has another checkpoint of this number than outside copy copy-1"},
		"a copy of another tenant": {same, copies(foreignNote),
			"foreign: outside copy copy-1 is of tenant mall, not of shop"},
		"a copy that is later": {same, copies(notes[2], laterNote),
			"missing_tail: checkpoint 4: outside copy copy-2 is checkpoint 4, but the export ends with 3"},
		"copies that differ": {same, copies(notes[0], fork),
			"forked: checkpoint 1: the outside copies copy-1 and copy-2 differ"},
		"a copy that is none": {same, copies([]byte("hello")), "unreadable: outside copy copy-1"},
		"a copy by another key": {same, func() audit.VerifyOptions {
			o := copies(newSealed(t, theirs))
			o.Keys = []string{ours.VerifierKey()}
			return o
		}(), "unknown_key: checkpoint 1: outside copy copy-1 is signed with a key that is not yours"},
		"what is no line": {func(list []string) []string { return slices.Insert(list, 1, "hello") }, audit.VerifyOptions{},
			"line 2: unreadable: this is no line of an export"},
	} {
		v := verify(t, resign(test.tamper(slices.Clone(plain))), test.o)
		if v.OK || len(v.Faults) == 0 {
			t.Errorf("%s: not found: %+v", name, v)
			continue
		}
		if got := v.Faults[0].String(); !strings.Contains(got, test.want) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, test.want)
		}
		if len(v.Proven) != 0 || !strings.Contains(v.String(), "DOES NOT HOLD") {
			t.Errorf("%s: it proves %q: %s", name, v.Proven, v)
		}
	}

	// What happens to a file on its way.
	for name, b := range map[string][]byte{
		"cut off in a line":   export[:len(export)-200],
		"cut off at a line":   export[:bytes.LastIndexByte(export[:len(export)-1], '\n')+1],
		"a byte changed":      bytes.Replace(export, []byte(`"at":"20`), []byte(`"at":"21`), 1),
		"something behind it": append(bytes.Clone(export), "{}\n"...),
		"no last line break":  export[:len(export)-1],
	} {
		if v := verify(t, b, audit.VerifyOptions{}); v.OK {
			t.Errorf("%s: not found", name)
		}
	}
	// What a rule cannot be broken by: a copy of all tenants in one place.
	if v := verify(t, export, copies(foreignNote, notes[1])); !v.OK || v.OutsideCopy != 2 {
		t.Errorf("copies of two tenants: %+v", v)
	}
}

func newSealed(t *testing.T, s *audit.Signer) []byte {
	l := newLedger("shop")
	l.append(t, "", 1)
	return l.seal(t, s)
}

func TestVerifyExportRefuses(t *testing.T) {
	s := signer(t, "ours")
	l, _ := shop(t, s)
	export := l.export(t, s)
	for name, test := range map[string]struct {
		b    []byte
		o    audit.VerifyOptions
		want string
	}{
		"nothing":         {nil, audit.VerifyOptions{}, "no audit export"},
		"another file":    {[]byte("hello\n"), audit.VerifyOptions{}, "no audit export"},
		"another version": {bytes.Replace(export, []byte("export\":1"), []byte("export\":2"), 1), audit.VerifyOptions{}, "its version is 2"},
		"a key":           {export, audit.VerifyOptions{Keys: []string{"hello"}}, `key "hello" is none`},
		"a long line":     {append(bytes.Clone(export), bytes.Repeat([]byte("x"), 5<<20)...), audit.VerifyOptions{}, "more than"},
	} {
		if _, err := audit.VerifyExport(bytes.NewReader(test.b), test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// failing is a source that fails after a while.
type failing struct {
	*ledger
	calls int
}

var errSource = errors.New("the disk is gone")

func (f *failing) Entries(ctx context.Context, chain string, after uint64, limit int) ([][]byte, error) {
	if f.calls--; f.calls < 0 {
		return nil, errSource
	}
	return f.ledger.Entries(ctx, chain, after, limit)
}

// TestExportFails: an export that could not be finished has no last line, and does not verify.
func TestExportFails(t *testing.T) {
	s := signer(t, "ours")
	l, _ := shop(t, s)
	for calls := range 4 {
		var b bytes.Buffer
		_, err := audit.Export(t.Context(), &b, &failing{l, calls}, "shop", s.VerifierKey(), time.UnixMilli(0))
		if !errors.Is(err, errSource) {
			t.Fatalf("after %d calls: %v", calls, err)
		}
		if v, err := audit.VerifyExport(&b, audit.VerifyOptions{}); err == nil && v.OK {
			t.Errorf("what was written before the failure verifies: %+v", v)
		}
	}
}

func FuzzVerifyExport(f *testing.F) {
	s := signer(f, "ours")
	l, _ := shop(f, s)
	export := l.export(f, s)
	f.Add(export)
	for _, line := range bytes.SplitAfter(export, []byte("\n")) {
		f.Add(append(bytes.Clone(bytes.SplitAfter(export, []byte("\n"))[0]), line...))
	}
	f.Add([]byte(`{"turnout_audit_export":1}` + "\n" + `{"chain":"c_1"}` + "\n" + `{"checkpoint":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := audit.VerifyExport(bytes.NewReader(b), audit.VerifyOptions{Keys: []string{s.VerifierKey()}})
		if err != nil {
			return
		}
		if v.OK != (len(v.Faults) == 0) || v.OK && v.Covered > 0 && !bytes.Contains(b, []byte("turnout audit checkpoint v1")) {
			t.Fatalf("%+v", v)
		}
		// Whatever holds and is vouched for was written by us: its covered entries are ours.
		if v.OK && v.Covered > 16 {
			t.Fatalf("%d entries are vouched for, we made 16", v.Covered)
		}
		_ = v.String()
	})
}
