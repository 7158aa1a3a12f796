package web

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadMost(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		r    io.Reader
		most int
		want string
		err  error
	}{
		{"nothing", strings.NewReader(""), 5, "", nil},
		{"less than most", strings.NewReader("abc"), 5, "abc", nil},
		{"just as much", strings.NewReader("abcde"), 5, "abcde", nil},
		{"more", strings.NewReader("abcdef"), 5, "abcde", nil},
		{"byte by byte", iotest.OneByteReader(strings.NewReader("abcdef")), 5, "abcde", nil},
		{"with the last byte", iotest.DataErrReader(strings.NewReader("abc")), 5, "abc", nil},
		{"more than the buffer has", strings.NewReader(strings.Repeat("x", 5000)), 4000, strings.Repeat("x", 4000), nil},
		{"broken off", io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)), 5, "ab", broken},
	} {
		buf := make([]byte, 3, 4) // what is left of another body
		got, err := readMost(&buf, c.r, c.most)
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v; want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
}
