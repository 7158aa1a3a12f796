package web

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/valyala/fastjson"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/adapters/problem"
)

const (
	maxIDChars    = 128
	maxLabelBytes = 256
	maxLangChars  = 35
	bodySlack     = 16 << 10
	// A character of text takes at most six bytes of JSON per byte of UTF-8 ("\u0041" for "A").
	jsonExpansion = 6
)

func badRequest(format string, args ...any) error {
	return &adapters.RefusedError{Code: problem.CodeBadRequest, Detail: fmt.Sprintf(format, args...)}
}

func tooLarge(format string, args ...any) error {
	return &adapters.RefusedError{Code: problem.CodeTooLarge, Detail: fmt.Sprintf(format, args...)}
}

// object reads the members of a JSON object strictly: the first member of a wrong type is kept as the error, and what
// is read after it means nothing. Members that nobody asks for are ignored.
type object struct {
	v   *fastjson.Value
	err error
}

// parseObject reads a JSON object of a client. The object lives until the parser is used again; strings that are read
// from it are copies.
func parseObject(p *fastjson.Parser, raw []byte) (*object, error) {
	if len(raw) == 0 {
		return nil, badRequest("The body is empty. Send a JSON object.")
	}
	if !utf8.Valid(raw) {
		return nil, badRequest("The body is not valid UTF-8.")
	}
	if !json.Valid(raw) {
		return nil, badRequest("The body is not valid JSON.")
	}
	if loneSurrogate(raw) {
		return nil, badRequest(`The body has half of a surrogate pair (\ud800 to \udfff). Send whole characters.`)
	}
	v, err := p.ParseBytes(raw)
	if err != nil {
		return nil, badRequest("The body is nested too deeply.")
	}
	if v.Type() != fastjson.TypeObject {
		return nil, badRequest("The body is not a JSON object.")
	}
	return &object{v: v}, nil
}

func (o *object) get(name string, want fastjson.Type, described string) *fastjson.Value {
	v := o.v.Get(name)
	if v == nil || v.Type() == fastjson.TypeNull {
		return nil
	}
	if v.Type() != want && o.err == nil {
		o.err = badRequest("%s is not %s.", name, described)
	}
	if v.Type() != want {
		return nil
	}
	return v
}

func (o *object) str(name string) string {
	v := o.get(name, fastjson.TypeString, "a string")
	if v == nil {
		return ""
	}
	return string(v.GetStringBytes())
}

// flag returns a boolean member, or otherwise where it is absent.
func (o *object) flag(name string, otherwise bool) bool {
	v := o.v.Get(name)
	if v == nil || v.Type() == fastjson.TypeNull {
		return otherwise
	}
	b, err := v.Bool()
	if err != nil && o.err == nil {
		o.err = badRequest("%s is not true or false.", name)
	}
	return b
}

func (o *object) object(name string) *object {
	v := o.get(name, fastjson.TypeObject, "an object")
	if v == nil {
		return nil
	}
	return &object{v: v}
}

func (o *object) strings(name string, most int) []string {
	v := o.get(name, fastjson.TypeArray, "a list of strings")
	if v == nil {
		return nil
	}
	items := v.GetArray()
	if len(items) > most {
		o.fail(badRequest("%s has more than %d entries.", name, most))
		return nil
	}
	values := make([]string, 0, len(items))
	for _, item := range items {
		if item.Type() != fastjson.TypeString {
			o.fail(badRequest("%s is not a list of strings.", name))
			return nil
		}
		values = append(values, string(item.GetStringBytes()))
	}
	return values
}

func (o *object) fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// wanted is a message as a client asked for it, before its attachments are looked up.
type wanted struct {
	id          string
	kind        message.Kind
	text        string
	choice      *message.Choice
	attachments []string
	lang        string
	wait        bool
}

// readMessage reads a message from the members of o: exactly one of text, action and attachments, where text may go
// with attachments as their caption.
func readMessage(o *object, maxText int) (wanted, error) {
	w := wanted{id: o.str("id"), lang: o.str("lang"), wait: o.flag("wait", true)}
	text, action := o.str("text"), o.object("action")
	w.attachments = o.strings("attachments", maxAttachmentCount)
	if action != nil {
		w.kind = message.Action
		w.choice = &message.Choice{ID: action.str("id"), Label: action.str("label")}
		o.fail(action.err)
	}
	if o.err != nil {
		return wanted{}, o.err
	}
	if err := checkID(w.id); err != nil {
		return wanted{}, err
	}
	if err := checkLang(w.lang); err != nil {
		return wanted{}, err
	}
	for _, id := range w.attachments {
		if err := checkID(id); err != nil {
			return wanted{}, badRequest("attachments has something that is no id.")
		}
	}
	var err error
	if w.text, err = cleanText("text", text, maxText); err != nil {
		return wanted{}, err
	}
	switch {
	case w.choice != nil && (w.text != "" || len(w.attachments) > 0):
		return wanted{}, badRequest("action stands alone: send text and attachments in another message.")
	case w.choice != nil:
		if err := checkID(w.choice.ID); err != nil {
			return wanted{}, badRequest("action.id must be 1 to %d visible ASCII characters.", maxIDChars)
		}
		if w.choice.Label, err = cleanText("action.label", w.choice.Label, maxLabelBytes); err != nil {
			return wanted{}, err
		}
		w.text = w.choice.Label
	case len(w.attachments) > 0:
		w.kind = message.Media
	case strings.TrimSpace(w.text) == "":
		return wanted{}, badRequest("The message is empty. Send text, action or attachments.")
	default:
		w.kind = message.Text
	}
	return w, nil
}

