package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file. Line and Column count from 1; Column counts characters. Line 0 means the file as a whole.
type Pos struct {
	File   string
	Line   int
	Column int
}

// String returns "file:line:column", the form that editors jump to.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Stored reports whether the place is in what was made over the API.
func (p Pos) Stored() bool { return strings.HasPrefix(p.File, storedPrefix) }

// Fault is one mistake in a configuration: where it is, what is wrong and how to mend it. It never repeats a value that
// could be a secret.
type Fault struct {
	Pos
	Message string
}

func (f Fault) Error() string { return f.Pos.String() + ": " + f.Message }

// Faults are all mistakes that were found, in the order of files and lines. Printed, it is one line for each.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

func (f *Faults) add(at Pos, format string, args ...any) {
	*f = append(*f, Fault{Pos: at, Message: fmt.Sprintf(format, args...)})
}

// err returns the faults sorted and without repeats, or nil when there are none.
func (f Faults) err() error {
	if len(f) == 0 {
		return nil
	}
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Message, b.Message))
	})
	return slices.Compact(f)
}

// meant returns `; did you mean "x"?` for the known word nearest to word, or the list of all where none is near and they
// are few.
func meant(word string, known []string) string {
	const few = 12
	best, bestDistance := "", 1+len(word)/3
	for _, k := range known {
		if d := distance(word, k); d <= bestDistance {
			best, bestDistance = k, d-1
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %q?", best)
	case len(known) == 0 || len(known) > few:
		return ""
	}
	return "; there is " + strings.Join(known, ", ")
}

// distance counts the insertions, deletions, replacements and swaps of neighbours between two words.
func distance(a, b string) int {
	const longest = 64 // beyond this nobody has mistyped one word for the other
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
