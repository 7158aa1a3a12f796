package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// walk is the way along one chain of an export.
type walk struct {
	name   string
	head   Head
	marks  *marks
	next   int    // the mark that comes next
	good   uint64 // the last entry that a mark confirmed
	oldest int64  // time of the oldest entry behind the last mark, 0 for none
	broken bool   // a fault was found: what comes after it in this chain says nothing
	canon  []byte
}

func sortedChains(m map[string]*marks) []string { return slices.Sorted(maps.Keys(m)) }

// entry takes the next line of a chain, or the first of another.
func (v *verifier) entry(line []byte) {
	v.verdict.Entries++
	e, err := decodeEntry(line)
	if err == nil {
		v.walk.canon, err = e.Append(v.walk.canon[:0])
	}
	if err != nil || !bytes.Equal(v.walk.canon, line) {
		v.damaged("it is not written as entries are")
		return
	}
	if e.Chain != v.walk.name {
		if next, ok := v.peekEntry(); ok && v.walk.name != "" && next.Chain == v.walk.name {
			if !v.walk.broken {
				v.fault(Fault{Kind: Inserted, Chain: v.walk.name, Entry: v.walk.head.N + 1, Line: v.in.n,
					Message: fmt.Sprintf("an entry of chain %s stands here", e.Chain)})
			}
			v.walk.broken = true
			return
		}
		v.beginChain(e.Chain)
	}
	if v.walk.broken {
		return
	}
	if f := v.step(&e, line); f.Kind != "" {
		f.Chain, f.Line = v.walk.name, v.in.n
		v.fault(f)
		v.walk.broken = true
	}
}

// damaged reports an entry that cannot be one. Which it was its neighbours tell.
func (v *verifier) damaged(message string) {
	if next, ok := v.peekEntry(); ok && next.Chain != v.walk.name && next.N > 1 {
		v.beginChain(next.Chain)
		v.walk.head.N = next.N - 2
	}
	if !v.walk.broken {
		v.fault(Fault{Kind: Edited, Chain: v.walk.name, Entry: v.walk.head.N + 1, Line: v.in.n, Message: message})
	}
	v.walk.broken = true
}

func (v *verifier) beginChain(name string) {
	v.endChain()
	v.verdict.Chains++
	m := v.chains[name]
	if m == nil {
		m = &marks{}
		v.chains[name] = m
	}
	v.walk = walk{name: name, marks: m, canon: v.walk.canon}
	switch {
	case m.seen:
		v.fault(Fault{Kind: Inserted, Chain: name, Line: v.in.n, Message: "the chain stands there twice"})
		v.walk.broken = true
	case name != v.tenant && !strings.HasPrefix(name, "c_"):
		v.fault(Fault{Kind: Foreign, Chain: name, Line: v.in.n,
			Message: fmt.Sprintf("it is neither a conversation nor the chain of tenant %s", v.tenant)})
		v.walk.broken = true
	}
	m.seen = true
}

// step follows one entry. The fault it returns has no kind when there is none.
func (v *verifier) step(e *Entry, line []byte) Fault {
	w := &v.walk
	want := w.head.N + 1
	if e.N != want {
		return v.outOfOrder(e, want)
	}
	sum := sha256.Sum256(line)
	if e.Prev != hexOf(w.head.Hash[:]) {
		return v.unlinked(e, sum)
	}
	w.head = Head{N: e.N, Hash: sum}
	for w.next < len(w.marks.list) && w.marks.list[w.next].N <= e.N {
		m := w.marks.list[w.next]
		if m.N < e.N { // an earlier head than the one before: no store makes such
			return Fault{Kind: Forked, Entry: m.N, Checkpoint: m.checkpoint, Message: fmt.Sprintf("checkpoint %d takes the chain back", m.checkpoint)}
		}
		if m.Hash != sum {
			return v.rewritten(m)
		}
		w.good = e.N
		w.next++
	}
	if w.next == len(w.marks.list) && w.good < e.N && (w.oldest == 0 || e.At < w.oldest) {
		w.oldest = e.At
	}
	return Fault{}
}

