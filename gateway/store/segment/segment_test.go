package segment

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func sample(n int) Segment {
	s := Segment{Kind: Log, Conversation: "c_1", From: 5, To: 4 + 2*uint64(n)}
	for i := range n {
		s.Rows = append(s.Rows, Row{5 + 2*uint64(i), fmt.Appendf(nil, "row %d says hello", i)})
	}
	return s
}

func encode(t testing.TB, c *Codec, s Segment) []byte {
	t.Helper()
	b, err := c.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSegment(t *testing.T) {
	c := NewCodec()
	for _, n := range []int{1, 2, 1000} {
		s := sample(n)
		b := encode(t, c, s)
		if !bytes.Equal(b, encode(t, NewCodec(), s)) {
			t.Errorf("%d rows: the same rows gave other bytes", n)
		}
		rows, err := c.Decode(b, s.Kind, s.Conversation, s.From, s.To)
		if err != nil {
			t.Fatalf("%d rows: %v", n, err)
		}
		if !slices.EqualFunc(rows, s.Rows, func(x, y Row) bool { return x.Number == y.Number && bytes.Equal(x.Body, y.Body) }) {
			t.Errorf("%d rows came back as others", n)
		}
		if n == 1000 && len(b) > 1000*len("row 1 says hello")/3 {
			t.Errorf("1000 rows are %d bytes: nothing was compressed", len(b))
		}
		for what, open := range map[string]func() ([]Row, error){
			"another kind":         func() ([]Row, error) { return c.Decode(b, Chain, s.Conversation, s.From, s.To) },
			"another conversation": func() ([]Row, error) { return c.Decode(b, s.Kind, "c_2", s.From, s.To) },
			"another beginning":    func() ([]Row, error) { return c.Decode(b, s.Kind, s.Conversation, s.From-1, s.To) },
			"another end":          func() ([]Row, error) { return c.Decode(b, s.Kind, s.Conversation, s.From, s.To+1) },
			"cut off":              func() ([]Row, error) { return c.Decode(b[:len(b)-1], s.Kind, s.Conversation, s.From, s.To) },
			"nothing":              func() ([]Row, error) { return c.Decode(nil, s.Kind, s.Conversation, s.From, s.To) },
			"another version": func() ([]Row, error) {
				return c.Decode(append([]byte{9}, b[1:]...), s.Kind, s.Conversation, s.From, s.To)
			},
		} {
			if _, err := open(); !errors.Is(err, ErrForm) {
				t.Errorf("%d rows, %s: %v", n, what, err)
			}
		}
		for i := range b { // every byte counts
			if n > 2 {
				break
			}
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if rows, err := c.Decode(bad, s.Kind, s.Conversation, s.From, s.To); err == nil && !slices.EqualFunc(rows, s.Rows, func(x, y Row) bool { return x.Number == y.Number && bytes.Equal(x.Body, y.Body) }) {
				t.Errorf("%d rows, byte %d changed: other rows and no error", n, i)
			}
		}
	}
}

func TestUnsound(t *testing.T) {
	c := NewCodec()
	s := sample(3)
	s.Rows[2].Number = s.Rows[1].Number - 1
	if _, err := c.Encode(s); err == nil {
		t.Error("rows out of order were encoded")
	}
	s = sample(3)
	s.Rows[2].Number = s.To + 1
	if _, err := c.Encode(s); err == nil {
		t.Error("a row behind the end was encoded")
	}
	// A small frame that opens to more than may be is refused without opening it.
	bomb := sample(1)
	bomb.Rows[0].Body = []byte(strings.Repeat("x", Most))
	if _, err := c.Encode(bomb); err == nil {
		t.Error("a segment over the bound was encoded")
	}
	tools, err := c.tools()
	if err != nil {
		t.Fatal(err)
	}
	frame := tools.in.EncodeAll(make([]byte, Most+1), []byte{version})
	if _, err := c.Decode(frame, Log, "c_1", 1, 2); !errors.Is(err, ErrForm) {
		t.Errorf("a frame of %d bytes that opens to %d: %v", len(frame), Most+1, err)
	}
}

// FuzzDecode: whatever a file holds, it is refused or gives rows of the range that was asked for.
func FuzzDecode(f *testing.F) {
	c := NewCodec()
	for _, n := range []int{0, 1, 3} {
		s := sample(n)
		f.Add(encode(f, c, s), s.From, s.To)
	}
	f.Add([]byte{}, uint64(1), uint64(1))
	f.Add([]byte{version}, uint64(1), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, from, to uint64) {
		rows, err := c.Decode(b, Log, "c_1", from, to)
		if err != nil {
			if !errors.Is(err, ErrForm) {
				t.Errorf("%v", err)
			}
			return
		}
		for i, r := range rows {
			if r.Number < from || r.Number > to || i > 0 && r.Number < rows[i-1].Number {
				t.Errorf("row %d has number %d of %d to %d", i, r.Number, from, to)
			}
		}
	})
}
