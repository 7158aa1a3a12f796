package replay

import "strings"

// Check is the outcome of recomputing one judgement.
type Check struct {
	// Equal: the same came out again.
	Equal bool `json:"equal"`
	// Differs says what did not, with what was recorded and what came out now.
	Differs []string `json:"differs,omitempty"`
	// Missing says what could not be recomputed, and why.
	Missing []string `json:"missing,omitempty"`
}

func (c *Check) String() string {
	var parts []string
	switch {
	case len(c.Differs) > 0:
		parts = append(parts, "RECOMPUTED: differs: "+strings.Join(c.Differs, "; "))
	case c.Equal:
		parts = append(parts, "recomputed: equal")
	}
	if len(c.Missing) > 0 {
		parts = append(parts, "not recomputed: "+strings.Join(c.Missing, "; "))
	}
	return strings.Join(parts, "; ")
}
