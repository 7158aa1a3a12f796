package config

import (
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

const (
	maxFiles     = 1000
	maxResources = 10_000
)

// resource is one document of a resource file.
type resource struct {
	whole  Section
	file   string  // in the loader's file system
	data   []byte  // of the whole file
	next   int     // the line at which the next document begins, 0 for none
	stored bool    // it comes from the store, not from a file
	taken  bool    // a file has the same resource
	Kind   string  `yaml:"kind"`
	Tenant string  `yaml:"tenant"`
	Name   string  `yaml:"name"`
	Spec   Section `yaml:"spec"`
}

// glob is a pattern and where it stands.
type glob struct {
	pattern string
	at      Pos
}

// match returns the files in folder dir that the patterns match, sorted, each once. A pattern that matches nothing is a
// fault: what somebody wrote down would silently not be there.
func (l *loader) match(dir string, globs []glob) []string {
	found := map[string]bool{}
	for _, g := range globs {
		pattern := path.Join(dir, g.pattern)
		switch {
		case g.pattern == "" || path.IsAbs(g.pattern) || !fs.ValidPath(pattern) && pattern != ".":
			l.faults.add(g.at, "files must lie in the folder of the settings file or below it; write a path relative to this file")
			continue
		case strings.Contains(g.pattern, "**"):
			l.faults.add(g.at, `"**" is not supported; list each folder, such as "rules/*.yaml"`)
			continue
		}
		names, err := l.glob(pattern)
		if err != nil {
			l.faults.add(g.at, "this pattern cannot be read; it may hold *, ? and [a-z]")
			continue
		}
		hits := 0
		for _, name := range names {
			if name == l.settings {
				continue
			}
			hits++
			found[name] = true
		}
		if hits == 0 {
			l.faults.add(g.at, "no file matches; check the path, which is relative to this file")
		}
		if len(found) > maxFiles {
			l.faults.add(g.at, "more than %d files; put several resources into one", maxFiles)
			return nil
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// readResources reads the documents of all resource files.
func (l *loader) readResources(globs []glob) {
	for _, file := range l.match(".", globs) {
		data, err := l.read(file)
		if err != nil {
			l.faults.add(Pos{File: l.shown(file)}, "the file cannot be read: %v", reason(err))
			continue
		}
		docs, faults := parse(l.shown(file), data)
		l.faults = append(l.faults, faults...)
		l.broken = l.broken || len(faults) > 0
		for i, doc := range docs {
			r := resource{file: file, data: data, whole: l.section(file, doc.Body)}
			r.Spec = Section{file: r.whole.file, key: "spec", at: r.whole.at}
			if i+1 < len(docs) {
				r.next = startOf(docs[i+1])
			}
			l.decode(r.whole, &r)
			l.resources = append(l.resources, r)
		}
		if len(l.resources) > maxResources {
			l.faults.add(Pos{File: l.shown(file)}, "more than %d resources in all", maxResources)
			return
		}
	}
}

func (l *loader) section(file string, n ast.Node) Section {
	shown := l.shown(file)
	return Section{file: shown, node: n, at: position(shown, n)}
}

func startOf(d *ast.DocumentNode) int {
	if d.Start != nil {
		return d.Start.Position.Line
	}
	return position("", d.Body).Line
}

// kinds are the resource kinds that this build serves; other kinds of the file format are known but refused.
var (
	kinds     = []string{"tenant", "channel", "bot", "queue", "agent", "rules", "profile", "connection"}
	notServed = []string{"calendar"}
)

// names are what tenants and resources are called.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

const nameRule = "1 to 40 lower-case letters, digits and hyphens, beginning with a letter or digit"

// build makes typed values of the resources: tenants first, then what belongs to them.
func (l *loader) build() {
	seen := map[[3]string]Pos{}
	var rest []*resource
	for i := range l.resources {
		r := &l.resources[i]
		if !l.checkHeader(r) {
			continue
		}
		if r.Kind == "connection" {
			l.addConnection(seen, r)
			continue
		}
		if r.Kind != "tenant" {
			rest = append(rest, r)
			continue
		}
		if r.stored && slices.ContainsFunc(l.tenants, func(t *Tenant) bool { return t.Name == r.Name && !t.Stored }) {
			r.taken = true
			continue
		}
		if r.Tenant != "" && r.Tenant != r.Name {
			l.faults.add(r.whole.find("tenant"), "a tenant belongs to no other; remove the line")
		}
		if l.first(seen, r, "") {
			l.tenants = append(l.tenants, l.newTenant(r))
		}
	}
	slices.SortFunc(l.tenants, func(a, b *Tenant) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(l.connections, func(a, b *Connection) int { return strings.Compare(a.Name, b.Name) })
	if len(l.tenants) == 0 && len(l.faults) == 0 && len(l.globs) > 0 {
		l.faults.add(Pos{File: l.shown(l.settings)}, `no resource file has a tenant; add a document "{kind: tenant, name: …}"`)
	}
	for _, r := range rest { // what is in the store comes last: a file that has the same takes it over
		t := l.tenantOf(r)
		if t != nil && l.first(seen, r, t.Name) {
			l.add(t, r)
		}
	}
}

// checkHeader reports whether the resource says well enough what it is to be read further.
func (l *loader) checkHeader(r *resource) bool {
	if _, ok := entries(r.whole.node); !ok {
		return false // the decoder has said so
	}
	ok := true
	bad := func(at Pos, format string, args ...any) {
		l.faults.add(at, format, args...)
		ok = false
	}
	switch {
	case child(r.whole.node, "kind") == nil:
		bad(r.whole.Pos(), "kind is missing; it is one of %s", strings.Join(kinds, ", "))
	case r.says("kind", ""):
		bad(r.whole.find("kind"), "kind is empty; it is one of %s", strings.Join(kinds, ", "))
	case slices.Contains(notServed, r.Kind):
		bad(r.whole.find("kind"), "this build does not serve resources of kind %q; remove the document", r.Kind)
	case r.Kind != "" && !slices.Contains(kinds, r.Kind):
		bad(r.whole.find("kind"), "unknown kind %q%s", r.Kind, meant(r.Kind, kinds))
	}
	switch {
	case child(r.whole.node, "name") == nil:
		bad(r.whole.Pos(), "name is missing; it is %s", nameRule)
	case r.says("name", ""):
		bad(r.whole.find("name"), "name is empty; it is %s", nameRule)
	case r.Name != "" && !nameForm.MatchString(r.Name):
		bad(r.whole.find("name"), "a name is %s", nameRule)
	}
	return ok && r.Kind != "" && r.Name != ""
}

// first reports whether r is the first of its kind and name; if not, both places are faults.
func (l *loader) first(seen map[[3]string]Pos, r *resource, tenant string) bool {
	id, at := [3]string{tenant, r.Kind, r.Name}, r.whole.find("name")
	if other, twice := seen[id]; twice {
		if r.stored {
			r.taken = true
			return false
		}
		l.faults.add(at, "%s %q is defined a second time; the first is at %s", r.Kind, r.Name, other)
		l.faults.add(other, "%s %q is defined again at %s; remove or rename one", r.Kind, r.Name, at)
		return false
	}
	seen[id] = at
	return true
}

// says reports whether a field of the document is there with this text.
func (r *resource) says(field, value string) bool {
	text, ok := textOf(valueOf(r.whole.node, field))
	return ok && text == value
}

// tenantOf returns the tenant of a resource: the named one, or the only one that files have.
func (l *loader) tenantOf(r *resource) *Tenant {
	if r.says("tenant", "") {
		l.faults.add(r.whole.find("tenant"), "tenant is empty; name one, or remove the line where there is only one")
		return nil
	}
	if r.Tenant == "" {
		own := l.fileTenants()
		switch {
		case child(r.whole.node, "tenant") != nil: // the decoder has said what is wrong with it
		case len(own) == 1:
			return own[0]
		case len(own) > 1:
			l.faults.add(r.whole.Pos(), "tenant is missing; with several tenants each resource says whose it is")
		case len(l.tenants) > 0:
			l.faults.add(r.whole.Pos(), "tenant is missing; no file has a tenant, so each resource says whose of those it is that were made over the API: %s",
				strings.Join(names(l.tenants, func(t *Tenant) string { return t.Name }), ", "))
		}
		return nil
	}
	var known []string
	for _, t := range l.tenants {
		if t.Name == r.Tenant {
			return t
		}
		known = append(known, t.Name)
	}
	l.faults.add(r.whole.find("tenant"), "unknown tenant %q%s", r.Tenant, meant(r.Tenant, known))
	return nil
}

// fileTenants are those that files have: resources in files need not name the only one of them.
func (l *loader) fileTenants() []*Tenant {
	return slices.DeleteFunc(slices.Clone(l.tenants), func(t *Tenant) bool { return t.Stored })
}
