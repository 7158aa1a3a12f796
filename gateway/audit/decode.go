package audit

import (
	"encoding/json"
	"strconv"
	"strings"
)

// decodeEntry reads what Entry.Append wrote. It accepts whatever encoding/json does: whether it is in canonical form is for
// its caller to look at.
func decodeEntry(line []byte) (e Entry, err error) {
	if e.quick(string(line)) {
		return e, nil
	}
	e = Entry{}
	return e, json.Unmarshal(line, &e)
}

// quick reads an entry in canonical form whose strings need no escape: nearly all are. It reports whether it could; if not,
// e holds anything.
func (e *Entry) quick(s string) bool {
	r := quickReader{rest: s, ok: true}
	r.take("{")
	r.str(&e.Chain, `"chain":`)
	r.uint(&e.N, `,"n":`)
	r.str(&e.Prev, `,"prev":`)
	r.int(&e.At, `,"at":`)
	if r.has(`,"seq":`) {
		r.uint(&e.Seq, `,"seq":`)
	}
	r.str(&e.Type, `,"type":`)
	if r.has(`,"kind":`) {
		r.str(&e.Kind, `,"kind":`)
	}
	if r.has(`,"epoch":`) {
		r.uint(&e.Epoch, `,"epoch":`)
	}
	r.str(&e.Op, `,"op":`)
	r.str(&e.Actor, `,"actor":`)
	if r.has(`,"rule":`) {
		r.str(&e.Rule, `,"rule":`)
	}
	var n int64
	if r.has(`,"rules":`) {
		r.int(&n, `,"rules":`)
		e.Rules = int(n)
	}
	if r.has(`,"count":`) {
		r.int(&n, `,"count":`)
		e.Count = int(n)
	}
	r.str(&e.Digest, `,"digest":`)
	return r.ok && r.rest == "}"
}

type quickReader struct {
	rest string
	ok   bool
}

func (r *quickReader) has(key string) bool { return strings.HasPrefix(r.rest, key) }

func (r *quickReader) take(key string) {
	rest, ok := strings.CutPrefix(r.rest, key)
	r.rest, r.ok = rest, r.ok && ok
}

func (r *quickReader) str(v *string, key string) {
	r.take(key)
	r.take(`"`)
	for i := 0; i < len(r.rest); i++ {
		switch c := r.rest[i]; {
		case c == '"':
			*v, r.rest = r.rest[:i], r.rest[i+1:]
			return
		case c == '\\' || c < ' ' || c >= 0x7f:
			r.ok = false
			return
		}
	}
	r.ok = false
}

// digits cuts a number off. What is not one way of writing it is none here.
func (r *quickReader) digits(key string) string {
	r.take(key)
	i := 0
	for i < len(r.rest) && (r.rest[i] >= '0' && r.rest[i] <= '9' || i == 0 && r.rest[i] == '-') {
		i++
	}
	d := r.rest[:i]
	r.rest = r.rest[i:]
	if len(d) > 1 && d[0] == '0' {
		r.ok = false
	}
	return d
}

func (r *quickReader) uint(v *uint64, key string) {
	n, err := strconv.ParseUint(r.digits(key), 10, 64)
	*v, r.ok = n, r.ok && err == nil
}

func (r *quickReader) int(v *int64, key string) {
	n, err := strconv.ParseInt(r.digits(key), 10, 64)
	*v, r.ok = n, r.ok && err == nil
}
