// Package config reads a node's settings and its resource files into typed values.
//
// Reading is strict and complete: an unknown field, a wrong type, a missing or contradicting value is a Fault with file,
// line and column that says how to mend it, and one run reports them all. What belongs to an adapter stays a Section,
// which the adapter's constructor decodes; so this package knows no adapter, and faults in a section have places too.
// Secrets are references only (Secrets resolves them); a literal one is a fault.
//
//	settings.go   turnout.yaml
//	resource.go   resource documents, by kind      specs.go    the kinds' fields
//	build.go      the kinds' defaults and checks   link.go     what refers to what
//	rules.go      rule sources                     digest.go   a tenant's canonical form
//	decode.go     nodes to Go values               yaml.go     bytes to nodes
package config

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Config is a whole configuration that was found free of faults. It is not changed after Load.
type Config struct {
	// Dir is the folder of the settings file, "" for the current one. Relative paths in the files start there.
	Dir string
	Settings
	// Tenants are sorted by name.
	Tenants []*Tenant
	// Connections are sorted by name.
	Connections []*Connection

	files fs.FS
	file  string
	read  *copies
}

// Stored is a resource that no file has: it was made over the API and is kept in the store.
type Stored struct {
	Tenant string
	Resource
}

// With is the same files, as they were when they were read, with what the store has. A resource that a file has as well
// is the file's. c stays as it is. Errors are those of Load; places in what is stored begin with "api:".
func (c *Config) With(stored []Stored) (*Config, error) {
	return load(c.files, c.file, c.Dir, stored, c.read)
}

// Again is With on the files as they are now.
func (c *Config) Again(stored []Stored) (*Config, error) {
	return load(c.files, c.file, c.Dir, stored, newCopies())
}

// Load reads the settings file at name and the resource files that it lists. The error is of type Faults, unless the
// settings file itself cannot be read. Places in faults are paths as the caller would write them.
func Load(name string) (*Config, error) {
	dir, file := filepath.Split(name)
	root := dir
	if root == "" {
		root = "."
	}
	return load(os.DirFS(root), file, filepath.Clean(root), nil, newCopies())
}

// LoadSettings reads the settings file at name alone: what it lists may have faults, or be gone.
func LoadSettings(name string) (Settings, error) {
	dir, file := filepath.Split(name)
	l := &loader{files: os.DirFS(cmp.Or(dir, ".")), dir: filepath.Clean(dir), settings: file, copies: newCopies()}
	data, err := l.read(file)
	if err != nil {
		return Settings{}, fmt.Errorf("reading settings: %w", err)
	}
	s := l.readSettings(data)
	s.resolve(l.dir)
	return s, l.faults.err()
}

// Parse is Load on a file system: name is the settings file's path in it.
func Parse(files fs.FS, name string) (*Config, error) {
	sub, err := fs.Sub(files, path.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("opening the folder of %s: %w", name, err)
	}
	return load(sub, path.Base(name), path.Dir(name), nil, newCopies())
}

func load(files fs.FS, file, dir string, stored []Stored, read *copies) (*Config, error) {
	l := &loader{files: files, dir: dir, settings: file, copies: read}
	data, err := l.read(file)
	if err != nil {
		return nil, fmt.Errorf("reading settings: %w", err)
	}
	c := &Config{Dir: dir, Settings: l.readSettings(data), files: files, file: file, read: read}
	c.resolve(dir)
	l.globs = c.resources
	l.readResources(c.resources)
	l.readStored(stored)
	l.build()
	if !l.broken {
		l.link()
	}
	if err := l.faults.err(); err != nil {
		return nil, err
	}
	c.Tenants, c.Connections = l.tenants, l.connections
	return c, nil
}

// loader gathers what one Load reads. Its steps go on after faults, so that one run reports them all.
type loader struct {
	files    fs.FS
	dir      string // what the paths in places begin with
	settings string // the settings file in files
	copies   *copies

	faults Faults
	// broken is set when a resource file is not YAML: what it holds is then unknown, and so who refers to nothing.
	broken      bool
	globs       []glob
	resources   []resource
	tenants     []*Tenant
	connections []*Connection
	uses        []ruleUse
}

// copies are the files that a configuration was read from, and which files its patterns found.
type copies struct {
	files map[string][]byte
	found map[string][]string
}

func newCopies() *copies { return &copies{files: map[string][]byte{}, found: map[string][]string{}} }

// read returns a file without the mark of UTF-8 and the line ends of other systems: the parser would count lines wrongly.
func (l *loader) read(file string) ([]byte, error) {
	if data, ok := l.copies.files[file]; ok {
		return data, nil
	}
	data, err := fs.ReadFile(l.files, file)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	l.copies.files[file] = data
	return data, nil
}

// glob returns the files that a pattern matches.
func (l *loader) glob(pattern string) ([]string, error) {
	if names, ok := l.copies.found[pattern]; ok {
		return names, nil
	}
	names, err := fs.Glob(l.files, pattern)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		info, err := fs.Stat(l.files, name)
		return err == nil && info.IsDir()
	})
	l.copies.found[pattern] = names
	return names, nil
}

// shown returns the path of a file as places name it.
func (l *loader) shown(file string) string { return filepath.Join(l.dir, filepath.FromSlash(file)) }
