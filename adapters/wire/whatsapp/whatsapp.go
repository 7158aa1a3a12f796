// Package whatsapp is the protocol of the WhatsApp Cloud API: the webhooks that Meta posts, and the bodies of the calls to
// its Graph API with their answers. It knows no HTTP, no conversations and no store.
//
// Reading is lenient where the platform grows: members that are not known are passed over, types that are not known stay
// raw, identifiers may be strings or numbers, and an element that cannot be read is reported in its place and keeps nobody
// else from being read. What proves something, the signature, is compared exactly and over the bytes as they came.
//
// The shapes are those of Meta's own description (facebook/openapi, business-messaging-api_v23.0.yaml) and of the pages of
// developers.facebook.com/documentation/business-messaging/whatsapp; where real traffic differs from it, the place says so.
//
//	signature.go   who posts, and the handshake
//	webhook.go     a webhook taken apart          message.go   one message of a customer
//	send.go        the bodies of sends            answer.go    what the Graph API answers
//	split.go       texts that are too long        errors.go    what an error asks for
package whatsapp

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// The most that a send may hold. Meta counts characters and does not say of which kind; here they are UTF-16 units, of which
// no text has fewer than characters of any kind.
const (
	MaxText        = 4096 // text.body
	MaxBody        = 1024 // interactive.body, and captions
	MaxHeader      = 60   // interactive.header and footer
	MaxButtons     = 3
	MaxButtonTitle = 20
	MaxReplyID     = 256 // of a button
	MaxRows        = 10  // of a list, over all its sections
	MaxRowTitle    = 24
	MaxRowID       = 200
	MaxRowDetail   = 72
	MaxListButton  = 20
)

// Identity is how the platform names a person: a set, of which any member may be missing. Since April 2026 a person with a
// username may have no phone number, and a BSUID, the id within one business portfolio, stands in its place
// (documentation/business-messaging/whatsapp/business-scoped-user-ids).
type Identity struct {
	// Phone is the number in digits; WaID is the platform's own id of it, mostly the same digits.
	Phone, WaID string
	// User is the BSUID ("US.77"), Parent that of the portfolio above it ("US.ENT.5").
	User, Parent string
	// Username is the name that the person chose. It may change hands and identifies nobody.
	Username string
}

// Empty reports whether nothing names the person.
func (i Identity) Empty() bool { return i.Phone == "" && i.WaID == "" && i.User == "" }

// loose is a string that some senders write as a number. Of any other form it is empty.
type loose string

func (l *loose) UnmarshalJSON(raw []byte) error {
	*l = ""
	if raw[0] == '"' {
		return json.Unmarshal(raw, (*string)(l))
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		*l = loose(n)
	}
	return nil
}

// number is the number that l holds, or 0.
func (l loose) number() float64 {
	n, err := strconv.ParseFloat(string(l), 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0
	}
	return n
}

// milliseconds is the number from which on a time is taken to be in milliseconds: as seconds it lies in the year 33658.
const milliseconds = 1e12

// instant reads a time: seconds since 1970, or milliseconds, which some senders have been seen to write. What is no time is
// the zero time.
func instant(l loose) time.Time {
	n, err := strconv.ParseInt(string(l), 10, 64)
	switch {
	case err != nil || n <= 0:
		return time.Time{}
	case n >= milliseconds && n < math.MaxInt64/1000:
		return time.UnixMilli(n).UTC()
	case n >= milliseconds:
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

// digits reports whether s is a phone number or wa_id: 5 to 20 digits.
func digits(s string) bool {
	if len(s) < 5 || len(s) > 20 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
