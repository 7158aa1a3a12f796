package jsonenc

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unsafe"
)

// The packed form of a document is for rows that nobody reads but this program: the same document, member by member, in
// less than half the bytes. Unpack gives the JSON back, byte for byte as the Encoder would have written it, so whatever
// reads JSON reads a packed row, and a digest of one form is as good as one of the other.
//
// A value is a tag and what belongs to it:
//
//	0        the end of an object or a list
//	1, 2     an object, a list: members or values up to an end
//	3, 4, 5  null, false, true
//	6        a number by its IEEE 754 bits, 8 bytes, the lowest first
//	7, 8     n, -1-n: n follows as a uvarint
//	9        a string: its length as a uvarint, its bytes
//	10       a word of the dictionary: its number as a uvarint
//	11       a string of hex digits in lower case: the number of bytes they stand for as a uvarint, the bytes
//	12       16 bytes in base64 for URLs
//	13       an id: its letter, the 16 bytes behind the underscore
//	14       JSON as it is: its length as a uvarint, the text
//	32-127   an integer from 0 to 95
//	128-255  a string of 0 to 127 bytes: the bytes follow
//
// A member is its key and a value. A key is one byte, the number of its word in the dictionary and 2; or 1, a length and
// the key itself. A member can have no key 0: that is the end.
const (
	tagEnd byte = iota
	tagObject
	tagList
	tagNull
	tagFalse
	tagTrue
	tagFloat
	tagUint
	tagNegative
	tagString
	tagWord
	tagHex
	tagToken
	tagID
	tagJSON
)

const (
	tagSmall    = 32
	maxSmall    = 127 - tagSmall
	tagShort    = 128
	maxShort    = 255 - tagShort
	keyLiteral  = 1
	firstKey    = 2
	maxKeys     = 256 - firstKey
	maxWord     = 40 // letters of a word
	maxHex      = 128
	idLength    = 28
	tokenLength = 22
)

// Dictionary holds the words that a packed document names by number. Rows are read with the dictionary that they were
// written with, so words may only ever be added, at the end. The first 254 can be keys.
type Dictionary struct {
	words []string
	slots [1024]uint16 // 1 + the number of the word
}

// NewDictionary returns the dictionary of words. A word that is there twice, is longer than 40 bytes or needs an escape in
// JSON is an error of the program: it panics.
func NewDictionary(words ...string) *Dictionary {
	d := &Dictionary{words: words}
	for i, w := range words {
		if len(w) == 0 || len(w) > maxWord || len(words) > len(d.slots)/2 || string(appendString(nil, w)) != `"`+w+`"` {
			panic(fmt.Sprintf("word %d of the dictionary, %q, cannot be one", i, w))
		}
		if _, there := d.number(w); there {
			panic(fmt.Sprintf("word %d of the dictionary, %q, is there twice", i, w))
		}
		at := slotOf(w)
		for d.slots[at] != 0 {
			at = (at + 1) % uint(len(d.slots))
		}
		d.slots[at] = uint16(i + 1)
	}
	return d
}

// slotOf is a cheap hash: words differ in their length, their ends and their middle.
func slotOf(w string) uint {
	n := uint(len(w))
	return (n*7 + uint(w[0])*31 + uint(w[n-1])*131 + uint(w[n/2])*523) % 1024
}

func (d *Dictionary) number(w string) (int, bool) {
	if len(w) == 0 || len(w) > maxWord {
		return 0, false
	}
	for at := slotOf(w); d.slots[at] != 0; at = (at + 1) % uint(len(d.slots)) {
		if i := int(d.slots[at]) - 1; d.words[i] == w {
			return i, true
		}
	}
	return 0, false
}

// Packed returns an Encoder that appends the packed form to dst, which it owns until Finish.
func Packed(dst []byte, d *Dictionary) Encoder { return Encoder{buf: dst, start: len(dst), dict: d} }

// packs writes the key of a member of the packed form; false says that the Encoder writes JSON.
func (e *Encoder) packs(key string) bool {
	if e.dict == nil {
		return false
	}
	e.packKey(key)
	return true
}

func (e *Encoder) packKey(key string) {
	if i, ok := e.dict.number(key); ok && i < maxKeys {
		e.buf = append(e.buf, byte(i+firstKey))
		return
	}
	e.buf = binary.AppendUvarint(append(e.buf, keyLiteral), uint64(len(key)))
	e.buf = append(e.buf, key...)
}

func (e *Encoder) packUint(n uint64) {
	if n <= maxSmall {
		e.buf = append(e.buf, tagSmall+byte(n))
		return
	}
	e.buf = binary.AppendUvarint(append(e.buf, tagUint), n)
}

func (e *Encoder) packInt(n int64) {
	if n >= 0 {
		e.packUint(uint64(n))
		return
	}
	e.buf = binary.AppendUvarint(append(e.buf, tagNegative), uint64(-1-n))
}

func (e *Encoder) packBool(b bool) {
	if b {
		e.buf = append(e.buf, tagTrue)
	} else {
		e.buf = append(e.buf, tagFalse)
	}
}

