// Package jsonenc appends JSON to buffers, byte for byte as encoding/json writes the same values, but without reflection:
// for what is encoded on every turn. Its tests hold it to encoding/json, which stays the definition of the form.
//
// The same calls write the packed form of the same document instead (pack.go), for rows that only this program reads.
//
// An Encoder has a method for each kind of member. Those whose names begin with Opt leave a member out when its value is
// empty, as omitempty does. A key that a caller gives is written as it is: it must need no escapes.
package jsonenc

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"
)

// Encoder writes one JSON value to the end of a buffer. Use To; it is for one goroutine and one value. The first error
// stays and is what Finish returns: calls after it are harmless.
//
// Inside, a comma follows every value and the end of an object or list takes its place.
type Encoder struct {
	buf   []byte
	start int
	err   error
	dict  *Dictionary // of the packed form; nil for JSON
}

// To returns an Encoder that appends to dst, which it owns until Finish.
func To(dst []byte) Encoder { return Encoder{buf: dst, start: len(dst)} }

// Finish returns the buffer with the value. On an error the buffer is as long as it was before.
func (e *Encoder) Finish() ([]byte, error) {
	switch {
	case e.err != nil:
		return e.buf[:e.start], e.err
	case len(e.buf) == e.start:
		return e.buf, errors.New("nothing was encoded")
	case e.dict != nil:
		return e.buf, nil
	}
	return e.buf[:len(e.buf)-1], nil
}

// Fail makes err the error of the value, unless there is one already.
func (e *Encoder) Fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// Begin begins an object: the whole value, or the next of a list. EndObject ends it.
func (e *Encoder) Begin() {
	if e.dict != nil {
		e.buf = append(e.buf, tagObject)
		return
	}
	e.buf = append(e.buf, '{')
}

// Object begins a member that is an object. EndObject ends it.
func (e *Encoder) Object(key string) {
	if e.packs(key) {
		e.buf = append(e.buf, tagObject)
		return
	}
	e.buf = append(appendKey(e.buf, key), '{')
}

// EndObject ends the innermost object.
func (e *Encoder) EndObject() { e.end('}') }

// List begins a member that is a list, of objects that are begun by Begin. EndList ends it.
func (e *Encoder) List(key string) {
	if e.packs(key) {
		e.buf = append(e.buf, tagList)
		return
	}
	e.buf = append(appendKey(e.buf, key), '[')
}

// EndList ends the innermost list.
func (e *Encoder) EndList() { e.end(']') }

func (e *Encoder) end(bracket byte) {
	if e.dict != nil {
		e.buf = append(e.buf, tagEnd)
		return
	}
	if last := len(e.buf) - 1; e.buf[last] == ',' {
		e.buf[last] = bracket
		e.buf = append(e.buf, ',')
		return
	}
	e.buf = append(e.buf, bracket, ',')
}

// Null writes a member that is null.
func (e *Encoder) Null(key string) {
	if e.packs(key) {
		e.buf = append(e.buf, tagNull)
		return
	}
	e.buf = append(appendKey(e.buf, key), "null,"...)
}

// String writes a string. Bytes that are no UTF-8 become U+FFFD.
func (e *Encoder) String(key, s string) {
	if e.packs(key) {
		e.packString(s)
		return
	}
	e.buf = append(appendString(appendKey(e.buf, key), s), ',')
}

// OptString is String for a member that is left out when empty.
func (e *Encoder) OptString(key, s string) {
	if s != "" {
		e.String(key, s)
	}
}

// Plain writes text as a string as it is: it must need no escapes.
func (e *Encoder) Plain(key string, text []byte) {
	if e.packs(key) {
		e.packText(text)
		return
	}
	e.buf = append(append(append(appendKey(e.buf, key), '"'), text...), '"', ',')
}

// OptStrings writes a list of strings, left out when there are none.
func (e *Encoder) OptStrings(key string, list []string) {
	if len(list) == 0 {
		return
	}
	e.List(key)
	for _, s := range list {
		if e.dict != nil {
			e.packString(s)
		} else {
			e.buf = append(appendString(e.buf, s), ',')
		}
	}
	e.EndList()
}

// Int writes an integer.
func (e *Encoder) Int(key string, n int64) {
	if e.packs(key) {
		e.packInt(n)
		return
	}
	e.buf = append(strconv.AppendInt(appendKey(e.buf, key), n, 10), ',')
}

// OptInt is Int for a member that is left out when 0.
func (e *Encoder) OptInt(key string, n int64) {
	if n != 0 {
		e.Int(key, n)
	}
}

