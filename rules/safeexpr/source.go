package safeexpr

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// checkSource refuses what must not reach a parser: brackets are no nodes, and a parser that recurses into a hundred
// thousand of them takes seconds.
func checkSource(source string) error {
	if len(source) > MaxSource {
		return &Error{Line: 1, Column: 1, Message: fmt.Sprintf("expression is longer than %d bytes", MaxSource)}
	}
	if !utf8.ValidString(source) {
		return &Error{Line: 1, Column: 1, Message: "expression is not valid UTF-8"}
	}
	if strings.TrimSpace(source) == "" {
		return &Error{Line: 1, Column: 1, Message: "expression is empty"}
	}
	depth, line, column := 0, 1, 0
	for i := 0; i < len(source); {
		r, size := utf8.DecodeRuneInString(source[i:])
		column++
		skip := size
		switch r {
		case '\n':
			line, column = line+1, 0
		case '(', '[', '{':
			if depth++; depth > MaxDepth {
				return &Error{Line: line, Column: column, Message: fmt.Sprintf("brackets are nested more than %d deep", MaxDepth)}
			}
		case ')', ']', '}':
			depth--
		case '"', '\'', '`':
			skip = quotedLen(source[i:], byte(r))
		case '/':
			skip = commentLen(source[i:])
		}
		if skip > size {
			passed := source[i : i+skip]
			if n := strings.Count(passed, "\n"); n > 0 {
				line += n
				column = utf8.RuneCountInString(passed[strings.LastIndexByte(passed, '\n')+1:])
			} else {
				column += utf8.RuneCountInString(passed) - 1
			}
		}
		i += skip
	}
	return nil
}

// quotedLen is the length of the literal that s begins with. An unterminated one reaches to the end: the parser will
// say so without recursing.
func quotedLen(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote != '`':
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

func commentLen(s string) int {
	switch {
	case strings.HasPrefix(s, "//"):
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			return i
		}
		return len(s)
	case strings.HasPrefix(s, "/*"):
		if i := strings.Index(s[2:], "*/"); i >= 0 {
			return i + 4
		}
		return len(s)
	}
	return 1
}

var errTooManyItems = errors.New("evaluating expression: a list is too long for the loops of this expression")

// checkItems bounds every collection in a parsed document. Depth is bounded too: a document is data, but from outside.
func checkItems(value any, limit int) error {
	return checkItemsAt(value, limit, 200)
}

func checkItemsAt(value any, limit, depth int) error {
	if depth == 0 {
		return errors.New("evaluating expression: the document is nested too deep")
	}
	switch v := value.(type) {
	case map[string]any:
		if len(v) > limit {
			return errTooManyItems
		}
		for _, item := range v {
			if err := checkItemsAt(item, limit, depth-1); err != nil {
				return err
			}
		}
	case []any:
		if len(v) > limit {
			return errTooManyItems
		}
		for _, item := range v {
			if err := checkItemsAt(item, limit, depth-1); err != nil {
				return err
			}
		}
	}
	return nil
}
