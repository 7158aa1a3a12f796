package whatsapp

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
)

// HeaderSignature is the header with the signature of a webhook.
const HeaderSignature = "X-Hub-Signature-256"

const signaturePrefix = "sha256="

// Sign returns the header's value for a body, as Meta makes it with the app's secret: an HMAC over the raw bytes, in lower
// case. The body is ASCII with escapes on the wire; another spelling of the same JSON has another signature.
func Sign(secret, body []byte) string {
	m := hmac.New(sha256.New, secret)
	m.Write(body)
	return signaturePrefix + hex.EncodeToString(m.Sum(nil))
}

// Verify reports whether header is the signature of body under one of the secrets: the present one, and the one before it
// while it is being exchanged. It takes as long whichever is wrong. The signature holds no time: a webhook that somebody
// recorded is valid for ever, and only what is known of its ids keeps it from having an effect again.
func Verify(header, body []byte, secrets ...[]byte) bool {
	var got [sha256.Size]byte
	if len(header) != len(signaturePrefix)+2*len(got) || string(header[:len(signaturePrefix)]) != signaturePrefix {
		return false
	}
	if _, err := hex.Decode(got[:], header[len(signaturePrefix):]); err != nil {
		return false
	}
	ok := false
	for _, secret := range secrets {
		m := hmac.New(sha256.New, secret)
		m.Write(body)
		ok = hmac.Equal(got[:], m.Sum(nil)) || ok
	}
	return ok
}

// Subscribe answers the handshake with which Meta makes sure of a webhook's URL: mode, token and challenge are the query's
// hub.mode, hub.verify_token and hub.challenge. The challenge is to be answered as it is, as the whole body; false is to be
// answered by a 403.
func Subscribe(mode, token, challenge []byte, want string) ([]byte, bool) {
	if string(mode) != "subscribe" || want == "" || subtle.ConstantTimeCompare(token, []byte(want)) != 1 {
		return nil, false
	}
	return challenge, true
}
