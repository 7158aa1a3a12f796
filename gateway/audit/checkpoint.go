package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Checkpoint vouches for the ends of all chains of a tenant that moved since the checkpoint before. Whoever has one checkpoint
// that is authentic has, by the hashes of those before it and by the hashes in the entries, everything up to it.
type Checkpoint struct {
	Tenant   string
	Number   uint64   // 1, 2, 3 …
	Previous [32]byte // Hash of the checkpoint before, zeroes for the first
	At       int64    // milliseconds since 1970
	Heads    int      // chains that moved
	Root     [32]byte // over their heads
}

// checkpointForm is the first line of every checkpoint. What is signed under another first line is none.
const checkpointForm = "turnout audit checkpoint v1"

const timeForm = "2006-01-02T15:04:05.000Z"

// Text is what is signed: one "name value" a line.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\ntenant %s\nnumber %d\nprevious %x\ntime %s\nheads %d\nroot %x\n",
		checkpointForm, c.Tenant, c.Number, c.Previous, time.UnixMilli(c.At).UTC().Format(timeForm), c.Heads, c.Root)
}

// Hash is what the next checkpoint holds as Previous. The signature is no part of it.
func (c Checkpoint) Hash() [32]byte { return sha256.Sum256([]byte(c.Text())) }

// ErrCheckpoint says that something is no checkpoint.
var ErrCheckpoint = errors.New("no checkpoint")

// ParseCheckpoint reads what Text wrote, and nothing else.
func ParseCheckpoint(text string) (Checkpoint, error) {
	var c Checkpoint
	form, rest, _ := strings.Cut(text, "\n")
	if form != checkpointForm {
		return c, fmt.Errorf("%w: it does not begin with %q", ErrCheckpoint, checkpointForm)
	}
	for _, f := range []struct {
		name string
		read func(string) error
	}{
		{"tenant", func(v string) error { c.Tenant = v; return nil }},
		{"number", func(v string) (err error) { c.Number, err = strconv.ParseUint(v, 10, 64); return err }},
		{"previous", func(v string) error { return parseHash(v, &c.Previous) }},
		{"time", func(v string) error {
			at, err := time.Parse(timeForm, v)
			c.At = at.UnixMilli()
			return err
		}},
		{"heads", func(v string) (err error) { c.Heads, err = strconv.Atoi(v); return err }},
		{"root", func(v string) error { return parseHash(v, &c.Root) }},
	} {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		v, ok := strings.CutPrefix(line, f.name+" ")
		if !ok || f.read(v) != nil {
			return Checkpoint{}, fmt.Errorf("%w: its line %q is missing or damaged", ErrCheckpoint, f.name)
		}
	}
	// Comparing with the one way of writing it refuses everything that could be read in two ways.
	if c.Number == 0 || c.Heads <= 0 || c.Text() != text {
		return Checkpoint{}, fmt.Errorf("%w: it is not written as checkpoints are", ErrCheckpoint)
	}
	return c, nil
}

func parseHash(s string, h *[32]byte) error {
	if len(s) == 2*len(h) {
		if _, err := hex.Decode(h[:], []byte(s)); err == nil && hexOf(h[:]) == s {
			return nil
		}
	}
	return errors.New("a hash has 64 digits, 0-9 and a-f")
}

// Sealed is a checkpoint as it is kept: the signed note (https://pkg.go.dev/golang.org/x/mod/sumdb/note) and what its root
// stands for.
type Sealed struct {
	Note  []byte
	Heads []ChainHead // sorted by chain
}

// KeyName is the name of the signer in every note, and the beginning of a verifier's key.
const KeyName = "turnout-audit"

// Signer signs checkpoints with an Ed25519 key.
type Signer struct {
	key      ed25519.PrivateKey
	hash     uint32
	verifier string
}

var _ note.Signer = (*Signer)(nil)

