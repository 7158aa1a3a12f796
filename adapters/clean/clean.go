// Package clean makes what servers answer fit to be shown, kept and compared: valid text without control characters, short
// names of one line, links that lead to the web. It is a leaf.
package clean

import (
	"net/url"
	"strings"
)

// NameBytes is the most that Name leaves of a name: of intents, reasons, titles.
const NameBytes = 256

// Text keeps valid UTF-8 with "\n" as line end and without control characters other than it and tab.
func Text(s string) string {
	if printable(s) {
		return s
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f {
			return -1
		}
		return r
	}, s)
}

// printable reports whether s is ASCII without control characters other than newline and tab.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 0x7f || c < ' ' && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// Name is Text for one short line.
func Name(s string) string {
	if s = Text(s); strings.ContainsAny(s, "\n\t") {
		s = strings.NewReplacer("\n", " ", "\t", " ").Replace(s)
	}
	if len(s) > NameBytes {
		s = strings.ToValidUTF8(s[:NameBytes], "")
	}
	return strings.TrimSpace(s)
}

// Link returns an absolute http or https URL, and "" for everything else.
func Link(s string) string {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || len(s) > 2048 {
		return ""
	}
	return u.String()
}
