package admin

import (
	"errors"
	"fmt"

	"github.com/valyala/fasthttp"

	"turnout/gateway/api"
	"turnout/gateway/config"
	"turnout/gateway/resource"
	"turnout/gateway/store"
	"turnout/rules"
)

// The codes that these routes add to those of problem.
const (
	CodeInvalidConfig = "invalid_config"
	CodeManagedByFile = "managed_by_file"
	CodeInUse         = "in_use"
)

// fault is a mistake in a configuration, as an answer shows it.
type fault struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

// faulty turns what a change of the configuration fails with into what its author has to know.
func faulty(err error) error {
	var managed *resource.FileError
	var faults config.Faults
	var ruleFaults rules.Faults
	switch {
	case errors.As(err, &managed):
		return &api.Problem{
			Status: fasthttp.StatusConflict, Code: CodeManagedByFile,
			Detail: fmt.Sprintf("The %s %s stands in %s. Change it there and reload the node.", managed.Kind, managed.Name, managed.File),
		}
	case errors.As(err, &faults):
		list := make([]fault, len(faults))
		for i, f := range faults {
			list[i] = fault{f.File, f.Line, f.Column, f.Message}
		}
		return invalid(list)
	case errors.As(err, &ruleFaults):
		list := make([]fault, len(ruleFaults))
		for i, f := range ruleFaults {
			list[i] = fault{f.File, f.Line, f.Column, f.Message}
		}
		return invalid(list)
	case errors.Is(err, store.ErrStale):
		return api.Refuse("stale", "The configuration has changed in between. Read it again.")
	}
	return err
}

func invalid(faults []fault) error {
	return &api.Problem{
		Status: fasthttp.StatusUnprocessableEntity, Code: CodeInvalidConfig,
		Detail: fmt.Sprintf("The configuration has %d faults; what was in force before stays in force. The first: %s", len(faults), faults[0].Message),
		Extra:  map[string]any{"faults": faults},
	}
}
