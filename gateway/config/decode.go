package config

import (
	"encoding"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"turnout/adapters"
)

// decoder fills Go values from the nodes of one file, strictly: an unknown field, a value of the wrong type and an empty
// value are faults, all of them are collected, and what could be read is filled in. A field that the file does not name
// keeps the value it had, which is how defaults are given.
type decoder struct {
	file   string
	faults Faults
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()
	secretType   = reflect.TypeFor[adapters.SecretRef]()
	networkType  = reflect.TypeFor[netip.Prefix]()
	sectionType  = reflect.TypeFor[Section]()
)

func (d *decoder) faultf(n ast.Node, format string, args ...any) {
	d.faults.add(position(d.file, n), format, args...)
}

// value decodes n into v. key is the field's name, or empty.
func (d *decoder) value(n ast.Node, v reflect.Value, key string) {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		d.faultf(n, "anchors and aliases are not read here; write the value out")
		return
	case *ast.TagNode:
		d.faultf(n, "tags are not read here; remove it")
		return
	case *ast.NullNode:
		if v.Kind() != reflect.Interface {
			d.faultf(n, "%s has no value; give it one or remove the line", orThis(key))
		}
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), key)
		return
	}
	switch v.Type() {
	case sectionType:
		v.Set(reflect.ValueOf(Section{file: d.file, key: key, node: n, at: position(d.file, n)}))
		return
	case durationType:
		d.scalar(n, v, key, duration)
		return
	case timeType:
		d.scalar(n, v, key, instant)
		return
	case networkType:
		d.scalar(n, v, key, network)
		return
	case secretType:
		d.scalar(n, v, key, secretRef)
		return
	}
	if d.unmarshal(n, v) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, key)
	case reflect.Map:
		d.mapping(n, v, key)
	case reflect.Slice:
		d.list(n, v, key)
	case reflect.Interface:
		if v.NumMethod() > 0 {
			d.faultf(n, "%s cannot be read from a file", orThis(key))
		} else if got := d.any(n); got != nil {
			v.Set(reflect.ValueOf(got))
		}
	default:
		d.basic(n, v, key)
	}
}

// unmarshal lets a type read itself, if it can.
func (d *decoder) unmarshal(n ast.Node, v reflect.Value) bool {
	var err error
	switch u := v.Addr().Interface().(type) {
	case yaml.InterfaceUnmarshaler:
		err = u.UnmarshalYAML(func(to any) error {
			sub := decoder{file: d.file}
			sub.value(n, reflect.ValueOf(to).Elem(), "")
			return sub.faults.err()
		})
	case encoding.TextUnmarshaler:
		text, ok := textOf(n)
		if !ok {
			d.faultf(n, "want text, found %s", what(n))
			return true
		}
		err = u.UnmarshalText([]byte(text))
	default:
		return false
	}
	if inner, ok := err.(Faults); ok {
		d.faults = append(d.faults, inner...)
	} else if err != nil {
		d.faultf(n, "%v", err)
	}
	return true
}

func (d *decoder) structure(n ast.Node, v reflect.Value, key string) {
	pairs, ok := entries(n)
	if !ok {
		d.faultf(n, "%s must be a mapping of names to values, found %s", orThis(key), what(n))
		return
	}
	fields := map[string][]int{}
	fieldsOf(v.Type(), nil, fields)
	for _, p := range pairs {
		name, ok := d.key(p)
		if !ok {
			continue
		}
		index, ok := fields[name]
		if !ok {
			d.faultf(p, "unknown field %q%s", name, meant(name, slices.Sorted(maps.Keys(fields))))
			continue
		}
		d.value(p.Value, v.FieldByIndex(index), name)
	}
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, key string) {
	pairs, ok := entries(n)
	if !ok {
		d.faultf(n, "%s must be a mapping of names to values, found %s", orThis(key), what(n))
		return
	}
	if v.Type().Key().Kind() != reflect.String {
		d.faultf(n, "%s cannot be read from a file", orThis(key))
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(pairs))
	for _, p := range pairs {
		name, ok := d.key(p)
		if !ok {
			continue
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(p.Value, elem, name)
		m.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), elem)
	}
	v.Set(m)
}

func (d *decoder) list(n ast.Node, v reflect.Value, key string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.faultf(n, "%s must be a list, found %s", orThis(key), what(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		d.value(item, out.Index(i), fmt.Sprintf("%s[%d]", key, i))
	}
	v.Set(out)
}

// any decodes into the plain types: map[string]any, []any, string, bool, int64, uint64, float64 and nil.
func (d *decoder) any(n ast.Node) any {
	switch v := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		out := map[string]any{}
		d.mapping(v, reflect.ValueOf(&out).Elem(), "")
		return out
	case *ast.SequenceNode:
		out := []any{}
		d.list(v, reflect.ValueOf(&out).Elem(), "")
		return out
	case *ast.IntegerNode:
		return v.Value
	case *ast.FloatNode:
		return v.Value
	case *ast.BoolNode:
		return v.Value
	}
	if text, ok := textOf(n); ok {
		return text
	}
	d.faultf(n, "want text, a number, true, false, a list or a mapping, found %s", what(n))
	return nil
}

// key returns the name that a pair begins with.
func (d *decoder) key(p *ast.MappingValueNode) (string, bool) {
	if k, ok := p.Key.(*ast.StringNode); ok {
		return k.Value, true
	}
	if _, ok := p.Key.(*ast.MergeKeyNode); ok {
		d.faultf(p, "anchors and aliases are not read here; write the value out")
	} else {
		d.faultf(p, "want a plain name here; put quotes around anything else")
	}
	return "", false
}

// fieldsOf collects the names under which the fields of a struct stand in a file.
func fieldsOf(t reflect.Type, prefix []int, into map[string][]int) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		index := append(slices.Clone(prefix), i)
		switch {
		case !f.IsExported() || name == "-":
		case options == "inline" && f.Type.Kind() == reflect.Struct:
			fieldsOf(f.Type, index, into)
		case name == "":
			into[strings.ToLower(f.Name)] = index
		default:
			into[name] = index
		}
	}
}

func textOf(n ast.Node) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	}
	return "", false
}

func orThis(key string) string {
	if key == "" {
		return "this"
	}
	return key
}
