package web

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"turnout/adapters/message"
)

// appender is an answer or a frame that is sent so often that reflection is too dear for it. appendJSON appends what
// json.Marshal gives for the value; it is not ok when that is left to json.Marshal, and the bytes mean nothing then.
type appender interface {
	appendJSON(dst []byte) (out []byte, ok bool)
}

var (
	_ appender = (*answered)(nil)
	_ appender = (*merged)(nil)
	_ appender = (*pending)(nil)
	_ appender = (*eventFrame)(nil)
)

func (a *answered) appendJSON(dst []byte) (_ []byte, ok bool) {
	dst = appendMember(dst, `{"conversation":`, a.Conversation)
	dst = appendOwner(append(dst, `,"owner":`...), &a.Owner)
	dst = appendPositive(dst, `,"position":`, a.Position)
	if a.Messages == nil {
		dst = append(dst, `,"messages":null`...)
	} else {
		dst = append(dst, `,"messages":[`...)
		for i := range a.Messages {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, ok = appendVisible(dst, &a.Messages[i]); !ok {
				return dst, false
			}
		}
		dst = append(dst, ']')
	}
	dst = appendPresent(dst, `,"cursor":`, string(a.Cursor))
	return append(dst, '}'), true
}

func (m *merged) appendJSON(dst []byte) ([]byte, bool) {
	dst = appendMember(dst, `{"conversation":`, m.Conversation)
	dst = appendMember(dst, `,"merged_into":`, m.MergedInto)
	dst = appendPresent(dst, `,"cursor":`, string(m.Cursor))
	return append(dst, '}'), true
}

func (p *pending) appendJSON(dst []byte) ([]byte, bool) {
	dst = appendMember(dst, `{"conversation":`, p.Conversation)
	dst = appendOwner(append(dst, `,"owner":`...), &p.Owner)
	dst = appendPositive(dst, `,"position":`, p.Position)
	dst = appendPresent(dst, `,"cursor":`, string(p.Cursor))
	return append(dst, '}'), true
}

func (f *eventFrame) appendJSON(dst []byte) (_ []byte, ok bool) {
	dst = appendMember(dst, `{"type":`, f.Type)
	dst = appendMember(dst, `,"cursor":`, string(f.Cursor))
	if dst, ok = appendVisible(append(dst, `,"event":`...), &f.Event); !ok {
		return dst, false
	}
	return append(dst, '}'), true
}

// appendVisible appends an event. It is not ok when its time is none that it can write.
func appendVisible(dst []byte, v *message.Visible) ([]byte, bool) {
	year := v.At.Year()
	if _, offset := v.At.Zone(); offset != 0 || year < 0 || year > 9999 {
		return dst, false
	}
	dst = appendMember(dst, `{"conversation":`, v.Conversation)
	dst = strconv.AppendUint(append(dst, `,"vseq":`...), v.VSeq, 10)
	dst = v.At.AppendFormat(append(dst, `,"at":"`...), time.RFC3339Nano)
	dst = appendMember(dst, `","type":`, string(v.Type))
	dst = appendPresent(dst, `,"id":`, v.ID)
	dst = appendPresent(dst, `,"client_id":`, v.ClientID)
	dst = appendPresent(dst, `,"by":`, string(v.By))
	dst = appendPresent(dst, `,"name":`, v.Name)
	dst = appendPresent(dst, `,"turn":`, v.Turn)
	if v.Part != nil {
		dst = appendPart(append(dst, `,"part":`...), v.Part)
	}
	if v.Owner != nil {
		dst = appendOwner(append(dst, `,"owner":`...), v.Owner)
	}
	return append(dst, '}'), true
}

func appendOwner(dst []byte, o *message.Owner) []byte {
	dst = appendMember(dst, `{"kind":`, string(o.Kind))
	dst = appendPresent(dst, `,"name":`, o.Name)
	dst = appendPositive(dst, `,"position":`, o.Position)
	return append(dst, '}')
}

// appendPart begins every member with a comma and takes the first one away again: any of them may be the first.
func appendPart(dst []byte, p *message.Part) []byte {
	dst = append(dst, '{')
	start := len(dst)
	dst = appendPresent(dst, `,"text":`, p.Text)
	dst = appendPresent(dst, `,"lang":`, p.Lang)
	for i, c := range p.Choices {
		dst = appendMember(dst, listHead(i, `,"choices":[{"id":`, `,{"id":`), c.ID)
		dst = append(appendMember(dst, `,"label":`, c.Label), '}')
	}
	if len(p.Choices) > 0 {
		dst = append(dst, ']')
	}
	for i, a := range p.Attachments {
		dst = appendMember(dst, listHead(i, `,"attachments":[{"id":`, `,{"id":`), a.ID)
		dst = appendMember(dst, `,"name":`, a.Name)
		dst = appendMember(dst, `,"type":`, a.Type)
		dst = append(strconv.AppendInt(append(dst, `,"size":`...), a.Size, 10), '}')
	}
	if len(p.Attachments) > 0 {
		dst = append(dst, ']')
	}
	dst = appendPresent(dst, `,"link":`, p.Link)
	if len(dst) > start {
		dst = append(dst[:start], dst[start+1:]...)
	}
	return append(dst, '}')
}

// listHead is what stands before item i of a list.
func listHead(i int, first, other string) string {
	if i == 0 {
		return first
	}
	return other
}

// appendMember appends a member's head, which ends with its name and the colon, and its value.
func appendMember(dst []byte, head, s string) []byte { return appendString(append(dst, head...), s) }

// appendPresent is appendMember for a member that is left out when it is empty.
func appendPresent(dst []byte, head, s string) []byte {
	if s == "" {
		return dst
	}
	return appendMember(dst, head, s)
}

// appendPositive appends a member that is left out when it is 0.
func appendPositive(dst []byte, head string, n int) []byte {
	if n == 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, head...), int64(n), 10)
}

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
