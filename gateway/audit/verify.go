package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// VerifyOptions are what somebody who does not trust the export brings along.
type VerifyOptions struct {
	// Keys are those whose signatures count ("turnout-audit+…+…"). Without any, the one that the export names counts,
	// which proves nothing about who signed.
	Keys []string
	// Copies are checkpoints that were kept elsewhere.
	Copies []Copy
	// Tenant, when set, is the tenant that the export must be of.
	Tenant string
}

// Copy is an outside copy of a checkpoint.
type Copy struct {
	Name string // where it came from
	Note []byte
}

// ErrNotExport says that a file is not an audit export at all.
var ErrNotExport = errors.New("no audit export")

// maxLine bounds a line: a checkpoint over the largest frontier has a good half of it.
const maxLine = 4 << 20

// maxFaults is how many faults a verdict lists.
const maxFaults = 100

// backdated is by how much an entry may be older than a checkpoint that does not cover it. Between a decision and its
// commit lies little, and clocks are set.
const backdated = 5 * time.Minute

// VerifyExport reads an export and says what it finds. It needs nothing but its arguments; memory grows with the number of
// heads in the checkpoints, not with the entries. An error means that it could not look: the file is no export, or a key
// is none.
func VerifyExport(r io.Reader, o VerifyOptions) (Verdict, error) {
	v := &verifier{o: o, in: lines{r: bufio.NewReaderSize(r, 256<<10), sum: sha256.New()}, chains: map[string]*marks{}}
	if err := v.header(); err != nil {
		return Verdict{}, err
	}
	v.copies()
	for {
		line, ok, err := v.in.next()
		if err != nil {
			return Verdict{}, err
		}
		if !ok {
			v.fault(Fault{Kind: MissingTail, Line: v.in.n, Message: "the export ends without its last line: the rest is missing"})
			break
		}
		if v.ended {
			v.fault(Fault{Kind: Inserted, Line: v.in.n, Message: "something follows the last line of the export"})
			break
		}
		v.line(line)
		if v.ended {
			_, more, err := v.in.peek()
			if err != nil {
				return Verdict{}, err
			}
			if !more {
				break
			}
		}
	}
	v.endChain()
	v.absent()
	v.unconfirmed()
	v.verdict.conclude(len(o.Keys) > 0, v.last, v.tail)
	return v.verdict, nil
}

// marks are what checkpoints say of one chain, in order.
type marks struct {
	list []mark
	seen bool
}

type mark struct {
	checkpoint uint64
	Head
}

type verifier struct {
	o       VerifyOptions
	in      lines
	keys    note.Verifiers
	verdict Verdict

	tenant string
	last   Checkpoint // zero before the first
	hash   [32]byte
	// outside are the copies that are still to be met, by number.
	outside map[uint64]copyOf
	chains  map[string]*marks
	walk    walk
	began   bool // entries have begun
	broken  bool // the checkpoints do not follow each other: what comes after the break says nothing
	ended   bool
	tail    uint64
}

type copyOf struct {
	Copy
	Checkpoint
}

func (v *verifier) fault(f Fault) {
	if len(v.verdict.Faults) == maxFaults {
		v.verdict.MoreFaults++
		return
	}
	v.verdict.Faults = append(v.verdict.Faults, f)
}

// header reads the first line. Only an export begins with it.
func (v *verifier) header() error {
	line, ok, err := v.in.next()
	if err != nil {
		return err
	}
	var h exportHeader
	if !ok || !strings.HasPrefix(string(line), `{"turnout_audit_export":`) || json.Unmarshal(line, &h) != nil {
		return fmt.Errorf("%w: its first line is not that of one", ErrNotExport)
	}
	if h.Version != exportVersion {
		return fmt.Errorf("%w: its version is %d, this build reads %d", ErrNotExport, h.Version, exportVersion)
	}
	if !canonicalLine(line, h) {
		v.fault(Fault{Kind: Edited, Line: 1, Message: "the first line is not written as exports are"})
	}
	v.tenant = h.Tenant
	v.verdict.Tenant, v.verdict.ExportedAt = h.Tenant, h.At
	if v.o.Tenant != "" && v.o.Tenant != h.Tenant {
		v.fault(Fault{Kind: Foreign, Line: 1, Message: fmt.Sprintf("the export is of tenant %s, not of %s", h.Tenant, v.o.Tenant)})
	}
	keys := v.o.Keys
	if len(keys) == 0 {
		keys = []string{h.Key}
	}
	var verifiers []note.Verifier
	for _, key := range keys {
		k, err := note.NewVerifier(strings.TrimSpace(key))
		if err != nil {
			if len(v.o.Keys) == 0 {
				v.fault(Fault{Kind: Edited, Line: 1, Message: "the key that the export names is none"})
				continue
			}
			return fmt.Errorf("key %q is none: want the line that \"turnout audit key\" prints, such as %s+12345678+A…", key, KeyName)
		}
		verifiers = append(verifiers, k)
	}
	v.keys = note.VerifierList(verifiers...)
	return nil
}

