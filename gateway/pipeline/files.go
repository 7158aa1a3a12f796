package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gabriel-vasile/mimetype"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// Blobs keeps bytes under the key of a conversation.
type Blobs interface {
	// Put stores at most max bytes durably and returns their name. More is ErrTooLarge of the implementation's own, told
	// by TooLarge.
	Put(ctx context.Context, r store.Ref, body io.Reader, max int64) (name string, size int64, err error)
	Open(ctx context.Context, r store.Ref, name string) (io.ReadCloser, error)
	TooLarge(err error) bool
}

// Files is adapters.Blobs for one channel.
type Files struct {
	edge  *Edge
	blobs Blobs
}

var _ adapters.Blobs = (*Files)(nil)

// Files returns the attachments of the edge's channel.
func (e *Edge) Files(b Blobs) *Files { return &Files{edge: e, blobs: b} }

// sniffBytes is what the detection of a media type looks at.
const sniffBytes = 3072

// Put implements adapters.Blobs. The bytes are durable before the row that names them is.
func (f *Files) Put(ctx context.Context, from message.Address, name string, r io.Reader, max int64) (message.Attachment, error) {
	ref, err := f.edge.onCurrent(ctx, from, nil)
	if err != nil {
		return message.Attachment{}, err
	}
	head := make([]byte, sniffBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return message.Attachment{}, &adapters.RefusedError{Code: "bad_request", Detail: "The file ended early. Send it again."}
	}
	head = head[:n]
	blob, size, err := f.blobs.Put(ctx, ref, io.MultiReader(bytes.NewReader(head), r), max)
	switch {
	case err != nil && f.blobs.TooLarge(err):
		return message.Attachment{}, &adapters.RefusedError{Code: "too_large", Detail: fmt.Sprintf("The file is larger than %d bytes.", max)}
	case err != nil:
		return message.Attachment{}, unavailable(err)
	}
	a := message.Attachment{
		ID: f.edge.p.IDs.New(id.Attachment, partition(ref)), Name: name, Type: mimetype.Detect(head).String(), Size: size,
	}
	return a, f.attach(ctx, ref, store.Attachment{Attachment: a, Blob: blob})
}

// attach commits the row of an attachment.
func (f *Files) attach(ctx context.Context, ref store.Ref, a store.Attachment) error {
	p := f.edge.p
	op := store.Token(p.IDs.Token())
	for {
		snap, err := p.Store.Load(ctx, ref)
		if err != nil {
			return unavailable(err)
		}
		_, err = p.commit(ctx, store.Step{Ref: ref, Op: op, Base: snap.Version, State: snap.State, Attach: []store.Attachment{a}})
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, store.ErrStale) || ctx.Err() != nil:
			return unavailable(err)
		}
	}
}

// Get implements adapters.Blobs: the id is looked for in the sender's conversations, the present one first.
func (f *Files) Get(ctx context.Context, from message.Address, attachment string) (message.Attachment, io.ReadCloser, error) {
	p := f.edge.p
	from.Channel = f.edge.ch().Key
	found, err := p.Store.Find(ctx, f.edge.ch().Tenant.Handle, from, nil)
	if err != nil {
		return message.Attachment{}, nil, unavailable(err)
	}
	for snap := found.Snapshot; snap != nil; {
		a, body, err := f.Open(ctx, snap.Ref, attachment)
		if !errors.Is(err, adapters.ErrNotFound) || snap.State.Previous == "" {
			return a, body, err
		}
		snap, err = p.Store.Load(ctx, store.Ref{Tenant: snap.Ref.Tenant, ID: snap.State.Previous})
		if errors.Is(err, store.ErrErased) {
			return message.Attachment{}, nil, adapters.ErrNotFound
		}
		if err != nil {
			return message.Attachment{}, nil, unavailable(err)
		}
	}
	return message.Attachment{}, nil, adapters.ErrNotFound
}

// Open opens an attachment of one conversation, for the tenant's people.
func (f *Files) Open(ctx context.Context, ref store.Ref, attachment string) (message.Attachment, io.ReadCloser, error) {
	return f.edge.p.OpenFile(ctx, f.blobs, ref, attachment)
}

// OpenFile opens an attachment of a conversation.
func (p *Pipeline) OpenFile(ctx context.Context, b Blobs, ref store.Ref, attachment string) (message.Attachment, io.ReadCloser, error) {
	a, err := p.Store.Attachment(ctx, ref, attachment)
	if errors.Is(err, store.ErrNotFound) {
		return message.Attachment{}, nil, adapters.ErrNotFound
	}
	if err != nil {
		return message.Attachment{}, nil, unavailable(err)
	}
	body, err := b.Open(ctx, ref, a.Blob)
	if err != nil {
		return message.Attachment{}, nil, unavailable(err)
	}
	return a.Attachment, body, nil
}
