package api

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// schemas makes JSON Schemas of Go types by their json tags, as encoding/json reads and writes them.
type schemas struct {
	named map[string]object
	names map[schemaKey]string
}

// schemaKey is a type as it comes in or goes out: what comes in is strict, what goes out may leave out empty fields.
type schemaKey struct {
	typ reflect.Type
	in  bool
}

func newSchemas() *schemas {
	return &schemas{named: map[string]object{}, names: map[schemaKey]string{}}
}

// of returns the schema of a value's type. in is for bodies: no field is required, none is allowed that the type lacks.
func (s *schemas) of(v any, in bool) object { return s.schema(reflect.TypeOf(v), in) }

var (
	timeType      = reflect.TypeFor[time.Time]()
	rawType       = reflect.TypeFor[json.RawMessage]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
)

func (s *schemas) schema(t reflect.Type, in bool) object {
	switch {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}
	case t == rawType:
		return object{}
	case t.Kind() == reflect.Pointer:
		return s.schema(t.Elem(), in)
	case t.Implements(jsonMarshaler) || reflect.PointerTo(t).Implements(jsonMarshaler):
		return object{}
	case t.Implements(textMarshaler):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		list := object{"type": "array", "items": s.schema(t.Elem(), in)}
		if t.Kind() == reflect.Slice {
			list["type"] = []string{"array", "null"} // a nil slice
		}
		return list
	case reflect.Map:
		return object{"type": []string{"object", "null"}, "additionalProperties": s.schema(t.Elem(), in)}
	case reflect.Struct:
		return s.structure(t, in)
	case reflect.Interface:
		return object{}
	}
	return object{"type": "integer"}
}

// structure returns a reference to a named struct's schema, or the schema of one without a name.
func (s *schemas) structure(t reflect.Type, in bool) object {
	if t.Name() == "" {
		return s.fields(t, in)
	}
	key := schemaKey{t, in}
	name, known := s.names[key]
	if !known {
		name = s.name(t, in)
		s.names[key] = name
		s.named[name] = object{} // a type may hold itself
		s.named[name] = s.fields(t, in)
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// name finds a name for a type that no other has.
func (s *schemas) name(t reflect.Type, in bool) string {
	runes := []rune(t.Name())
	runes[0] = unicode.ToUpper(runes[0])
	name := string(runes)
	if in && !strings.HasSuffix(name, "Body") {
		name += "Body"
	}
	if _, taken := s.named[name]; taken {
		path := t.PkgPath()
		pkg := []rune(path[strings.LastIndexByte(path, '/')+1:])
		pkg[0] = unicode.ToUpper(pkg[0])
		name = string(pkg) + name
	}
	return name
}

func (s *schemas) fields(t reflect.Type, in bool) object {
	properties := object{}
	var required []string
	s.collect(t, in, properties, &required)
	out := object{"type": "object", "properties": properties}
	if in {
		out["additionalProperties"] = false
	} else if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// collect adds the fields of a struct, those of embedded ones among them.
func (s *schemas) collect(t reflect.Type, in bool, properties object, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		typ := f.Type
		switch {
		case name == "-":
			continue
		case f.Anonymous && name == "":
			if typ.Kind() == reflect.Pointer {
				typ = typ.Elem()
			}
			s.collect(typ, in, properties, required)
			continue
		case !f.IsExported():
			continue
		case name == "":
			name = f.Name
		}
		properties[name] = s.schema(typ, in)
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if typ.Kind() == reflect.Pointer && !optional || in && typ.Kind() == reflect.Pointer {
			properties[name] = object{"anyOf": []object{s.schema(typ, in), {"type": "null"}}}
		}
		if !optional {
			*required = append(*required, name)
		}
	}
}
