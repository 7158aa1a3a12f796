package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"turnout/adapters"
)

// maxSecret is far more than any key or password hash needs.
const maxSecret = 64 << 10

// Secrets resolves references to secrets. It keeps none: each Resolve reads again, so a rotated file is seen.
type Secrets struct {
	// Dir is what relative paths of "file:" are relative to: the folder of the settings file.
	Dir string
	// LookupEnv reads an environment variable, like os.LookupEnv. Nil means that there are none.
	LookupEnv func(name string) (string, bool)
}

// Resolve returns the secret that ref names. A line break at the end is not part of it. Errors name the reference, say
// what to do and never hold the value: a literal, a variable that is not set, a file that is missing, empty, too large
// or readable by other users.
func (s Secrets) Resolve(ref adapters.SecretRef) (adapters.Secret, error) {
	scheme, rest, err := splitRef(ref)
	if err != nil {
		return adapters.Secret{}, err
	}
	var value string
	switch scheme {
	case "env":
		value, err = s.fromEnv(rest)
	case "file":
		value, err = s.fromFile(rest)
	default:
		err = errors.New("it is sealed in the store of the node")
	}
	if err != nil {
		return adapters.Secret{}, fmt.Errorf("reading the secret %s: %w", ref, err)
	}
	if value = strings.TrimRight(value, "\r\n"); value == "" {
		return adapters.Secret{}, fmt.Errorf("reading the secret %s: it is empty", ref)
	}
	return adapters.NewSecret(value), nil
}

func (s Secrets) fromEnv(name string) (string, error) {
	if s.LookupEnv != nil {
		if v, ok := s.LookupEnv(name); ok {
			return v, nil
		}
	}
	return "", errors.New("the environment variable is not set")
}

func (s Secrets) fromFile(path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.Dir, path)
	}
	// A pipe would block the open for ever, so the kind is looked at first, and again on what was opened.
	if info, err := os.Stat(path); err != nil {
		return "", reason(err)
	} else if !info.Mode().IsRegular() {
		return "", errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", reason(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", reason(err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("other users can read it (mode %04o); run: chmod 600 %s", mode, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", reason(err)
	}
	if len(data) > maxSecret {
		return "", errors.New("the file is larger than 64 KiB")
	}
	return string(data), nil
}

// reason drops the path from a file error: the reference says it already.
func reason(err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

var errLiteral = errors.New(`want a reference to a secret, "env:NAME", "file:path" or "sealed:name"; a secret itself does not belong into a file like this`)

// SealedForm is the form of the names of sealed secrets.
var SealedForm = nameForm

func splitRef(ref adapters.SecretRef) (scheme, rest string, err error) {
	scheme, rest, ok := strings.Cut(string(ref), ":")
	if !ok || rest == "" || strings.ContainsAny(rest, "\x00\n") {
		return "", "", errLiteral
	}
	switch {
	case scheme == "file":
	case scheme == "env" && !strings.ContainsAny(rest, "= "):
	case scheme == "sealed" && SealedForm.MatchString(rest):
	default:
		return "", "", errLiteral
	}
	return scheme, rest, nil
}

// Sealed returns the name in a reference to a secret that the store keeps.
func Sealed(ref adapters.SecretRef) (name string, ok bool) {
	scheme, name, err := splitRef(ref)
	return name, err == nil && scheme == "sealed"
}