func (e *Encoder) packFloat(f float64) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		e.Fail(noNumber(f))
		return
	}
	e.buf = binary.LittleEndian.AppendUint64(append(e.buf, tagFloat), math.Float64bits(f))
}

func (e *Encoder) packString(s string) {
	n := len(s)
	switch {
	case n == 0:
	case n == tokenLength:
		if b, ok := packToken(e.buf, s); ok {
			e.buf = b
			return
		}
	case n == idLength && s[1] == '_':
		if b, ok := packID(e.buf, s); ok {
			e.buf = b
			return
		}
	case n >= 32 && n <= maxHex && n%2 == 0:
		if b, ok := packHex(e.buf, s); ok {
			e.buf = b
			return
		}
	}
	if i, ok := e.dict.number(s); ok {
		e.buf = binary.AppendUvarint(append(e.buf, tagWord), uint64(i))
		return
	}
	if n <= maxShort {
		e.buf = append(e.buf, tagShort+byte(n))
	} else {
		e.buf = binary.AppendUvarint(append(e.buf, tagString), uint64(n))
	}
	e.buf = append(e.buf, s...)
}

// packText is packString for bytes, which it does not keep.
func (e *Encoder) packText(b []byte) { e.packString(unsafe.String(unsafe.SliceData(b), len(b))) }

func (e *Encoder) packTime(t time.Time) {
	var room [40]byte
	b, err := t.AppendText(room[:0])
	if err != nil {
		e.Fail(err)
		return
	}
	e.packText(b)
}

func (e *Encoder) packRaw(raw json.RawMessage) {
	text, err := appendRaw(nil, raw)
	if err != nil {
		e.Fail(err)
		return
	}
	e.packJSON(text)
}

func (e *Encoder) packJSON(text []byte) {
	e.buf = binary.AppendUvarint(append(e.buf, tagJSON), uint64(len(text)))
	e.buf = append(e.buf, text...)
}

func (e *Encoder) packValue(v any) {
	switch v := v.(type) {
	case string:
		e.packString(v)
	case float64:
		e.packFloat(v)
	case bool:
		e.packBool(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			e.Fail(err)
			return
		}
		e.packJSON(b)
	}
}

const (
	idAlphabet    = "0123456789abcdefghjkmnpqrstvwxyz"
	tokenAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	noDigit       = 0xff
)

var idDigits, tokenDigits, hexValues = digitsOf(idAlphabet), digitsOf(tokenAlphabet), digitsOf(hexDigits)

func digitsOf(alphabet string) (table [256]byte) {
	for i := range table {
		table[i] = noDigit
	}
	for i := range len(alphabet) {
		table[alphabet[i]] = byte(i)
	}
	return table
}

// packBits appends the 128 bits that the digits of s stand for, and reports false when one is none or the bits behind the
// 128th are not 0.
func packBits(dst []byte, s string, digits *[256]byte, width uint) ([]byte, bool) {
	var out [16]byte
	var acc uint64
	var bad byte
	var have uint
	n := 0
	for i := range len(s) {
		v := digits[s[i]]
		bad |= v
		acc, have = acc<<width|uint64(v), have+width
		if have >= 8 && n < len(out) {
			have -= 8
			out[n] = byte(acc >> have)
			n++
		}
	}
	return append(dst, out[:]...), bad&0x80 == 0 && n == len(out) && acc&(1<<have-1) == 0
}

func appendBits(dst, b []byte, alphabet string, width, digits uint) []byte {
	var acc uint64
	var have, done uint
	for _, c := range b {
		acc, have = acc<<8|uint64(c), have+8
		for have >= width {
			have -= width
			dst = append(dst, alphabet[acc>>have&(1<<width-1)])
			done++
		}
	}
	if done < digits {
		dst = append(dst, alphabet[acc<<(width-have)&(1<<width-1)])
	}
	return dst
}

func packToken(dst []byte, s string) ([]byte, bool) {
	return packBits(append(dst, tagToken), s, &tokenDigits, 6)
}

func packID(dst []byte, s string) ([]byte, bool) {
	if !plain[s[0]] {
		return dst, false
	}
	return packBits(append(dst, tagID, s[0]), s[2:], &idDigits, 5)
}

func packHex(dst []byte, s string) ([]byte, bool) {
	var out [maxHex / 2]byte
	n := len(s) / 2
	var bad byte
	for i := range n {
		hi, lo := hexValues[s[2*i]], hexValues[s[2*i+1]]
		if bad |= hi | lo; bad&0x80 != 0 {
			return dst, false
		}
		out[i] = hi<<4 | lo
	}
	return append(append(dst, tagHex, byte(n)), out[:n]...), true
}

func noNumber(f float64) error { return fmt.Errorf("the number %v has no JSON", f) }

// ErrPacked says that bytes are no packed document of the dictionary.
var ErrPacked = errors.New("no packed document")