// copies reads the outside copies.
func (v *verifier) copies() {
	v.outside = map[uint64]copyOf{}
	foreign := ""
	for _, c := range v.o.Copies {
		k, err := ReadCheckpoint(c.Note)
		if err != nil {
			v.fault(Fault{Kind: Unreadable, Message: fmt.Sprintf("outside copy %s: %v", c.Name, err)})
			continue
		}
		if k.Tenant != v.tenant { // whoever keeps copies keeps those of all tenants
			foreign = fmt.Sprintf("outside copy %s is of tenant %s, not of %s", c.Name, k.Tenant, v.tenant)
			continue
		}
		if _, err := OpenCheckpoint(c.Note, v.keys); err != nil {
			v.signature(err, k.Number, 0, "outside copy "+c.Name)
			continue
		}
		if was, ok := v.outside[k.Number]; ok && was.Checkpoint != k {
			v.fault(Fault{Kind: Forked, Checkpoint: k.Number, Message: fmt.Sprintf("the outside copies %s and %s differ: there are two histories", was.Name, c.Name)})
			continue
		}
		v.outside[k.Number] = copyOf{c, k}
	}
	if foreign != "" && len(v.outside) == 0 {
		v.fault(Fault{Kind: Foreign, Message: foreign})
	}
}

func (v *verifier) signature(err error, number uint64, line int, what string) {
	f := Fault{Kind: BadSignature, Checkpoint: number, Line: line, Message: what + " was changed after it was signed"}
	if errors.Is(err, ErrUnknownKey) {
		f.Kind, f.Message = UnknownKey, what+" is signed with a key that is not yours"
		if len(v.o.Keys) == 0 {
			f.Message = what + " is signed with another key than the one that the export names"
		}
	}
	v.fault(f)
}

func (v *verifier) line(line []byte) {
	switch {
	case bytes.HasPrefix(line, []byte(`{"chain":`)):
		v.began = true
		v.entry(line)
	case bytes.HasPrefix(line, []byte(`{"checkpoint":`)):
		v.endChain()
		v.checkpoint(line)
	case bytes.HasPrefix(line, []byte(`{"end":`)):
		v.endChain()
		v.end(line)
	case v.began || len(v.chains) > 0:
		v.damaged("it cannot be read")
	default:
		v.fault(Fault{Kind: Unreadable, Line: v.in.n, Message: "this is no line of an export"})
	}
}

func (v *verifier) checkpoint(line []byte) {
	want := v.last.Number + 1
	var x exportCheckpoint
	if err := json.Unmarshal(line, &x); err != nil || !canonicalLine(line, x) {
		v.fault(Fault{Kind: Edited, Checkpoint: want, Line: v.in.n, Message: "it is not written as checkpoints are"})
		v.broken = true
		return
	}
	if v.began {
		v.fault(Fault{Kind: Swapped, Checkpoint: want, Line: v.in.n, Message: "a checkpoint stands behind entries"})
		return
	}
	c, err := ReadCheckpoint([]byte(x.Note))
	if err != nil {
		v.fault(Fault{Kind: Edited, Checkpoint: want, Line: v.in.n, Message: err.Error()})
		v.broken = true
		return
	}
	v.verdict.Checkpoints++
	f := Fault{Checkpoint: c.Number, Line: v.in.n}
	if c.Tenant != v.tenant {
		f.Kind, f.Message = Foreign, fmt.Sprintf("it is of tenant %s, not of %s", c.Tenant, v.tenant)
		v.fault(f)
		return
	}
	if v.broken {
		return
	}
	if _, err := OpenCheckpoint([]byte(x.Note), v.keys); err != nil {
		v.signature(err, c.Number, v.in.n, "it")
		v.broken = true
		return
	}
	switch {
	case c.Number > want:
		f.Kind, f.Message = Cut, fmt.Sprintf("checkpoint %d is missing before it", want)
		if next, ok := v.nextCheckpoint(); ok && next == want {
			f.Kind, f.Message = Swapped, fmt.Sprintf("it stands before checkpoint %d", want)
		}
	case c.Number < want:
		f.Kind, f.Message = Inserted, "it stands there twice"
	case c.Previous != v.hash:
		f.Kind, f.Message = Forked, "it does not follow the checkpoint before: one of the two is of another history"
	}
	if f.Kind != "" {
		v.fault(f)
		v.broken = true
		return
	}
	v.last, v.hash = c, c.Hash()
	heads := make([]ChainHead, len(x.Heads))
	for i, h := range x.Heads {
		heads[i] = ChainHead{Chain: h.Chain, Head: Head{N: h.N}}
		if err := parseHash(h.Hash, &heads[i].Hash); err != nil {
			f.Kind = Edited
		}
	}
	if root, err := Root(heads); f.Kind != "" || err != nil || root != c.Root || c.Heads != len(heads) {
		f.Kind, f.Message = Edited, "its heads are not those that were signed"
		v.fault(f)
		return
	}
	v.confirm(c)
	for _, h := range heads {
		m := v.chains[h.Chain]
		if m == nil {
			m = &marks{}
			v.chains[h.Chain] = m
		}
		if n := len(m.list); n > 0 && m.list[n-1].Head == h.Head {
			continue // said before
		}
		m.list = append(m.list, mark{c.Number, h.Head})
	}
}

