package hostile

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
)

// watch is the log of every gateway that this package's tests start. It has to be one for all of them: what one test
// confides may come out in the log of another.
var watch = newCanaries()

func TestMain(m *testing.M) {
	code := m.Run()
	if found := watch.leaks(); len(found) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: the log holds what nobody may read in it:\n%s\n", strings.Join(found, "\n"))
		code = 1
	}
	if watch.lines == 0 {
		fmt.Fprintln(os.Stderr, "FAIL: nothing was logged, so nothing was searched")
		code = 1
	}
	os.Exit(code)
}

// canaries collects a log and values that must not be in it. It is safe for concurrent use.
type canaries struct {
	mu     sync.Mutex
	values map[string]string // value -> what it is
	log    bytes.Buffer
	lines  int
	found  []string
}

func newCanaries() *canaries { return &canaries{values: map[string]string{}} }

// keep remembers a value that must not be logged, and returns it. Short values would be found by chance.
func (c *canaries) keep(what, value string) string {
	if len(value) < 9 {
		panic("a canary is too short: " + what)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[value] = what
	return value
}

// maxKept is how much log waits to be searched: fuzzing may go on for hours.
const maxKept = 8 << 20

func (c *canaries) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines++
	if c.log.Len()+len(line) > maxKept {
		c.search()
	}
	return c.log.Write(line)
}

// search looks through what was collected and lets it go.
func (c *canaries) search() {
	for line := range bytes.Lines(c.log.Bytes()) {
		for value, what := range c.values {
			if bytes.Contains(line, []byte(value)) {
				c.found = append(c.found, what+" in: "+strings.ReplaceAll(string(bytes.TrimSpace(line)), value, "CANARY"))
			}
		}
	}
	c.log.Reset()
}

// leaks returns one line for each value that was found, without the value.
func (c *canaries) leaks() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.search()
	return c.found
}

// logger writes as the program does at its default level.
func (c *canaries) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(c, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// all returns the values, each with what it is.
func (c *canaries) all() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	values := make(map[string]string, len(c.values))
	for v, what := range c.values {
		values[v] = what
	}
	return values
}

// The control: the search finds what is there.
func TestALeakIsFound(t *testing.T) {
	c := newCanaries()
	c.keep("a password", "correct-horse-battery")
	c.logger().Info("signing in", "with", "correct-horse-battery")
	c.logger().Debug("signing in", "with", "correct-horse-battery")
	if found := c.leaks(); len(found) != 1 || strings.Contains(found[0], "horse") {
		t.Errorf("found %q, want one line without the value", found)
	}
}
