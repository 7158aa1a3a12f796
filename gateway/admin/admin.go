// Package admin has the routes of administration, one file per area: each returns rows for api.Options.Admin over the
// small interfaces that it needs. The package doc of api says how to add one, with its command.
package admin

import "strconv"

// number reads a version's number out of a path.
func number(s string) (int, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int(n), err == nil && n > 0
}