// Unpack appends to dst the JSON of the packed document that is the whole of src. On an error dst is as long as it was.
func Unpack(dst, src []byte, d *Dictionary) ([]byte, error) {
	u := unpacker{buf: dst, src: src, dict: d}
	if !u.value(u.byte(), 0) || u.bad || len(u.src) != 0 {
		return dst, ErrPacked
	}
	return u.buf, nil
}

type unpacker struct {
	buf, src []byte
	dict     *Dictionary
	bad      bool
}

func (u *unpacker) byte() byte {
	if len(u.src) == 0 {
		u.bad = true
		return 0
	}
	b := u.src[0]
	u.src = u.src[1:]
	return b
}

func (u *unpacker) uvarint() uint64 {
	n, w := binary.Uvarint(u.src)
	if w <= 0 {
		u.bad = true
		return 0
	}
	u.src = u.src[w:]
	return n
}

// take takes n bytes; none when there are not so many.
func (u *unpacker) take(n uint64) []byte {
	if n > uint64(len(u.src)) {
		u.bad = true
		return nil
	}
	b := u.src[:n]
	u.src = u.src[n:]
	return b
}

func (u *unpacker) text(b []byte) {
	u.buf = appendString(u.buf, unsafe.String(unsafe.SliceData(b), len(b)))
}

// value reads what belongs to a tag. It reports false for the end, and when something is wrong.
func (u *unpacker) value(tag byte, depth int) bool {
	if u.bad || depth > maxDepth {
		u.bad = true
		return false
	}
	switch {
	case tag >= tagShort:
		u.text(u.take(uint64(tag - tagShort)))
		return !u.bad
	case tag >= tagSmall:
		u.buf = strconv.AppendUint(u.buf, uint64(tag-tagSmall), 10)
		return true
	}
	switch tag {
	case tagEnd:
		return false
	case tagObject:
		u.members(depth)
	case tagList:
		u.list(depth)
	case tagNull:
		u.buf = append(u.buf, "null"...)
	case tagFalse, tagTrue:
		u.buf = strconv.AppendBool(u.buf, tag == tagTrue)
	case tagFloat:
		u.float()
	case tagUint:
		u.buf = strconv.AppendUint(u.buf, u.uvarint(), 10)
	case tagNegative:
		n := u.uvarint()
		u.bad = u.bad || n > math.MaxInt64
		u.buf = strconv.AppendInt(u.buf, -1-int64(n), 10)
	case tagString:
		u.text(u.take(u.uvarint()))
	case tagJSON:
		text := u.take(u.uvarint())
		u.bad = u.bad || !json.Valid(text)
		u.buf = append(u.buf, text...)
	default:
		u.coded(tag)
	}
	return !u.bad
}

// coded reads a string that is not stored letter by letter.
func (u *unpacker) coded(tag byte) {
	u.buf = append(u.buf, '"')
	switch tag {
	case tagWord:
		if n := u.uvarint(); n < uint64(len(u.dict.words)) {
			u.buf = append(u.buf, u.dict.words[n]...)
		} else {
			u.bad = true
		}
	case tagHex:
		for _, c := range u.take(u.uvarint()) {
			u.buf = append(u.buf, hexDigits[c>>4], hexDigits[c&0xf])
		}
	case tagToken:
		u.buf = appendBits(u.buf, u.take(16), tokenAlphabet, 6, tokenLength)
	case tagID:
		letter := u.byte()
		u.bad = u.bad || !plain[letter]
		u.buf = appendBits(append(u.buf, letter, '_'), u.take(16), idAlphabet, 5, idLength-2)
	default:
		u.bad = true
	}
	u.buf = append(u.buf, '"')
}

func (u *unpacker) float() {
	b := u.take(8)
	if u.bad {
		return
	}
	f := math.Float64frombits(binary.LittleEndian.Uint64(b))
	if math.IsInf(f, 0) || math.IsNaN(f) {
		u.bad = true
		return
	}
	u.buf = appendFloat(u.buf, f)
}

func (u *unpacker) members(depth int) {
	u.buf = append(u.buf, '{')
	for first := true; ; first = false {
		key := u.byte()
		if u.bad || key == 0 {
			break
		}
		if !first {
			u.buf = append(u.buf, ',')
		}
		if key == keyLiteral {
			u.text(u.take(u.uvarint()))
		} else if i := int(key - firstKey); i < len(u.dict.words) {
			u.buf = append(append(append(u.buf, '"'), u.dict.words[i]...), '"')
		} else {
			u.bad = true
			break
		}
		u.buf = append(u.buf, ':')
		if !u.value(u.byte(), depth+1) {
			u.bad = true
			break
		}
	}
	u.buf = append(u.buf, '}')
}

func (u *unpacker) list(depth int) {
	u.buf = append(u.buf, '[')
	for first := true; ; first = false {
		tag := u.byte()
		if u.bad || tag == tagEnd {
			break
		}
		if !first {
			u.buf = append(u.buf, ',')
		}
		if !u.value(tag, depth+1) {
			u.bad = true
			break
		}
	}
	u.buf = append(u.buf, ']')
}
