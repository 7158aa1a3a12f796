package adapters

import "log/slog"

// SecretRef is a reference to a secret in a configuration: "env:NAME", "file:/path", or "sealed:name" for one that the
// store keeps. A literal is refused.
type SecretRef string

// Secret is a secret value. It prints as [redacted] through fmt, JSON and slog.
type Secret struct{ v string }

// NewSecret wraps v.
func NewSecret(v string) Secret { return Secret{v} }

// Reveal returns the value. The caller must not log it or put it into an error.
func (s Secret) Reveal() string { return s.v }

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return s.v == "" }

func (Secret) String() string               { return "[redacted]" }
func (Secret) GoString() string             { return "[redacted]" }
func (Secret) LogValue() slog.Value         { return slog.StringValue("[redacted]") }
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }
