package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
)

// decode reads the body of a request into the struct that v points to.
func decode(ctx *fasthttp.RequestCtx, v any) error { return decodeJSON(ctx.PostBody(), v) }

// decodeJSON is strict: one JSON object, only fields that are known, UTF-8 without lone surrogates. An empty body is an
// empty object. Errors say what to mend and hold nothing of the body.
func decodeJSON(raw []byte, v any) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	if !utf8.Valid(raw) {
		return badRequest("The body is not valid UTF-8.")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return decodeError(err, v)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("The body holds more than one JSON value.")
	}
	return nil
}

func decodeError(err error, v any) error {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field == "":
		return badRequest("The body must be a JSON object.")
	case errors.As(err, &wrong):
		return badRequest("The field " + wrong.Field + " has the wrong type: it takes " + kindOf(wrong.Type) + ".")
	case strings.HasPrefix(err.Error(), "json: unknown field"):
		return badRequest("The body has a field that this path does not know. It knows: " + strings.Join(fieldsOf(v), ", ") + ".")
	}
	var form *time.ParseError
	if errors.As(err, &form) {
		return badRequest("A time has the form 2006-01-02T15:04:05Z.")
	}
	return badRequest("The body is not valid JSON, or a value in it has the wrong form.")
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a number"
}

// fieldsOf lists the JSON names of the struct that v points to.
func fieldsOf(v any) (names []string) {
	t := reflect.TypeOf(v).Elem()
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// checkText checks words that people will read: not longer than the limit, no controls but line end and tab. A lone
// surrogate in an escape comes out of the decoder as U+FFFD without one in the body.
func checkText(field, text string, raw []byte, limit int) error {
	if len(text) > limit {
		return refuse("too_large", "The field "+field+" is longer than this server takes.")
	}
	for _, r := range text {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return badRequest("The field " + field + " holds control characters other than line ends and tabs.")
		}
	}
	if strings.ContainsRune(text, utf8.RuneError) && !bytes.ContainsRune(raw, utf8.RuneError) {
		return badRequest("The field " + field + " holds half of a surrogate pair.")
	}
	return nil
}

// writeJSON answers with a value.
func writeJSON(ctx *fasthttp.RequestCtx, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("encoding an answer: " + err.Error()) // our own types only
	}
	ctx.Response.Header.SetContentType("application/json")
	ctx.Response.SetBodyRaw(body)
}
