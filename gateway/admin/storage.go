package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"path/filepath"

	"turnout/adapters/problem"
	"turnout/gateway/api"
)

// Storage looks after the store of a running node. Each writes a line of JSON now and then, and the last says what came of
// it: it has "done", or an "error".
type Storage struct {
	Backup func(ctx context.Context, to, by string, line func(any) error) error
	Check  func(ctx context.Context, repair bool, by string, line func(any) error) error
	Log    *slog.Logger
}

// Routes returns the operator's routes.
func (s Storage) Routes() []api.Route {
	return []api.Route{
		{Method: "POST", Path: "/v1/admin/node/backup", Access: api.Operator, Handle: s.backup},
		{Method: "POST", Path: "/v1/admin/node/check", Access: api.Operator, Handle: s.check},
	}
}

// backupBody says where a backup goes: a folder of the node's machine that is not there yet.
type backupBody struct {
	To string `json:"to"`
}

func (s Storage) backup(c *api.Call) (any, error) {
	var body backupBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(body.To) {
		return nil, api.Refuse(problem.CodeBadRequest, "to must be an absolute path of a folder that is not there yet.")
	}
	by := c.Actor()
	return s.lines(c, "backup.jsonl", func(ctx context.Context, line func(any) error) error {
		return s.Backup(ctx, filepath.Clean(body.To), by, line)
	}), nil
}

// checkBody says whether what can be mended is.
type checkBody struct {
	Repair bool `json:"repair"`
}

func (s Storage) check(c *api.Call) (any, error) {
	var body checkBody
	if b, err := c.Body(); err != nil {
		return nil, err
	} else if len(b) > 0 {
		if err := c.Decode(&body); err != nil {
			return nil, err
		}
	}
	by := c.Actor()
	return s.lines(c, "check.jsonl", func(ctx context.Context, line func(any) error) error {
		return s.Check(ctx, body.Repair, by, line)
	}), nil
}

// storageFailed is the last line of what went wrong.
type storageFailed struct {
	Error string `json:"error"`
}

func (s Storage) lines(c *api.Call, name string, do func(context.Context, func(any) error) error) *api.Stream {
	return piped(c, s.Log, "application/jsonl", name, func(ctx context.Context, w io.Writer) error {
		out := json.NewEncoder(w)
		if err := do(ctx, out.Encode); err != nil {
			s.Log.Error("looking after the store", "what", name, "err", err)
			return out.Encode(storageFailed{err.Error()})
		}
		return nil
	})
}
