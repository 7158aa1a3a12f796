package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"turnout/gateway/store"
)

// Open implements blob.Files.
func (b *Bucket) Open(ctx context.Context, tenant, conversation, name string) (io.ReadCloser, error) {
	r := &object{b: b, ctx: ctx, key: b.folder(tenant, conversation) + name}
	if err := r.fetch(); err != nil {
		return nil, err
	}
	return r, nil
}

// Names implements blob.Files.
func (b *Bucket) Names(ctx context.Context, tenant, conversation string) ([]string, error) {
	var names []string
	folder := b.folder(tenant, conversation)
	for o := range b.client.ListObjectsIter(ctx, b.o.Bucket, minio.ListObjectsOptions{Prefix: folder, Recursive: true}) {
		if o.Err != nil {
			return nil, b.fault(ctx, "listing objects", o.Err)
		}
		names = append(names, strings.TrimPrefix(o.Key, folder))
	}
	if err := ctx.Err(); err != nil { // a listing that is cut short has no other sign
		return nil, b.fault(ctx, "listing objects", err)
	}
	slices.Sort(names)
	return names, nil
}

// object reads an object, and goes on where it was when a connection breaks.
type object struct {
	b    *Bucket
	ctx  context.Context // of Open: it bounds the whole reading
	key  string
	body io.ReadCloser
	etag string // of the first answer: what follows must be of the same object
	size int64
	at   int64
	// broken counts the connections that broke.
	broken int
}

// fetch asks for what is not read yet.
func (r *object) fetch() error {
	var o minio.GetObjectOptions
	if r.at > 0 {
		if err := o.SetRange(r.at, 0); err != nil {
			return fmt.Errorf("the bucket: %w", err)
		}
		if r.etag != "" {
			if err := o.SetMatchETag(r.etag); err != nil {
				return fmt.Errorf("the bucket: %w", err)
			}
		}
	}
	body, info, header, err := r.b.client.GetObject(r.ctx, r.b.o.Bucket, r.key, o)
	if err != nil {
		return r.b.fault(r.ctx, "reading an object", err)
	}
	if r.at == 0 {
		r.size, r.etag = info.Size, info.ETag
	} else if !strings.HasPrefix(header.Get("Content-Range"), fmt.Sprintf("bytes %d-", r.at)) || info.ETag != r.etag {
		return errors.Join(fmt.Errorf("the bucket: reading an object: the server does not go on where the connection broke (%w)", store.ErrUnavailable), body.Close())
	}
	r.body = body
	return nil
}

// Read implements io.Reader.
func (r *object) Read(p []byte) (int, error) {
	for {
		n, err := r.body.Read(p)
		r.at += int64(n)
		switch {
		case n > 0:
			return n, nil // an error shows again with the next read
		case err == nil, errors.Is(err, io.EOF) && (r.size < 0 || r.at >= r.size):
			return 0, err // a length that is not known leaves the end to the connection
		}
		if r.broken++; r.ctx.Err() != nil || r.broken > r.b.o.Attempts {
			return 0, r.b.fault(r.ctx, "reading an object", err)
		}
		if err := r.again(); err != nil {
			return 0, err
		}
	}
}

// again closes what broke and asks for the rest.
func (r *object) again() error {
	_ = r.body.Close() // it is broken
	r.body = broken{}
	return r.fetch()
}

// broken is the body between one that broke and the next.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
func (broken) Close() error             { return nil }

// Close implements io.Closer.
func (r *object) Close() error { return r.body.Close() }
