package webhook

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"turnout/adapters"
	"turnout/adapters/message"
)

// appendString appends s as json.Marshal writes it.
func appendString(dst []byte, s string) []byte {
	if plainJSON(s) {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // every string has a form
	}
	return append(dst, quoted...)
}

// plainJSON reports whether json.Marshal writes s as it is, between quotation marks.
func plainJSON(s string) bool {
	ascii := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return ascii || utf8.ValidString(s) && !strings.Contains(s, "\u2028") && !strings.Contains(s, "\u2029")
}

// plainTurn reports whether t has nothing but texts, which is what appendOwnRequest writes.
func plainTurn(t *adapters.Turn) bool {
	if t.Profile != nil || len(t.Messages) == 0 {
		return false
	}
	for i := range t.Messages {
		if in := &t.Messages[i]; in.Choice != nil || len(in.Attachments) > 0 {
			return false
		}
	}
	return true
}

// appendOwnRequest appends the JSON of newOwnRequest for a turn that is plain, without the detour over reflection.
func appendOwnRequest(dst []byte, t *adapters.Turn) []byte {
	dst = append(dst, `{"v":1,"turn_id":`...)
	dst = appendString(dst, t.ID)
	dst = append(dst, `,"attempt":`...)
	dst = strconv.AppendInt(dst, int64(max(t.Attempt, 1)), 10)
	dst = append(dst, `,"tenant":`...)
	dst = appendString(dst, t.Tenant)
	dst = append(dst, `,"conversation_id":`...)
	dst = appendString(dst, t.Conversation)
	dst = append(dst, `,"channel":`...)
	dst = appendString(dst, t.From.Channel)
	dst = append(dst, `,"user":{"id":`...)
	dst = appendString(dst, t.From.Address)
	if t.Contact != "" {
		dst = append(dst, `,"contact":`...)
		dst = appendString(dst, t.Contact)
	}
	dst = append(dst, `},"message":`...)
	dst = appendOwnMessage(dst, &t.Messages[len(t.Messages)-1], turnText(t))
	dst = append(dst, `,"messages":[`...)
	for i := range t.Messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendOwnMessage(dst, &t.Messages[i], t.Messages[i].Text)
	}
	dst = append(dst, `],"context":{"lang":`...)
	dst = appendString(dst, t.Lang)
	return append(dst, "}}"...)
}

func appendOwnMessage(dst []byte, in *message.Inbound, text string) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, in.ID)
	dst = append(dst, `,"kind":`...)
	dst = appendString(dst, string(in.Kind))
	dst = append(dst, `,"text":`...)
	dst = appendString(dst, text)
	if in.Quoted != "" {
		dst = append(dst, `,"quoted":`...)
		dst = appendString(dst, in.Quoted)
	}
	return append(dst, `,"attachments":[]}`...)
}
