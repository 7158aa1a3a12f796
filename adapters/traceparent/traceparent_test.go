package traceparent

import (
	"strings"
	"testing"
)

// The examples of the specification, and what it calls invalid.
func TestParse(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for header, want := range map[string]Parent{
		good: good,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
		"cc" + good[2:]:                      good, // a later version
		"cc" + good[2:] + "-what-is":         good, // and what it adds
		"":                                   "",
		good + "-what-is":                    "", // version 00 has no more
		"cc" + good[2:] + ".x":               "",
		"ff" + good[2:]:                      "",
		strings.ToUpper(good):                "",
		good[:len(good)-1]:                   "",
		strings.Replace(good, "-b", "_b", 1): "",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01":   "",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01":   "",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01":   "",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-\r\n": "",
	} {
		if got := Parse([]byte(header)); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func TestChild(t *testing.T) {
	p := Parse([]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	one, again, other := p.Child("t_1"), p.Child("t_1"), p.Child("t_2")
	if one != again || one == other || one == string(p) {
		t.Errorf("%q, %q, %q", one, again, other)
	}
	if c := Parse([]byte(one)); c == "" || c[:spanBegin] != p[:spanBegin] || !strings.HasSuffix(one, "-01") {
		t.Errorf("%q is no child of %q", one, p)
	}
	if Parent("").Child("t_1") != "" {
		t.Error("nothing has a child")
	}
}

// FuzzParse passes nothing on that is not a header.
func FuzzParse(f *testing.F) {
	f.Add([]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	f.Add([]byte("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"))
	f.Add([]byte("ff--\r\n"))
	f.Fuzz(func(t *testing.T, header []byte) {
		p := Parse(header)
		if p == "" {
			return
		}
		if len(p) != size || Parse([]byte(p)) != p || Parse([]byte(p.Child("x"))) == "" {
			t.Errorf("%q became %q", header, p)
		}
	})
}