// Uint writes an integer.
func (e *Encoder) Uint(key string, n uint64) {
	if e.packs(key) {
		e.packUint(n)
		return
	}
	e.buf = append(strconv.AppendUint(appendKey(e.buf, key), n, 10), ',')
}

// OptUint is Uint for a member that is left out when 0.
func (e *Encoder) OptUint(key string, n uint64) {
	if n != 0 {
		e.Uint(key, n)
	}
}

// Bool writes true or false.
func (e *Encoder) Bool(key string, b bool) {
	if e.packs(key) {
		e.packBool(b)
		return
	}
	e.buf = append(strconv.AppendBool(appendKey(e.buf, key), b), ',')
}

// OptBool is Bool for a member that is left out when false.
func (e *Encoder) OptBool(key string, b bool) {
	if b {
		e.Bool(key, b)
	}
}

// Float writes a number. It fails when there is no JSON for it: an infinity, or none at all.
func (e *Encoder) Float(key string, f float64) {
	if e.packs(key) {
		e.packFloat(f)
		return
	}
	e.buf = appendKey(e.buf, key)
	e.float(f)
}

// OptFloat is Float for a member that is left out when 0.
func (e *Encoder) OptFloat(key string, f float64) {
	if f != 0 {
		e.Float(key, f)
	}
}

func (e *Encoder) float(f float64) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		e.Fail(noNumber(f))
		return
	}
	e.buf = append(appendFloat(e.buf, f), ',')
}

// Time writes an instant as RFC 3339 has it, with nanoseconds. It fails outside of the years 0 to 9999.
func (e *Encoder) Time(key string, t time.Time) {
	if e.packs(key) {
		e.packTime(t)
		return
	}
	b, err := t.AppendText(append(appendKey(e.buf, key), '"'))
	if err != nil {
		e.Fail(err)
		return
	}
	e.buf = append(b, '"', ',')
}

// OptBase64 writes bytes as a string in base64, left out when there are none.
func (e *Encoder) OptBase64(key string, b []byte) {
	switch {
	case len(b) == 0:
	case e.dict != nil:
		e.packKey(key)
		e.packString(base64.StdEncoding.EncodeToString(b))
	default:
		e.buf = append(base64.StdEncoding.AppendEncode(append(appendKey(e.buf, key), '"'), b), '"', ',')
	}
}

// OptRaw writes what is JSON already, compacted and with the escapes of String, left out when there is none. It fails
// when raw is no JSON.
func (e *Encoder) OptRaw(key string, raw json.RawMessage) {
	if len(raw) == 0 {
		return
	}
	if e.packs(key) {
		e.packRaw(raw)
		return
	}
	b, err := appendRaw(appendKey(e.buf, key), raw)
	if err != nil {
		e.Fail(err)
		return
	}
	e.buf = append(b, ',')
}

// OptInts writes an object of integers, by name in order, left out when there are none.
func (e *Encoder) OptInts(key string, m map[string]int64) {
	if len(m) == 0 {
		return
	}
	e.Object(key)
	var room [few]string
	for _, k := range sortedKeys(room[:0], m) {
		if e.dict != nil {
			e.packKey(k)
			e.packInt(m[k])
			continue
		}
		e.buf = append(strconv.AppendInt(append(appendString(e.buf, k), ':'), m[k], 10), ',')
	}
	e.EndObject()
}

// OptValues writes an object of any values, by name in order, left out when there are none. It is fast for strings,
// numbers and truths; other values are left to encoding/json.
func (e *Encoder) OptValues(key string, m map[string]any) {
	if len(m) == 0 {
		return
	}
	e.Object(key)
	var room [few]string
	for _, k := range sortedKeys(room[:0], m) {
		if e.dict != nil {
			e.packKey(k)
			e.packValue(m[k])
			continue
		}
		e.buf = append(appendString(e.buf, k), ':')
		e.value(m[k])
	}
	e.EndObject()
}

func (e *Encoder) value(v any) {
	switch v := v.(type) {
	case string:
		e.buf = append(appendString(e.buf, v), ',')
	case float64:
		e.float(v)
	case bool:
		e.buf = append(strconv.AppendBool(e.buf, v), ',')
	default:
		b, err := json.Marshal(v)
		if err != nil {
			e.Fail(err)
			return
		}
		e.buf = append(append(e.buf, b...), ',')
	}
}

// few is how many keys are sorted without an allocation.
const few = 8

func sortedKeys[V any](keys []string, m map[string]V) []string {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func appendKey(dst []byte, key string) []byte {
	return append(append(append(dst, '"'), key...), '"', ':')
}
