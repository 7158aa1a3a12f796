package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// history is a tenant's audit log as an export holds it: n entries in chains of a hundred, with a checkpoint after each
// fifty that vouches for everything.
type history struct {
	checkpoints []Sealed
	names       []string
	chains      map[string][][]byte
	key         string
}

func newHistory(t testing.TB, n int) *history {
	t.Helper()
	seed := sha256.Sum256([]byte("history"))
	signer, err := NewSigner(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	h := &history{chains: map[string][][]byte{}, key: signer.VerifierKey()}
	heads := map[string]Head{}
	moved := map[string]bool{}
	var newest []byte
	rng := rand.New(rand.NewPCG(1, 2))
	chains := max(2, n/100)
	for i := range n {
		name := "shop"
		if c := rng.IntN(chains); c > 0 {
			name = fmt.Sprintf("c_%06d", c)
		}
		link, err := Append(name, heads[name], Entry{
			At: int64(i), Seq: uint64(i + 1), Type: "decision.made", Kind: "pass", Epoch: 1, Op: fmt.Sprint("op-", i), Actor: "agent:ann",
			Rule: "chest-pain", Rules: 7, Digest: hexOf(seed[:]),
		})
		if err != nil {
			t.Fatal(err)
		}
		h.chains[name] = append(h.chains[name], link.Bytes)
		heads[name], moved[name] = link.Head, true
		if i%50 != 49 && i != n-1 {
			continue
		}
		var list []ChainHead
		for name := range moved {
			list = append(list, ChainHead{name, heads[name]})
		}
		clear(moved)
		c, err := signer.Seal("shop", newest, int64(i), list)
		if err != nil {
			t.Fatal(err)
		}
		newest, h.checkpoints = c.Note, append(h.checkpoints, c)
	}
	h.names = slices.DeleteFunc(slices.Sorted(maps.Keys(h.chains)), func(s string) bool { return s == "shop" })
	return h
}

func (h *history) Checkpoints(_ context.Context, after uint64, limit int) ([]Sealed, error) {
	rest := h.checkpoints[after:]
	return rest[:min(limit, len(rest))], nil
}

func (h *history) Chains(_ context.Context, after string, limit int) ([]string, error) {
	i, _ := slices.BinarySearch(h.names, after+"\x00")
	rest := h.names[i:]
	return rest[:min(limit, len(rest))], nil
}

func (h *history) Entries(_ context.Context, chain string, after uint64, limit int) ([][]byte, error) {
	if chain == "" {
		chain = "shop"
	}
	rest := h.chains[chain][after:]
	return rest[:min(limit, len(rest))], nil
}

// lines are those of the export, without the last: whoever changes an export makes that one fit.
func (h *history) lines(t *testing.T) [][]byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Export(t.Context(), &b, h, "shop", h.key, time.UnixMilli(0)); err != nil {
		t.Fatal(err)
	}
	v, err := VerifyExport(bytes.NewReader(b.Bytes()), VerifyOptions{Keys: []string{h.key}})
	if err != nil || !v.OK || v.Covered != v.Entries {
		t.Fatalf("what was not tampered with: %+v, %v", v, err)
	}
	lines := bytes.Split(bytes.TrimSuffix(b.Bytes(), []byte("\n")), []byte("\n"))
	return lines[:len(lines)-1]
}

// verifierAt is a verifier that has read all lines before one.
type verifierAt struct {
	v     *verifier
	lines [][]byte
	i     int
}

// begin returns a verifier before the line behind the header. It has an outside copy of the last checkpoint: without one
// nobody can know that it was there.
func begin(t *testing.T, lines [][]byte, h *history) *verifierAt {
	t.Helper()
	last := Copy{Name: "usb", Note: h.checkpoints[len(h.checkpoints)-1].Note}
	v := &verifier{o: VerifyOptions{Keys: []string{h.key}, Copies: []Copy{last}}, chains: map[string]*marks{}}
	v.in = over(lines[:1], 0)
	if err := v.header(); err != nil {
		t.Fatal(err)
	}
	v.copies()
	return &verifierAt{v: v, lines: lines, i: 1}
}

