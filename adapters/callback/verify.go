package callback

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"turnout/adapters/hook"
)

// verifier checks who posts: an HMAC over the time and the raw body.
type verifier struct {
	keys      [][]byte // the present one, then the one before
	now       func() time.Time
	tolerance time.Duration
}

// maxSignature is room for a few signatures in one header, as a sender makes that exchanges its secret.
const maxSignature = 512

// verify reports whether one of the comma-separated signatures is that of one of the keys, and the timestamp, in seconds
// since 1970, of now. It takes as long whichever is wrong.
func (v *verifier) verify(timestamp, signatures, body []byte) bool {
	seconds, err := strconv.ParseInt(string(timestamp), 10, 64)
	fresh := err == nil && len(timestamp) <= 12
	if off := v.now().Sub(time.Unix(seconds, 0)); off > v.tolerance || off < -v.tolerance {
		fresh = false
	}
	ok := false
	if len(signatures) > maxSignature {
		signatures = nil
	}
	for _, key := range v.keys {
		want := hook.MAC(key, string(timestamp), body)
		for s := range bytes.SplitSeq(signatures, []byte{','}) {
			var got [sha256.Size]byte
			version, digits, _ := bytes.Cut(bytes.TrimSpace(s), []byte{'='})
			if string(version) != "v1" || len(digits) != 2*len(got) {
				continue
			}
			if _, err := hex.Decode(got[:], digits); err == nil && hmac.Equal(got[:], want) {
				ok = true
			}
		}
	}
	return ok && fresh
}
