package whatsapp

import (
	"encoding/json"
	"strconv"
	"time"
)

// Class is what an error asks of the sender.
type Class string

// The classes of errors. What no list names is judged by the HTTP status.
const (
	ClassRetry     Class = "retry"     // the same may work later
	ClassPace      Class = "pace"      // all of the number's sends were too many, or too fast
	ClassPair      Class = "pair"      // too many to this recipient in a short time
	ClassWindow    Class = "window"    // more than 24 h since the customer wrote: only templates
	ClassRecipient Class = "recipient" // this person cannot be written to, or not with this
	ClassContent   Class = "content"   // the message is not as it must be
	ClassAccount   Class = "account"   // nothing will be taken until somebody mends credentials, payment or the number
)

// classes are the codes of documentation/business-messaging/whatsapp/support/error-codes.
var classes = map[int]Class{
	4: ClassPace, 80007: ClassPace, 130429: ClassPace, 131048: ClassPace, 133016: ClassPace,
	131056: ClassPair,
	1:      ClassRetry, 2: ClassRetry, 131000: ClassRetry, 131016: ClassRetry, 131053: ClassRetry, 131057: ClassRetry,
	470: ClassWindow, 131047: ClassWindow,
	130472: ClassRecipient, 131021: ClassRecipient, 131026: ClassRecipient, 131030: ClassRecipient, 131049: ClassRecipient,
	131050: ClassRecipient, 131051: ClassRecipient,
	100: ClassContent, 131008: ClassContent, 131009: ClassContent, 132000: ClassContent, 132001: ClassContent, 132005: ClassContent,
	132007: ClassContent, 132012: ClassContent, 132015: ClassContent, 132016: ClassContent,
	0: ClassAccount, 3: ClassAccount, 10: ClassAccount, 190: ClassAccount, 368: ClassAccount, 131031: ClassAccount, 131037: ClassAccount,
	131042: ClassAccount, 131045: ClassAccount, 133010: ClassAccount,
}

// Error is a refusal of the Graph API.
type Error struct {
	Status  int // HTTP
	Code    int // -1: the answer does not say
	Subcode int
	// Details and Trace are for people who ask Meta; Details may repeat what was sent.
	Details, Trace string
}

// Error names the code only: details may repeat an address.
func (e *Error) Error() string {
	if e.Code < 0 {
		return "the platform answered status " + strconv.Itoa(e.Status)
	}
	return "the platform refused: " + strconv.Itoa(e.Code)
}

// ClassOf returns what a code asks for, and false for one that is not known. The same code may come as an answer, in a status,
// or both.
func ClassOf(code int) (Class, bool) {
	if c, ok := classes[code]; ok {
		return c, true
	}
	if code >= 200 && code <= 299 { // permissions
		return ClassAccount, true
	}
	return "", false
}

// Class returns what e asks for.
func (e *Error) Class() Class {
	if c, ok := ClassOf(e.Code); ok {
		return c
	}
	switch {
	case e.Status == 429:
		return ClassPace
	case e.Status < 400, e.Status == 401, e.Status == 403, e.Status == 404:
		return ClassAccount
	case e.Status == 408, e.Status >= 500:
		return ClassRetry
	}
	return ClassContent
}

// maxPair bounds PairWait.
const maxPair = 4 * time.Minute

// PairWait is how long to leave a recipient alone after the n-th refusal in a row by ClassPair, counted from 0: 4^n seconds,
// as Meta asks for.
func PairWait(n int) time.Duration {
	wait := time.Second
	for range n {
		if wait *= 4; wait >= maxPair {
			return maxPair
		}
	}
	return wait
}

// DecodeError reads an answer whose status is no success. It always says something.
func DecodeError(status int, body []byte) *Error {
	var w struct {
		Error *struct {
			Code    loose `json:"code"`
			Subcode loose `json:"error_subcode"`
			Data    struct {
				Details string `json:"details"`
			} `json:"error_data"`
			Trace string `json:"fbtrace_id"`
		} `json:"error"`
	}
	e := &Error{Status: status, Code: -1}
	if json.Unmarshal(body, &w) != nil || w.Error == nil {
		return e
	}
	if n, err := strconv.Atoi(string(w.Error.Code)); err == nil {
		e.Code = n
	}
	e.Subcode, _ = strconv.Atoi(string(w.Error.Subcode)) // 0: there is none
	e.Details, e.Trace = w.Error.Data.Details, w.Error.Trace
	return e
}
