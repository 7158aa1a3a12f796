package rules

import "strings"

// plainer adds to what a parser says how to mend it, where that is known. Whoever writes rules need not know what a token is.
func plainer(message string) string {
	for _, h := range hints {
		if strings.Contains(message, h.says) {
			return h.means + " (" + message + ")"
		}
	}
	return message
}

var hints = []struct{ says, means string }{
	{`unexpected token Operator("=")`, "compare with == instead of ="},
	{"unexpected token EOF", "the condition ends too early: something is missing after an operator, or a closing bracket"},
	{"literal not terminated", "a text is not closed: its last quotation mark is missing"},
	{"expected bool, but got", "a condition must be true or false: compare the value with something, as in turns > 2"},
	{"cannot start any token", "a line cannot begin so: indent with spaces, never with tabs, and put texts that begin with a special character into quotation marks"},
	{"mapping value is not allowed in this context", "a text that holds a colon must stand in quotation marks"},
	{"end token ']' not found", "a list is not closed: its ] is missing"},
	{"end token '}' not found", "a group is not closed: its } is missing"},
	{"mismatched types", "the two sides are of different kinds: a number compares with a number, a text in quotation marks with a text"},
}