// NewSigner makes a signer from the 32 bytes of an audit key.
func NewSigner(seed []byte) (*Signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("an audit key has %d bytes, not %d", ed25519.SeedSize, len(seed))
	}
	s := &Signer{key: ed25519.NewKeyFromSeed(seed)}
	var err error
	if s.verifier, err = note.NewEd25519VerifierKey(KeyName, s.key.Public().(ed25519.PublicKey)); err != nil {
		return nil, fmt.Errorf("making the verifier's key: %w", err)
	}
	v, err := note.NewVerifier(s.verifier)
	if err != nil {
		return nil, fmt.Errorf("making the verifier's key: %w", err)
	}
	s.hash = v.KeyHash()
	return s, nil
}

// Name, KeyHash and Sign implement note.Signer.
func (s *Signer) Name() string                    { return KeyName }
func (s *Signer) KeyHash() uint32                 { return s.hash }
func (s *Signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// VerifierKey is the public half, as verifiers take it: "turnout-audit+…+…". It is no secret.
func (s *Signer) VerifierKey() string { return s.verifier }

// Seal makes the checkpoint that follows newest, the note of the one before (nil for none), over heads, which it sorts.
func (s *Signer) Seal(tenant string, newest []byte, at int64, heads []ChainHead) (Sealed, error) {
	c := Checkpoint{Tenant: tenant, Number: 1, At: at, Heads: len(heads)}
	if newest != nil {
		last, err := ReadCheckpoint(newest)
		if err != nil {
			return Sealed{}, fmt.Errorf("reading the newest checkpoint: %w", err)
		}
		c.Number, c.Previous = last.Number+1, last.Hash()
	}
	sortHeads(heads)
	var err error
	if c.Root, err = Root(heads); err != nil {
		return Sealed{}, err
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, s)
	if err != nil {
		return Sealed{}, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return Sealed{Note: signed, Heads: heads}, nil
}

// Errors of OpenCheckpoint.
var (
	// ErrUnknownKey: nobody whose key is known has signed.
	ErrUnknownKey = errors.New("signed by a key that is not known")
	// ErrSignature: the signature is not one of the text.
	ErrSignature = errors.New("the signature is not that of the text")
)

// OpenCheckpoint reads a note that must be signed with one of the keys.
func OpenCheckpoint(b []byte, keys note.Verifiers) (Checkpoint, error) {
	n, err := note.Open(b, keys)
	var unverified *note.UnverifiedNoteError
	var wrong *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return Checkpoint{}, ErrUnknownKey
	case errors.As(err, &wrong):
		return Checkpoint{}, ErrSignature
	case err != nil:
		return Checkpoint{}, fmt.Errorf("%w: no signed note", ErrCheckpoint)
	}
	return parseNote(b, n.Text, append(n.Sigs, n.UnverifiedSigs...))
}

// ReadCheckpoint reads a note without a look at who signed it.
func ReadCheckpoint(b []byte) (Checkpoint, error) {
	_, err := note.Open(b, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return Checkpoint{}, fmt.Errorf("%w: no signed note", ErrCheckpoint)
	}
	return parseNote(b, unverified.Note.Text, unverified.Note.UnverifiedSigs)
}

// parseNote reads the text of a note that is written as Seal writes it: lines can be added to a note, and base64 can be
// written in more ways than one.
func parseNote(b []byte, text string, sigs []note.Signature) (Checkpoint, error) {
	if len(sigs) != 1 || string(b) != text+"\n— "+sigs[0].Name+" "+sigs[0].Base64+"\n" {
		return Checkpoint{}, fmt.Errorf("%w: a checkpoint has one signature", ErrSignature)
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(sigs[0].Base64); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: it is not written as signatures are", ErrSignature)
	}
	return ParseCheckpoint(text)
}

func sortHeads(heads []ChainHead) {
	slices.SortFunc(heads, func(a, b ChainHead) int { return strings.Compare(a.Chain, b.Chain) })
}