func over(list [][]byte, n int) lines {
	var b bytes.Buffer
	for _, line := range list {
		b.Write(line)
		b.WriteByte('\n')
	}
	return lines{r: bufio.NewReaderSize(&b, 4<<10), sum: sha256.New(), n: n}
}

// fork returns a verifier that goes on from here with other lines.
func (a *verifierAt) fork(rest [][]byte) *verifier {
	v := *a.v
	v.in = over(rest, a.i)
	v.outside = maps.Clone(a.v.outside)
	v.chains = make(map[string]*marks, len(a.v.chains))
	for name, m := range a.v.chains {
		v.chains[name] = &marks{list: slices.Clip(m.list), seen: m.seen}
	}
	if v.walk.name != "" {
		v.walk.marks = v.chains[v.walk.name]
	}
	v.walk.canon = nil
	return &v
}

// finds reports whether a verifier that has read what stands before here finds a fault in rest, or at the end. It stops at
// the first, so that a change costs only what it takes to find it: a verifier reads on from line to line, so what it finds
// here it finds in the whole.
func (a *verifierAt) finds(rest [][]byte) bool {
	const few = 4 // lines within which most changes show; the end of those is no end
	for _, some := range [][][]byte{rest[:min(few, len(rest))], rest} {
		v := a.fork(some)
		for {
			line, ok, err := v.in.next()
			if err != nil {
				return true
			}
			if !ok {
				break
			}
			v.line(line)
			if len(v.verdict.Faults) > 0 {
				return true
			}
		}
		if len(some) < len(rest) {
			continue
		}
		v.endChain()
		v.absent()
		v.unconfirmed()
		return len(v.verdict.Faults) > 0
	}
	return false
}

// step reads the next line as it is.
func (a *verifierAt) step() {
	a.v.in = over(a.lines[a.i:min(a.i+2, len(a.lines))], a.i)
	line, _, _ := a.v.in.next()
	a.v.line(line)
	a.i++
}

// change is one tampering with the lines from here on.
type change struct {
	name string
	rest [][]byte
}

// changes are all tamperings at a line: each byte of it, its cut, its swap with the next, and insertions before it.
func changes(lines [][]byte, i int, yield func(change) bool) {
	line, rest := lines[i], lines[i:]
	swap := make([][]byte, 0, len(rest)+1)
	with := func(head ...[]byte) [][]byte { return append(append(swap[:0], head...), rest[1:]...) }
	edited := bytes.Clone(line)
	for at := range line {
		// Each byte in another way: its case, its lowest bit, a space, its highest bit.
		for k := range 4 {
			c := [4]byte{line[at] ^ 0x20, line[at] ^ 1, ' ', line[at] ^ 0x80}[(at+k)%4]
			if c == line[at] || c == '\n' {
				continue
			}
			edited[at] = c
			break
		}
		if !yield(change{fmt.Sprintf("byte %d as %q", at, edited[at]), with(edited)}) {
			return
		}
		edited[at] = line[at]
	}
	if !yield(change{"cut", rest[1:]}) {
		return
	}
	if i+1 < len(lines) && !yield(change{"swapped", append(append(swap[:0], rest[1], rest[0]), rest[2:]...)}) {
		return
	}
	if !yield(change{"twice", with(line, line)}) {
		return
	}
	var e Entry
	if json.Unmarshal(line, &e) != nil || e.Chain == "" {
		return
	}
	// A forged entry in the place of this one, or before it: it follows what stands before.
	var head Head
	if e.N > 1 {
		head = Head{e.N - 1, sha256.Sum256(lines[i-1])}
	}
	e.Op, e.Rule = "forged", ""
	link, err := Append(e.Chain, head, e)
	if err != nil {
		panic(err)
	}
	_ = yield(change{"forged", with(link.Bytes)}) && yield(change{"inserted", with(link.Bytes, line)})
}

// tamper tries all changes at the lines that want says, and returns how many there were.
func tamper(t *testing.T, h *history, want func(i int) bool) (tried int) {
	t.Helper()
	a := begin(t, h.lines(t), h)
	for a.i < len(a.lines) {
		if want(a.i) {
			changes(a.lines, a.i, func(c change) bool {
				tried++
				if !a.finds(c.rest) {
					t.Errorf("line %d, %s: not found: %.600s", a.i+1, c.name, c.rest[0])
				}
				return !t.Failed()
			})
		}
		a.step()
		if len(a.v.verdict.Faults) > 0 {
			t.Fatalf("line %d as it is: %v", a.i, a.v.verdict.Faults)
		}
	}
	return tried
}

