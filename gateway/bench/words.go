package bench

import (
	"errors"
	"strconv"

	"github.com/valyala/fastjson"
)

// Sizes on the wire, in bytes, and of the text in them.
const (
	messageBytes = 323
	replyBytes   = 313
	textBytes    = 169
	idChars      = len("v0000000-t000000")
	maxVisitors  = 9_999_999
)

const (
	messageTail = `","client":{"app":"widget 4.2.0","page":"https://shop.example/orders/current","zone":"Europe/Lisbon","screen":"390x844"}}`
	replyHead   = `{"text":"`
	replyWords  = "You wrote: "
	replyTail   = `,"confidence":0.93,"intent":"order_status","fallback":false,"model":"echo-1","context":{"step":"answer","slots":["order"]}}`
)

// vocabulary is plain shop talk: words that say nothing to a rule or a signal, however they fall together.
var vocabulary = [...]string{
	"the", "and", "is", "of", "my", "order", "parcel", "blue", "jacket", "green", "lamp", "table", "two", "three", "weeks",
	"arrived", "address", "street", "garden", "window", "colour", "size", "large", "small", "delivery", "tuesday", "friday",
	"morning", "evening", "with", "for", "from", "that", "this", "there", "which", "have", "was", "will", "box", "paper",
	"copper", "cotton", "linen", "wool", "kettle", "mirror", "shelf", "basket", "ribbon", "spring", "autumn", "number",
	"invoice", "euro", "shop", "near", "river", "market", "carpet", "pillow", "candle", "bottle", "ladder", "bicycle",
}

// appendText appends what visitor v says in its turn n: textBytes of words, the same ones whenever it is asked for, and
// others in every turn.
func appendText(b []byte, v, n int) []byte {
	end := len(b) + textBytes
	x := uint64(v+1)*0x9e3779b97f4a7c15 ^ uint64(n+1)*0xbf58476d1ce4e5b9
	for len(b) < end {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = append(b, vocabulary[(x>>32)%uint64(len(vocabulary))]...)
		b = append(b, ' ')
	}
	b = b[:end]
	if b[end-1] == ' ' {
		b[end-1] = '.'
	}
	return b
}

// appendID appends the visitor's id of the message of turn n; it has idChars characters.
func appendID(b []byte, v, n int) []byte {
	b = appendPadded(append(b, 'v'), v, 7)
	return appendPadded(append(b, "-t"...), n, 6)
}

func appendPadded(b []byte, n, width int) []byte {
	digits := strconv.Itoa(n)
	for range width - len(digits) {
		b = append(b, '0')
	}
	return append(b, digits...)
}

// appendMessage appends the body of a message: messageBytes of JSON.
func appendMessage(b []byte, v, n int) []byte {
	b = appendID(append(b, `{"id":"`...), v, n)
	b = appendText(append(b, `","text":"`...), v, n)
	return append(b, messageTail...)
}

// appendAnswer appends what the echo bot answers to it.
func appendAnswer(b []byte, v, n int) []byte { return appendText(append(b, replyWords...), v, n) }

// echo reads what was said, in a message as visitors send it or as the gateway hands it to a bot, and appends the echo
// bot's reply.
func echo(dst []byte, p *fastjson.Parser, body []byte) ([]byte, error) {
	v, err := p.ParseBytes(body)
	if err != nil {
		return nil, errors.New("the body is not JSON")
	}
	text := v.Get("message", "text")
	if text == nil {
		text = v.Get("text")
	}
	if text == nil || text.Type() != fastjson.TypeString {
		return nil, errors.New("the body has no text")
	}
	dst = append(append(dst, replyHead...), replyWords...)
	start := len(dst)
	dst = text.MarshalTo(dst)
	// The opening quote stands before replyWords already.
	dst = append(dst[:start], dst[start+1:]...)
	return append(dst, replyTail...), nil
}
