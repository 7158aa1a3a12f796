// Package story tests turnout as its users meet it: a real process behind a real bot of somebody else's, customers and
// agents over HTTP, the README's commands as written, and the process killed with -9 in the middle of it.
package story
