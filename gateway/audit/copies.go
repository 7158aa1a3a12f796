package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxCopies bounds a file of outside copies.
const maxCopies = 256 << 20

// copyLine is how every line of a file of copies begins.
const copyLine = `{"checkpoint":"`

// ReadCopies reads outside copies of checkpoints as they are sent: one signed note, or lines of JSON with one each, as in
// {"checkpoint": NOTE}. A line that a crash or a full disk has torn is passed over: one that comes again whole further down,
// maybe behind those of other tenants, and one at the end, which will come again.
func ReadCopies(name string, r io.Reader) ([]Copy, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxCopies+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, err)
	case len(b) > maxCopies:
		return nil, fmt.Errorf("reading %s: it has more than %d bytes", name, maxCopies)
	case bytes.HasPrefix(b, []byte(checkpointForm)):
		return []Copy{{Name: name, Note: b}}, nil
	}
	var list []Copy
	text, ended := strings.CutSuffix(string(b), "\n")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		var x struct {
			Note string `json:"checkpoint"`
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil || x.Note == "" {
			again := func(later string) bool { return strings.HasPrefix(later, line) }
			last := i == len(lines)-1 && !ended && (strings.HasPrefix(line, copyLine) || strings.HasPrefix(copyLine, line))
			if line != "" && (last || slices.ContainsFunc(lines[i+1:], again)) {
				continue
			}
			return nil, fmt.Errorf("%s:%d: want a checkpoint: a signed note, or a line {\"checkpoint\": NOTE}", name, i+1)
		}
		list = append(list, Copy{Name: fmt.Sprintf("%s:%d", name, i+1), Note: []byte(x.Note)})
	}
	return list, nil
}
