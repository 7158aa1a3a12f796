package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// maxCopies bounds a file of outside copies.
const maxCopies = 256 << 20

// ReadCopies reads outside copies of checkpoints as they are sent: one signed note, or lines of JSON with one each, as in
// {"checkpoint": NOTE}. A line that a crash has torn, and that comes again whole, is passed over.
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
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for i, line := range lines {
		var x struct {
			Note string `json:"checkpoint"`
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil || x.Note == "" {
			if i+1 < len(lines) && strings.HasPrefix(lines[i+1], line) {
				continue
			}
			return nil, fmt.Errorf("%s:%d: want a checkpoint: a signed note, or a line {\"checkpoint\": NOTE}", name, i+1)
		}
		list = append(list, Copy{Name: fmt.Sprintf("%s:%d", name, i+1), Note: []byte(x.Note)})
	}
	return list, nil
}