// TestTamperEach changes every byte of a thousand entries and of their checkpoints, cuts each, swaps each with its
// neighbour, and inserts before each.
func TestTamperEach(t *testing.T) {
	tried := tamper(t, newHistory(t, 1000), func(int) bool { return true })
	t.Logf("%d changes, all found", tried)
}

// TestTamperSampled does so at random places of a large log.
func TestTamperSampled(t *testing.T) {
	n, samples := 10_000, 60
	if os.Getenv("TURNOUT_SCALE") == "full" {
		n, samples = 100_000, 1000
	}
	rng := rand.New(rand.NewPCG(3, 4))
	picked := map[int]bool{}
	for len(picked) < samples {
		picked[1+rng.IntN(n)] = true
	}
	tried := tamper(t, newHistory(t, n), func(i int) bool { return picked[i] })
	t.Logf("%d entries, %d changes, all found", n, tried)
}

// TestTamperControl takes one check after the other away from a verifier: each then misses what that check is for, so the
// tests above could have failed.
func TestTamperControl(t *testing.T) {
	h := newHistory(t, 60)
	// reads is a verifier that only looks at some things.
	reads := func(list [][]byte, link, number, form, heads bool) bool {
		at, chain := Head{}, ""
		ends := map[string]Head{}
		for _, line := range list {
			var e Entry
			if json.Unmarshal(line, &e) != nil {
				return false
			}
			if e.Chain != chain {
				at, chain = Head{}, e.Chain
			}
			if again, err := e.Append(nil); form && (err != nil || !bytes.Equal(again, line)) {
				return false
			}
			if number && e.N != at.N+1 || link && e.Prev != hexOf(at.Hash[:]) {
				return false
			}
			at = Head{at.N + 1, sha256.Sum256(line)}
			ends[chain] = at
		}
		for _, c := range h.checkpoints {
			for _, head := range c.Heads {
				if heads && ends[head.Chain].N < head.N {
					return false
				}
			}
		}
		return true
	}
	var entries [][]byte
	for _, name := range append([]string{"shop"}, h.names...) {
		entries = append(entries, h.chains[name]...)
	}
	misses := map[string]int{}
	for i := range entries {
		changes(entries, i, func(c change) bool {
			if i > 1 && strings.HasPrefix(c.name, "byte") {
				return true // two entries' bytes are enough to see what is missed
			}
			all := slices.Concat(entries[:i], c.rest)
			for name, passes := range map[string]bool{
				"no link":   reads(all, false, true, true, true),
				"no number": reads(all, false, false, true, false),
				"no form":   reads(all, true, true, false, true),
				"no heads":  reads(all, true, true, true, false),
			} {
				if passes {
					misses[name]++
				}
			}
			return true
		})
	}
	for _, name := range []string{"no link", "no number", "no heads", "no form"} {
		if misses[name] == 0 {
			t.Errorf("a verifier with %s misses nothing: that check proves nothing", name)
		}
	}
	// Without signatures, whoever has the file makes a history of his own.
	other := newHistory(t, 60)
	seed := sha256.Sum256([]byte("theirs"))
	theirs, err := NewSigner(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	var newest []byte
	for i, c := range other.checkpoints {
		made, err := theirs.Seal("shop", newest, int64(i), c.Heads)
		if err != nil {
			t.Fatal(err)
		}
		newest, other.checkpoints[i] = made.Note, made
	}
	var b bytes.Buffer
	if _, err := Export(t.Context(), &b, other, "shop", theirs.VerifierKey(), time.UnixMilli(0)); err != nil {
		t.Fatal(err)
	}
	if v, err := VerifyExport(bytes.NewReader(b.Bytes()), VerifyOptions{}); err != nil || !v.OK {
		t.Errorf("a history of its own, without a key: %v, %v", v.Faults, err)
	}
	if v, err := VerifyExport(bytes.NewReader(b.Bytes()), VerifyOptions{Keys: []string{h.key}}); err != nil || v.OK {
		t.Errorf("a history of its own, with the key: %+v, %v", v, err)
	}
}
