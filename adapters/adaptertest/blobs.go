package adaptertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"turnout/adapters"
	"turnout/adapters/message"
)

type blob struct {
	from       message.Address
	attachment message.Attachment
	content    []byte
}

// Put implements adapters.Blobs.
func (w *World) Put(_ context.Context, from message.Address, name string, r io.Reader, limit int64) (message.Attachment, error) {
	content, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return message.Attachment{}, fmt.Errorf("reading the file: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != nil {
		return message.Attachment{}, w.fault
	}
	if int64(len(content)) > limit {
		return message.Attachment{}, &adapters.RefusedError{Code: "too_large", Detail: "The file is too large."}
	}
	w.open(from)
	a := message.Attachment{
		ID: fmt.Sprintf("a_%04d", len(w.blobs)+1), Name: name, Type: http.DetectContentType(content), Size: int64(len(content)),
	}
	w.blobs[a.ID] = blob{from: from, attachment: a, content: content}
	return a, nil
}

// Get implements adapters.Blobs.
func (w *World) Get(_ context.Context, from message.Address, id string) (message.Attachment, io.ReadCloser, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.blobs[id]
	if !ok || b.from != from {
		return message.Attachment{}, nil, adapters.ErrNotFound
	}
	return b.attachment, io.NopCloser(bytes.NewReader(b.content)), nil
}
