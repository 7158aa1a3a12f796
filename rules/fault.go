package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one mistake in a rule file, at a place.
type Fault struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // 1-based, as Column
	Column  int    `json:"column"`
	Rule    string `json:"rule,omitempty"` // id of the rule, empty where the fault is in none
	Message string `json:"message"`        // one line, says what to mend
}

// String returns "file:line:col: message".
func (f Fault) String() string {
	if f.Rule == "" {
		return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
	}
	return fmt.Sprintf("%s:%d:%d: rule %s: %s", f.File, f.Line, f.Column, f.Rule, f.Message)
}

// Faults are all mistakes of a set of rule files, ordered by place. It is the error of Load.
type Faults []Fault

// Error returns one fault per line.
func (f Faults) Error() string {
	var b strings.Builder
	for i, fault := range f {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(fault.String())
	}
	return b.String()
}

func (f Faults) sort() {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
}
