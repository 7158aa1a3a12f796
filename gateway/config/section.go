package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"turnout/adapters"
)

// Section is a part of a file whose fields somebody else knows: an adapter's. It keeps its place, so that a fault in it
// is reported like any other. The zero value is a section that is not in the file: it decodes to nothing.
type Section struct {
	file string
	key  string
	node ast.Node
	at   Pos
}

var _ adapters.Spec = Section{}

// Pos returns where the section begins; for a section that is not in the file, where it would belong.
func (s Section) Pos() Pos { return s.at }

// Decode fills v, a pointer to a struct with yaml tags. Fields that the section does not name keep their value. The
// error is of type Faults. Text is never taken for a number or the reverse; time.Duration is written "30s" or "14d"; a
// whole number whose name ends in "_bytes" may be written "10MiB"; adapters.SecretRef must be a reference.
func (s Section) Decode(v any) error {
	if s.node == nil {
		return nil
	}
	to := reflect.ValueOf(v)
	if to.Kind() != reflect.Pointer || to.IsNil() {
		return fmt.Errorf("decoding %s: want a pointer, got %T", orThis(s.key), v)
	}
	d := decoder{file: s.file}
	d.value(s.node, to.Elem(), s.key)
	return d.faults.err()
}

// JSON returns the section in a form that is the same however it is laid out; "null" for one that is not in the file.
func (s Section) JSON() []byte {
	var out any
	if s.node != nil {
		d := decoder{file: s.file}
		d.value(s.node, reflect.ValueOf(&out).Elem(), s.key)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return []byte(err.Error()) // a number that JSON does not have: equal only to itself
	}
	return b
}

// Locate turns an error about the section into faults with places. What is Faults already stays as it is. Errors put
// together with errors.Join become one fault each. An error that begins with the path of a field ("limits.rate: must be
// more than 0", "origins[1]: …"), or that wraps one, gets that field's place, any other the section's own.
func (s Section) Locate(err error) Faults {
	if err == nil {
		return nil
	}
	var faults Faults
	if errors.As(err, &faults) {
		return faults
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if many, ok := inner.(interface{ Unwrap() []error }); ok {
			for _, one := range many.Unwrap() {
				faults = append(faults, s.Locate(one)...)
			}
			return faults
		}
		if path := pathOf(inner); len(path) > 0 && child(s.node, path[0]) != nil {
			faults.add(s.find(path...), "%s", err.Error())
			return faults
		}
	}
	faults.add(s.at, "%s", err.Error())
	return faults
}

var (
	pathPrefix = regexp.MustCompile(`^[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*|\[\d+\])*: `)
	pathStep   = regexp.MustCompile(`[\w-]+`)
)

// pathOf returns the steps of the path that an error's text begins with, if it does.
func pathOf(err error) []string {
	return pathStep.FindAllString(strings.TrimSuffix(pathPrefix.FindString(err.Error()), ": "), -1)
}

// sub returns the section under a name; one that is not in the file has no node and the place of s.
func (s Section) sub(name string) Section {
	if pair := child(s.node, name); pair != nil {
		return Section{file: s.file, key: name, node: pair.Value, at: position(s.file, pair.Value)}
	}
	return Section{file: s.file, key: name, at: s.at}
}

// find returns the place of the value at a path of names and list indexes, or of the nearest thing around it that is in
// the file.
func (s Section) find(path ...string) Pos {
	at, n := s.at, s.node
	for _, step := range path {
		if seq, ok := n.(*ast.SequenceNode); ok {
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(seq.Values) {
				return at
			}
			n = seq.Values[i]
		} else {
			pair := child(n, step)
			if pair == nil {
				return at
			}
			n = pair.Value
		}
		at = position(s.file, n)
	}
	return at
}
