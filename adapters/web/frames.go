package web

import (
	"github.com/valyala/fastjson"

	"turnout/adapters"
	"turnout/adapters/message"
)

// The types of frames that clients send.
const (
	frameHello   = "hello"
	frameMessage = "message"
	frameHuman   = "human"
	frameTyping  = "typing"
	frameRead    = "read"
	framePing    = "ping"
)

// clientFrame is a frame as read from a socket; which fields count depends on kind.
type clientFrame struct {
	kind   string
	token  string // hello
	after  string // hello
	id     string // message, human
	wanted wanted // message
	on     bool   // typing
	cursor string // read
}

// readFrame reads one frame. On an error the kind and id are still those of the frame, as far as they could be read, so
// that the client learns which one was wrong.
func readFrame(p *fastjson.Parser, raw []byte, maxText int) (clientFrame, error) {
	o, err := parseObject(p, raw)
	if err != nil {
		return clientFrame{}, err
	}
	f := clientFrame{kind: o.str("type")}
	if o.err != nil {
		return clientFrame{}, o.err
	}
	switch f.kind {
	case frameHello:
		f.token, f.after = o.str("token"), o.str("after")
	case frameMessage:
		f.id = knownID(o.str("id"))
		f.wanted, err = readMessage(o, maxText)
	case frameHuman:
		f.id = o.str("id")
		if f.id != "" {
			err = checkID(f.id)
		}
	case frameTyping:
		f.on = o.flag("on", true)
	case frameRead:
		f.cursor = o.str("cursor")
		if _, _, ok := parseCursor(f.cursor); !ok {
			err = badRequest("cursor is not a cursor. Send the cursor of the last event that was seen.")
		}
	case framePing:
	default:
		return clientFrame{}, badRequest("type must be one of message, human, typing, read and ping.")
	}
	if o.err != nil {
		err = o.err
	}
	f.id = knownID(f.id)
	return f, err
}

// knownID is id if it is one that may be repeated to the client, and empty otherwise.
func knownID(id string) string {
	if checkID(id) != nil {
		return ""
	}
	return id
}

// The frames that the channel sends, beside signalFrame.
type (
	readyFrame struct {
		Type         string         `json:"type"` // "ready"
		Visitor      string         `json:"visitor"`
		Conversation string         `json:"conversation,omitempty"`
		Owner        *message.Owner `json:"owner,omitempty"`
		Position     int            `json:"position,omitempty"`
		// Cursor is the place after which events follow: the one of hello.
		Cursor adapters.Cursor `json:"cursor,omitempty"`
		// End is the cursor of the newest event: a client that was sent it has caught up.
		End adapters.Cursor `json:"end,omitempty"`
	}
	acceptedFrame struct {
		Type    string          `json:"type"` // "accepted"
		ID      string          `json:"id"`
		Message string          `json:"message,omitempty"`
		Cursor  adapters.Cursor `json:"cursor,omitempty"`
		Dup     bool            `json:"dup,omitempty"`
	}
	eventFrame struct {
		Type   string          `json:"type"` // "event"
		Cursor adapters.Cursor `json:"cursor"`
		Event  message.Visible `json:"event"`
	}
	errorFrame struct {
		Type   string `json:"type"` // "error"
		ID     string `json:"id,omitempty"`
		Code   string `json:"code"`
		Detail string `json:"detail,omitempty"`
		// RetryAfter, in seconds, is there where a repeat makes sense.
		RetryAfter int `json:"retry_after,omitempty"`
	}
	pongFrame struct {
		Type string `json:"type"` // "pong"
	}
)
