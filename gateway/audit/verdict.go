package audit

import (
	"fmt"
	"strings"
	"time"
)

// FaultKind says in one word what is wrong with an export.
type FaultKind string

// The kinds.
const (
	Unreadable   FaultKind = "unreadable"    // a line is not one of an export
	Edited       FaultKind = "edit"          // what was written is not what stands there
	Cut          FaultKind = "cut"           // something between is missing
	Swapped      FaultKind = "swap"          // the order was changed
	Inserted     FaultKind = "insert"        // something was added
	MissingTail  FaultKind = "missing_tail"  // the end is missing
	Forked       FaultKind = "forked"        // there is another history with the same number
	Foreign      FaultKind = "foreign"       // it belongs to another tenant
	UnknownKey   FaultKind = "unknown_key"   // nobody who is trusted has signed it
	BadSignature FaultKind = "bad_signature" // it was changed after it was signed
)

// Fault is one thing that is wrong, at the first place of a chain that shows it.
type Fault struct {
	Kind       FaultKind `json:"kind"`
	Chain      string    `json:"chain,omitempty"`
	Entry      uint64    `json:"entry,omitempty"`
	Checkpoint uint64    `json:"checkpoint,omitempty"`
	Line       int       `json:"line,omitempty"`
	Message    string    `json:"message"`
}

func (f Fault) String() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", f.Line)
	}
	fmt.Fprintf(&b, "%s: ", f.Kind)
	switch {
	case f.Chain != "" && f.Entry > 0:
		fmt.Fprintf(&b, "chain %s, entry %d: ", f.Chain, f.Entry)
	case f.Chain != "":
		fmt.Fprintf(&b, "chain %s: ", f.Chain)
	case f.Checkpoint > 0:
		fmt.Fprintf(&b, "checkpoint %d: ", f.Checkpoint)
	}
	b.WriteString(f.Message)
	return b.String()
}

// Verdict is what a verification found. Its zero value says nothing.
type Verdict struct {
	// OK: nothing contradicts anything. What that proves stands in Proven, what it does not in NotProven.
	OK     bool   `json:"ok"`
	Tenant string `json:"tenant"`
	// ExportedAt is when the export says that it was made.
	ExportedAt  string `json:"exported_at,omitempty"`
	Checkpoints uint64 `json:"checkpoints"`
	Chains      uint64 `json:"chains"`
	Entries     uint64 `json:"entries"`
	// Covered are the entries that a checkpoint vouches for; the others are younger than the last one.
	Covered uint64 `json:"covered"`
	// LastCheckpoint is the time of the newest one, OutsideCopy the highest number that an outside copy confirms.
	LastCheckpoint string   `json:"last_checkpoint,omitempty"`
	OutsideCopy    uint64   `json:"outside_copy,omitempty"`
	Faults         []Fault  `json:"faults,omitempty"`
	MoreFaults     int      `json:"more_faults,omitempty"` // found, but not listed
	Proven         []string `json:"proven,omitempty"`
	NotProven      []string `json:"not_proven,omitempty"`
}

// String is the verdict for people.
func (v Verdict) String() string {
	var b strings.Builder
	for _, f := range v.Faults {
		fmt.Fprintln(&b, f)
	}
	if v.MoreFaults > 0 {
		fmt.Fprintf(&b, "and %d more\n", v.MoreFaults)
	}
	fmt.Fprintf(&b, "%s: %d entries in %d chains, %d checkpoints; %d entries are covered by a checkpoint\n",
		v.Tenant, v.Entries, v.Chains, v.Checkpoints, v.Covered)
	if !v.OK {
		b.WriteString("DOES NOT HOLD: this is not the audit log as it was written.")
		return b.String()
	}
	for _, s := range v.Proven {
		fmt.Fprintln(&b, "proven:     "+s)
	}
	for _, s := range v.NotProven {
		fmt.Fprintln(&b, "not proven: "+s)
	}
	b.WriteString("HOLDS: no edit, cut, swap or insertion.")
	return b.String()
}

// conclude fills in what the findings prove and what they do not.
func (v *Verdict) conclude(known bool, last Checkpoint, tail uint64) {
	v.OK = len(v.Faults) == 0
	if last.Number > 0 {
		v.LastCheckpoint = time.UnixMilli(last.At).UTC().Format(timeForm)
	}
	if !v.OK {
		return
	}
	if v.Covered > 0 {
		who := "the key that the export itself names"
		if known {
			who = "your key"
		}
		v.Proven = append(v.Proven, fmt.Sprintf("%d entries are those that checkpoints 1 to %d, signed with %s, vouch for", v.Covered, last.Number, who))
	}
	if v.OutsideCopy > 0 {
		v.Proven = append(v.Proven, fmt.Sprintf("nothing up to checkpoint %d was changed after its outside copy was made", v.OutsideCopy))
	}
	if !known && last.Number > 0 {
		v.NotProven = append(v.NotProven, "who signed: give the verifier's key with --key, from a source other than the export")
	}
	switch {
	case last.Number == 0:
		v.NotProven = append(v.NotProven, "anything against whoever can write the store: the export has no checkpoint yet")
	case v.OutsideCopy == 0:
		v.NotProven = append(v.NotProven, "anything against an administrator who has the signing key, nor that the export is not an old or a shortened one: give outside copies of checkpoints with --checkpoint")
	case v.OutsideCopy < last.Number:
		v.NotProven = append(v.NotProven, fmt.Sprintf("against an administrator who has the signing key: what came after checkpoint %d, the newest with an outside copy", v.OutsideCopy))
	}
	if tail > 0 && last.Number > 0 {
		v.NotProven = append(v.NotProven, fmt.Sprintf("%d entries that are younger than the last checkpoint: they could have been cut off, added to or made anew", tail))
	}
}
