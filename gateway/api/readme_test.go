package api

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"turnout/gateway/conversation"
	"turnout/gateway/queue"
	"turnout/rules/signal"
)

// TestReadmeNamesEveryField: clients are written from gateway/README.md, so each name that an answer can hold stands there.
func TestReadmeNamesEveryField(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	for _, w := range strings.FieldsFunc(string(page), func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
		words[w] = true
	}
	seen := map[reflect.Type]bool{}
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(path, typ.Elem())
		case reflect.Struct:
			if seen[typ] || typ == reflect.TypeFor[time.Time]() {
				return
			}
			seen[typ] = true
			for f := range typ.Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				switch {
				case f.Anonymous && name == "":
					walk(path, f.Type)
				case f.IsExported() && name != "-":
					if name == "" || !words[name] {
						t.Errorf("%s.%s: %q is not on the page", path, f.Name, name)
					}
					walk(path+"."+name, f.Type)
				}
			}
		}
	}
	for _, v := range []any{
		queue.Row{}, queue.Context{}, queue.Event{}, queue.Result{}, queue.Presence{}, queue.Change{}, me{}, serverFrame{}, clientFrame{},
		claimed{}, loginAnswer{}, status{}, conversation.Owner{}, signal.Scores{},
	} {
		walk(reflect.TypeOf(v).Name(), reflect.TypeOf(v))
	}
}