// outOfOrder says why an entry has another number than its place.
func (v *verifier) outOfOrder(e *Entry, want uint64) Fault {
	next, more := v.peekEntry()
	more = more && next.Chain == e.Chain
	switch {
	case e.N < want:
		return Fault{Kind: Inserted, Entry: e.N, Message: "there are two entries of this number: one does not belong here"}
	case more && next.N == want:
		return Fault{Kind: Swapped, Entry: want, Message: fmt.Sprintf("entry %d stands before it", e.N)}
	case e.N == want+1:
		return Fault{Kind: Cut, Entry: want, Message: "it is missing"}
	}
	return Fault{Kind: Cut, Entry: want, Message: fmt.Sprintf("it and all up to entry %d are missing", e.N-1)}
}

// unlinked says which of two entries that do not fit was changed: the one that what follows does not confirm.
func (v *verifier) unlinked(e *Entry, sum [32]byte) Fault {
	w := &v.walk
	next, more := v.peekEntry()
	confirmed := more && next.Chain == e.Chain && next.N == e.N+1 && next.Prev == hexOf(sum[:])
	for _, m := range w.marks.list[w.next:] {
		confirmed = confirmed || m.N == e.N && m.Hash == sum
	}
	switch {
	case more && next.Chain == e.Chain && next.N == e.N:
		return Fault{Kind: Inserted, Entry: e.N, Message: "there are two entries of this number, and this one does not follow the one before"}
	case e.N == 1:
		return Fault{Kind: Edited, Entry: 1, Message: "it claims to follow another entry: it was changed, or what came before was cut off"}
	case confirmed:
		return Fault{Kind: Edited, Entry: e.N - 1, Message: "it was changed: the entry behind it holds another hash"}
	}
	return Fault{Kind: Edited, Entry: e.N, Message: fmt.Sprintf("it does not follow entry %d: one of the two was changed", e.N-1)}
}

// rewritten says what a checkpoint that vouches for another head means.
func (v *verifier) rewritten(m mark) Fault {
	f := Fault{Kind: Edited, Entry: m.N, Checkpoint: m.checkpoint}
	if m.N == v.walk.good+1 {
		f.Message = fmt.Sprintf("it is not the entry that checkpoint %d vouches for: it was changed", m.checkpoint)
		return f
	}
	f.Message = fmt.Sprintf("the chain is not the one that checkpoint %d vouches for: something from entry %d to here was changed and the chain made anew",
		m.checkpoint, v.walk.good+1)
	return f
}

// endChain looks whether the chain is complete.
func (v *verifier) endChain() {
	w := &v.walk
	if w.name == "" {
		return
	}
	defer func() { v.walk = walk{canon: w.canon} }()
	if w.broken {
		return
	}
	v.verdict.Covered += w.good
	v.tail += w.head.N - w.good
	if w.next < len(w.marks.list) {
		m := w.marks.list[len(w.marks.list)-1]
		v.fault(Fault{Kind: MissingTail, Chain: w.name, Entry: w.head.N + 1, Line: v.in.n,
			Message: fmt.Sprintf("the chain ends at entry %d, but checkpoint %d vouches for entry %d", w.head.N, m.checkpoint, m.N)})
		return
	}
	if w.oldest != 0 && v.last.Number > 0 && w.oldest < v.last.At-backdated.Milliseconds() {
		v.fault(Fault{Kind: Inserted, Chain: w.name, Entry: w.good + 1, Line: v.in.n,
			Message: fmt.Sprintf("an entry from here on is more than %v older than checkpoint %d, which knows nothing of it (or a clock was set back)", backdated, v.last.Number)})
	}
}

// peekEntry reads the line after the current one as an entry.
func (v *verifier) peekEntry() (e Entry, ok bool) {
	line, ok, err := v.in.peek()
	if !ok || err != nil || !bytes.HasPrefix(line, []byte(`{"chain":`)) {
		return e, false
	}
	return e, json.Unmarshal(line, &e) == nil
}
