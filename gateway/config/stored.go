package config

import (
	"encoding/json"
	"fmt"
)

// storedPrefix begins the places in what was made over the API.
const storedPrefix = "api:"

// document of a stored resource; its fields are those of a resource file.
type storedDocument struct {
	Kind   string          `json:"kind"`
	Tenant string          `json:"tenant,omitempty"`
	Name   string          `json:"name"`
	Spec   json.RawMessage `json:"spec,omitempty"`
}

// readStored reads what the store has as if each were a file of its own: JSON is YAML.
func (l *loader) readStored(stored []Stored) {
	for _, s := range stored {
		file := fmt.Sprintf(storedPrefix+"%s/%s/%s", s.Tenant, s.Kind, s.Name)
		doc := storedDocument{Kind: s.Kind, Tenant: s.Tenant, Name: s.Name, Spec: s.Spec}
		if s.Kind == "tenant" {
			doc.Tenant = ""
		}
		data, err := json.MarshalIndent(doc, "", " ")
		if err != nil {
			l.faults.add(Pos{File: file}, "the resource is not JSON")
			continue
		}
		docs, faults := parse(file, data)
		l.faults = append(l.faults, faults...)
		l.broken = l.broken || len(faults) > 0
		for _, d := range docs {
			r := resource{file: file, data: data, stored: true, whole: Section{file: file, node: d.Body, at: position(file, d.Body)}}
			r.Spec = Section{file: file, key: "spec", at: r.whole.at}
			l.decode(r.whole, &r)
			l.resources = append(l.resources, r)
		}
	}
}
