package pipeline_test

import (
	"context"
	"io"
	"strings"

	"turnout/gateway/store"
)

// memory keeps the bytes of a file in its name.
type memory struct{}

func (memory) Put(_ context.Context, _ store.Ref, body io.Reader, _ int64) (string, int64, error) {
	b, err := io.ReadAll(body)
	return string(b), int64(len(b)), err
}

func (memory) Open(_ context.Context, _ store.Ref, name string) (io.ReadCloser, error) {
	return io.NopCloser(reader(name)), nil
}

func (memory) TooLarge(error) bool { return false }

func reader(s string) io.Reader { return strings.NewReader(s) }
