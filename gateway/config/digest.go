package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Resource is a resource as it is kept and shown.
type Resource struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// File is the file that has it, as places in faults name it; empty for one that was made over the API.
	File string          `json:"file,omitempty"`
	Spec json.RawMessage `json:"spec,omitempty"`
}

// document is one entry of a tenant's canonical form.
type document struct {
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
	// File is set only where it means something: rules of equal rank are ordered by it.
	File string `json:"file,omitempty"`
	Spec any    `json:"spec,omitempty"`
}

// digest writes down what each tenant consists of, without layout, comments, order and defaults.
func (l *loader) digest() {
	if len(l.faults) > 0 {
		return
	}
	docs := map[string][]document{}
	resources := map[string][]Resource{}
	for i := range l.resources {
		r := &l.resources[i]
		if r.taken {
			continue
		}
		owner := r.Tenant
		switch {
		case r.Kind == "tenant":
			owner = r.Name
		case owner == "":
			owner = l.fileTenants()[0].Name
		}
		doc := document{Kind: r.Kind, Name: r.Name, Spec: l.plain(r.Spec)}
		if r.Kind == "rules" {
			doc.File = r.file
		}
		docs[owner] = append(docs[owner], doc)
		spec, err := json.Marshal(doc.Spec)
		if err != nil {
			l.faults.add(r.whole.Pos(), "the resource cannot be written as JSON: %v", err)
			return
		}
		if doc.Spec == nil {
			spec = []byte("{}")
		}
		entry := Resource{Kind: r.Kind, Name: r.Name, Spec: spec}
		if !r.stored {
			entry.File = r.whole.file
		}
		resources[owner] = append(resources[owner], entry)
	}
	for _, t := range l.tenants {
		docs[t.Name] = append(docs[t.Name], t.ruleFiles...)
		slices.SortStableFunc(docs[t.Name], func(a, b document) int {
			return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name), strings.Compare(a.File, b.File))
		})
		body, err := json.Marshal(docs[t.Name])
		if err != nil {
			l.faults.add(t.At, "the tenant's resources cannot be written as JSON: %v", err)
			continue
		}
		slices.SortStableFunc(resources[t.Name], func(a, b Resource) int {
			return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
		})
		t.Resources = resources[t.Name]
		sum := sha256.Sum256(body)
		t.Canonical, t.Digest = body, hex.EncodeToString(sum[:])
	}
}

// plain returns a section as maps, lists and scalars.
func (l *loader) plain(s Section) any {
	if s.node == nil {
		return nil
	}
	d := decoder{file: s.file}
	var out any
	d.value(s.node, reflect.ValueOf(&out).Elem(), s.key)
	l.faults = append(l.faults, d.faults...)
	return out
}