// nextCheckpoint returns the number of the checkpoint in the next line.
func (v *verifier) nextCheckpoint() (uint64, bool) {
	line, ok, err := v.in.peek()
	var x exportCheckpoint
	if !ok || err != nil || json.Unmarshal(line, &x) != nil {
		return 0, false
	}
	c, err := ReadCheckpoint([]byte(x.Note))
	return c.Number, err == nil
}

// confirm compares a checkpoint with its outside copy.
func (v *verifier) confirm(c Checkpoint) {
	k, ok := v.outside[c.Number]
	if !ok {
		return
	}
	delete(v.outside, c.Number)
	if k.Checkpoint != c {
		v.fault(Fault{Kind: Forked, Checkpoint: c.Number, Line: v.in.n,
			Message: "the export has another checkpoint of this number than outside copy " + k.Name + ": its history was made anew"})
		return
	}
	v.verdict.OutsideCopy = c.Number
}

// unconfirmed finds outside copies whose checkpoints the export should have and has not.
func (v *verifier) unconfirmed() {
	newest := copyOf{}
	for n, k := range v.outside {
		if n > newest.Number {
			newest = k
		}
	}
	if newest.Number > v.last.Number && !v.broken {
		v.fault(Fault{Kind: MissingTail, Checkpoint: newest.Number,
			Message: fmt.Sprintf("outside copy %s is checkpoint %d, but the export ends with %d", newest.Name, newest.Number, v.last.Number)})
	}
}

// absent finds chains that checkpoints vouch for and that are not there at all.
func (v *verifier) absent() {
	for _, name := range sortedChains(v.chains) {
		m := v.chains[name]
		if m.seen || len(m.list) == 0 {
			continue
		}
		end := m.list[len(m.list)-1]
		v.fault(Fault{Kind: Cut, Chain: name,
			Message: fmt.Sprintf("the whole chain is missing; checkpoint %d vouches for %d entries", end.checkpoint, end.N)})
	}
}

func (v *verifier) end(line []byte) {
	v.ended = true
	var x exportEnd
	if err := json.Unmarshal(line, &x); err != nil || !canonicalLine(line, x) {
		v.fault(Fault{Kind: Edited, Line: v.in.n, Message: "the last line is not written as exports are"})
		return
	}
	got := Counts{
		Checkpoints: v.verdict.Checkpoints, Chains: v.verdict.Chains, Entries: v.verdict.Entries,
		SHA256: hex.EncodeToString(v.in.before),
	}
	if len(v.verdict.Faults) > 0 || got == x.End {
		return // what is wrong is said already
	}
	if got.SHA256 != x.End.SHA256 {
		v.fault(Fault{Kind: Edited, Line: v.in.n, Message: "the digest in the last line is not that of the lines before: the file was changed or damaged"})
		return
	}
	v.fault(Fault{Kind: Edited, Line: v.in.n, Message: "the last line counts other entries, chains or checkpoints than there are"})
}

// canonicalLine reports whether a line is the one way to write v.
func canonicalLine(line []byte, v any) bool {
	b, err := json.Marshal(v)
	return err == nil && bytes.Equal(b, line)
}
