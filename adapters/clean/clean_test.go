package clean_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"turnout/adapters/clean"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain\n\ttext": "plain\n\ttext", "a\r\nb\rc": "a\nb\nc", "\x00x\x1b[31m\u0085": "x[31m", "Grüße 👋🏽": "Grüße 👋🏽", "\xffx": "\uFFFDx",
	} {
		if got := clean.Text(in); got != want {
			t.Errorf("Text(%q) is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{" a\nb\tc ": "a b c", "": "", strings.Repeat("ü", 200): strings.Repeat("ü", 128)} {
		if got := clean.Name(in); got != want || !utf8.ValidString(got) {
			t.Errorf("Name(%q) is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		" https://a.example/x ": "https://a.example/x", "http://a.example": "http://a.example", "javascript:alert(1)": "", "//a.example": "",
		"https:///x": "", "https://a.example/" + strings.Repeat("x", 2048): "", "": "", "://": "",
	} {
		if got := clean.Link(in); got != want {
			t.Errorf("Link(%q) is %q, want %q", in, got, want)
		}
	}
}
