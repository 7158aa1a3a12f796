package audit

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// An export is a file of lines of JSON (https://jsonlines.org), each written in exactly one way:
//
//	{"turnout_audit_export":1,"tenant":…,"at":…,"key":…}    first; key is whom the checkpoints claim to be signed by
//	{"checkpoint":"…","heads":[{"chain":…,"n":…,"hash":…}]} one per checkpoint, in order: the signed note and its leaves
//	{"chain":…,"n":…,"prev":…,…}                            the entries of one chain after the other, in order: their
//	                                                        canonical bytes, so that an entry's hash is that of its line
//	{"end":{"checkpoints":…,"chains":…,"entries":…,"sha256":…}} last; the digest is over all lines before it
//
// It holds ids, digests, names of rules and of people, and no text.

// exportVersion is the version of the form that this build writes and reads.
const exportVersion = 1

// Source is what is exported: one tenant's chains and checkpoints. They may grow meanwhile.
type Source interface {
	// Checkpoints returns those after number n, in order, at most limit.
	Checkpoints(ctx context.Context, after uint64, limit int) ([]Sealed, error)
	// Chains lists the chains of conversations after one, in order, at most limit.
	Chains(ctx context.Context, after string, limit int) ([]string, error)
	// Entries returns the canonical bytes of a chain's entries after number n, in order; "" is the tenant's own.
	Entries(ctx context.Context, chain string, after uint64, limit int) ([][]byte, error)
}

// Pages of an export: a few megabytes at most.
const (
	checkpointPage = 8
	chainPage      = 512
	entryPage      = 1024
)

type exportHeader struct {
	Version int    `json:"turnout_audit_export"`
	Tenant  string `json:"tenant"`
	At      string `json:"at"`
	Key     string `json:"key"`
}

type exportCheckpoint struct {
	Note  string       `json:"checkpoint"`
	Heads []exportHead `json:"heads"`
}

type exportHead struct {
	Chain string `json:"chain"`
	N     uint64 `json:"n"`
	Hash  string `json:"hash"`
}

type exportEnd struct {
	End Counts `json:"end"`
}

// Counts says what an export holds.
type Counts struct {
	Checkpoints uint64 `json:"checkpoints"`
	Chains      uint64 `json:"chains"`
	Entries     uint64 `json:"entries"`
	// SHA256 is the digest of all lines before the last, in hex. It shows damage, not dishonesty: whoever changes a line
	// can make it anew.
	SHA256 string `json:"sha256"`
}

// Export writes what src holds of a tenant. key is the verifier's key of the node that exports. Checkpoints come first, so
// that no entry which one of them vouches for can be missing because it was written meanwhile.
func Export(ctx context.Context, w io.Writer, src Source, tenant, key string, at time.Time) (Counts, error) {
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	e := exporter{ctx: ctx, src: src, out: out}
	e.line(exportHeader{Version: exportVersion, Tenant: tenant, At: at.UTC().Format(timeForm), Key: key})
	e.checkpoints()
	e.chain("")
	e.chains()
	if e.err == nil {
		e.err = out.Flush()
	}
	if e.err != nil {
		return e.counts, fmt.Errorf("exporting the audit log of %s: %w", tenant, e.err)
	}
	e.counts.SHA256 = hex.EncodeToString(sum.Sum(nil))
	e.line(exportEnd{e.counts})
	if e.err == nil {
		e.err = out.Flush()
	}
	return e.counts, e.err
}

// exporter writes line after line until the first error.
type exporter struct {
	ctx    context.Context
	src    Source
	out    *bufio.Writer
	counts Counts
	err    error
}

func (e *exporter) line(v any) {
	if e.err != nil {
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		e.err = fmt.Errorf("encoding a line: %w", err)
		return
	}
	e.raw(b)
}

func (e *exporter) raw(b []byte) {
	if _, err := e.out.Write(b); err != nil {
		e.err = err
		return
	}
	e.err = e.out.WriteByte('\n')
}

func (e *exporter) checkpoints() {
	for e.err == nil {
		var list []Sealed
		if list, e.err = e.src.Checkpoints(e.ctx, e.counts.Checkpoints, checkpointPage); e.err != nil || len(list) == 0 {
			return
		}
		for _, c := range list {
			line := exportCheckpoint{Note: string(c.Note), Heads: make([]exportHead, len(c.Heads))}
			for i, h := range c.Heads {
				line.Heads[i] = exportHead{Chain: h.Chain, N: h.N, Hash: hexOf(h.Hash[:])}
			}
			e.line(line)
			e.counts.Checkpoints++
		}
	}
}

func (e *exporter) chains() {
	last := ""
	for e.err == nil {
		var names []string
		if names, e.err = e.src.Chains(e.ctx, last, chainPage); e.err != nil || len(names) == 0 {
			return
		}
		for _, name := range names {
			e.chain(name)
		}
		last = names[len(names)-1]
	}
}

func (e *exporter) chain(name string) {
	var n uint64
	for e.err == nil {
		var entries [][]byte
		if entries, e.err = e.src.Entries(e.ctx, name, n, entryPage); e.err != nil {
			return
		}
		for _, b := range entries {
			e.raw(b)
		}
		n += uint64(len(entries))
		if len(entries) < entryPage {
			break
		}
	}
	if n > 0 {
		e.counts.Chains++
		e.counts.Entries += n
	}
}
