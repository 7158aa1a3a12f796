package admin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"turnout/gateway/api"
)

const (
	// exportTime is how long a client may take to fetch an export.
	exportTime = time.Hour
	// fileTime is the form of times in the names of files.
	fileTime = "20060102T150405Z"
)

// piped is an answer that write makes as fast as the client reads it. What goes wrong on the way breaks the connection off:
// half an export must not look like a whole one.
func piped(c *api.Call, log *slog.Logger, kind, name string, write func(context.Context, io.Writer) error) *api.Stream {
	r, w := io.Pipe()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), exportTime)
	go func() {
		defer cancel()
		defer func() {
			if v := recover(); v != nil {
				log.Error("recovered from a panic", "in", "an export", "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
				w.CloseWithError(io.ErrUnexpectedEOF)
			}
		}()
		err := write(ctx, w)
		if err != nil {
			log.Warn("an export ended early", "file", name, "err", err)
		}
		w.CloseWithError(err) // nil: the end
	}()
	return &api.Stream{Type: kind, Name: name, Size: -1, Time: exportTime, Body: r}
}
