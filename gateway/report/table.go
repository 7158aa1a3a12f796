package report

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Writer writes rows in one of the forms that programs read.
type Writer interface {
	// Write writes one row: a struct of the kind that the Writer was made for.
	Write(row any) error
	// Flush ends what was begun.
	Flush() error
}

// NewJSONL writes a line of JSON per row (https://jsonlines.org).
func NewJSONL(w io.Writer) Writer { return jsonl{json.NewEncoder(w)} }

type jsonl struct{ e *json.Encoder }

func (j jsonl) Write(row any) error { return j.e.Encode(row) }
func (jsonl) Flush() error          { return nil }

// NewCSV writes RFC 4180 with a head line of the names that the rows have in JSON. Every row has every column. A value that
// a spreadsheet would take for a formula gets an apostrophe in front.
func NewCSV(w io.Writer) Writer { return &csvWriter{w: csv.NewWriter(w)} }

type csvWriter struct {
	w    *csv.Writer
	head bool
}

func (c *csvWriter) Write(row any) error {
	v := reflect.ValueOf(row)
	if !c.head {
		c.head = true
		if err := c.w.Write(columns(v.Type())); err != nil {
			return err
		}
	}
	cells := make([]string, 0, v.NumField())
	for i := range v.NumField() {
		if name(v.Type().Field(i)) != "" {
			cells = append(cells, cell(v.Field(i)))
		}
	}
	return c.w.Write(cells)
}

func (c *csvWriter) Flush() error {
	c.w.Flush()
	return c.w.Error()
}

func name(f reflect.StructField) string {
	n, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return strings.Trim(n, "-")
}

func columns(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		if n := name(t.Field(i)); n != "" {
			names = append(names, n)
		}
	}
	return names
}

func cell(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case string:
		return plain(x)
	case time.Time:
		if x.IsZero() {
			return ""
		}
		return x.Format(time.RFC3339Nano)
	case []string:
		return plain(strings.Join(x, " "))
	case *float64:
		if x == nil {
			return ""
		}
		return strconv.FormatFloat(*x, 'f', -1, 64)
	case int:
		return strconv.Itoa(x)
	case bool:
		return strconv.FormatBool(x)
	}
	return ""
}

func plain(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
