// Package hook is what calls to an HTTP endpoint of somebody else's have in common: the check of its URL, headers that may
// hold secrets by reference, and a signature over time and body. It is a leaf beside the contract.
package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"turnout/adapters"
)

// The headers of a signed call: seconds since 1970, and the signature over them and the body.
const (
	HeaderTimestamp = "X-Turnout-Timestamp"
	HeaderSignature = "X-Turnout-Signature"
)

// ParseURL reads the URL of an endpoint. Its errors do not repeat the URL, which may hold a password.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return nil, errors.New("is missing")
	case err != nil:
		return nil, errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errors.New("must begin with http:// or https:// and a host")
	case u.User != nil:
		return nil, errors.New("must not hold credentials; use headers with a reference to a secret")
	case u.Fragment != "":
		return nil, errors.New("must not have a fragment")
	}
	return u, nil
}

// Header is a header of every call, resolved.
type Header struct{ Name, Value string }

// ownHeaders are set by every call itself.
var ownHeaders = []string{
	"host", "content-length", "transfer-encoding", "connection", "content-type", "content-encoding", "accept-encoding",
	"idempotency-key", "x-turnout-attempt", "x-turnout-timestamp", "x-turnout-signature",
}

// Headers resolves the headers of a section: a value is a literal, or a reference to a secret ("env:NAME", "file:/path")
// which may follow one word and a space. A header that carries a secret takes no literal, and those that the call sets
// itself, own among them in lower case, cannot be set. Errors begin with the key.
func Headers(headers map[string]string, secret func(adapters.SecretRef) (adapters.Secret, error), own ...string) ([]Header, error) {
	var out []Header
	for name, value := range headers {
		if !headerName(name) {
			return nil, errors.New("headers: a name has characters that no header name can have")
		}
		if lower := strings.ToLower(name); slices.Contains(ownHeaders, lower) || slices.Contains(own, lower) {
			return nil, fmt.Errorf("headers.%s: is set by turnout", name)
		}
		prefix, ref := "", value
		if scheme, rest, ok := strings.Cut(value, " "); ok && isRef(rest) {
			prefix, ref = scheme+" ", rest
		}
		if isRef(ref) {
			v, err := secret(adapters.SecretRef(ref))
			if err != nil {
				return nil, fmt.Errorf("headers.%s: %w", name, err)
			}
			value = prefix + v.Reveal()
		} else if secretHeader(name) {
			return nil, fmt.Errorf("headers.%s: carries a secret; name it as env:NAME, file:/path or sealed:name", name)
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, fmt.Errorf("headers.%s: has a line end or another control character in its value", name)
		}
		out = append(out, Header{Name: name, Value: value})
	}
	return out, nil
}

// Sign returns "v1=" and the hexadecimal HMAC-SHA256 of timestamp, a dot and the body.
func Sign(key []byte, timestamp string, body []byte) string {
	sum := MAC(key, timestamp, body)
	return "v1=" + hex.EncodeToString(sum)
}

// MAC returns the HMAC-SHA256 of timestamp, a dot and the body.
func MAC(key []byte, timestamp string, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(timestamp))
	h.Write([]byte{'.'})
	h.Write(body)
	return h.Sum(nil)
}

func isRef(s string) bool {
	return strings.HasPrefix(s, "env:") || strings.HasPrefix(s, "file:") || strings.HasPrefix(s, "sealed:")
}

func secretHeader(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "auth-key"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

func headerName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != ""
}