// checkID checks an id that a client chose.
func checkID(id string) error {
	ok := id != "" && len(id) <= maxIDChars
	for i := 0; ok && i < len(id); i++ {
		ok = id[i] > ' ' && id[i] < 0x7f
	}
	if !ok {
		return badRequest("id must be 1 to %d visible ASCII characters, chosen by you and new for every message.", maxIDChars)
	}
	return nil
}

func checkLang(lang string) error {
	if lang == "" {
		return nil
	}
	ok := len(lang) <= maxLangChars
	for _, subtag := range strings.Split(lang, "-") {
		ok = ok && len(subtag) <= 8 && subtag != ""
		for i := 0; ok && i < len(subtag); i++ {
			c := subtag[i] | 0x20
			ok = (c >= 'a' && c <= 'z') || (subtag[i] >= '0' && subtag[i] <= '9')
		}
	}
	if !ok {
		return badRequest(`lang must be a language tag such as "en" or "pt-BR".`)
	}
	return nil
}

// cleanText normalises line ends and refuses what is too long or holds control characters.
func cleanText(name, s string, most int) (string, error) {
	if len(s) > most {
		return "", tooLarge("%s is longer than %d bytes.", name, most)
	}
	s = normaliseLines(s)
	for _, r := range s {
		if control(r) {
			return "", badRequest("%s has control characters. Only newline and tab are taken.", name)
		}
	}
	return s, nil
}

// dropControls is cleanText for what people type themselves: it drops where that refuses.
func dropControls(s string) string {
	return strings.Map(func(r rune) rune {
		if control(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(normaliseLines(s), ""))
}

func normaliseLines(s string) string {
	if !strings.Contains(s, "\r") {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

// control reports whether r is a control character (C0, DEL, C1) other than newline and tab.
func control(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f
}

// loneSurrogate reports whether valid JSON has an escape of half a surrogate pair.
func loneSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		if raw[i] != 'u' {
			continue
		}
		switch unit := hex4(raw[i+1:]); {
		case unit >= 0xdc00 && unit <= 0xdfff:
			return true
		case unit >= 0xd800 && unit <= 0xdbff:
			low := 0
			if rest := raw[i+5:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
				low = hex4(rest[2:])
			}
			if low < 0xdc00 || low > 0xdfff {
				return true
			}
			i += 6
		}
		i += 4
	}
	return false
}

func hex4(b []byte) int {
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// parseCursor splits a cursor into conversation and visible sequence.
func parseCursor(s string) (conversation string, vseq uint64, ok bool) {
	dot := strings.LastIndexByte(s, '.')
	if dot < 1 || len(s) > 256 {
		return "", 0, false
	}
	vseq, err := strconv.ParseUint(s[dot+1:], 10, 64)
	return s[:dot], vseq, err == nil
}

// cursorAt is the cursor of one event.
func cursorAt(conversation string, vseq uint64) adapters.Cursor {
	return adapters.Cursor(conversation + "." + strconv.FormatUint(vseq, 10))
}

// What follows says for the API's document what the functions above read; they read it without these types, because every
// message comes through them.

type sessionBody struct {
	Token    string `json:"token,omitempty"`
	Identity string `json:"identity,omitempty"` // a JWT that the site's server has signed
	Lang     string `json:"lang,omitempty"`
}

type messageBody struct {
	ID          string          `json:"id"`
	Text        string          `json:"text,omitempty"`
	Action      *message.Choice `json:"action,omitempty"`
	Attachments []string        `json:"attachments,omitempty"`
	Lang        string          `json:"lang,omitempty"`
	Wait        bool            `json:"wait,omitempty"`
}

type humanBody struct {
	ID   string `json:"id,omitempty"`
	Wait bool   `json:"wait,omitempty"`
}

type observeBody struct {
	Typing bool   `json:"typing,omitempty"`
	Read   string `json:"read,omitempty"`
}
