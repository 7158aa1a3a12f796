// Package admin has the routes of administration, one file per area: each returns rows for api.Options.Admin over the
// small interfaces that it needs. The package doc of api says how to add one, with its command.
package admin
