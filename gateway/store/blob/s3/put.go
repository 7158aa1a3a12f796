package s3

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"turnout/gateway/store"
)

// mediaType is all that a bucket learns of what a file is.
const mediaType = "application/octet-stream"

// Write implements blob.Files.
func (b *Bucket) Write(ctx context.Context, tenant, conversation string, fill func(io.Writer) (string, error)) error {
	s := b.newSpool()
	defer s.close()
	name, err := fill(s)
	if err != nil {
		return b.spooling(err)
	}
	ctx, cancel := context.WithTimeout(ctx, b.o.Patience+time.Duration(s.size/slowest)*time.Second)
	defer cancel()
	key := b.folder(tenant, conversation) + name
	if parts := s.end(); len(parts) > 1 {
		return b.putParts(ctx, key, s, parts)
	}
	body, size := s.of(0)
	_, err = b.client.PutObject(ctx, b.o.Bucket, key, body, size, s.sums[0].md5, s.sums[0].sha, putOptions)
	if err != nil {
		return b.missing(b.fault(ctx, "putting an object", err))
	}
	return nil
}

// putOptions turn off what signs a body piece by piece: its hash is known and stands in the signature, which every server
// understands.
var putOptions = minio.PutObjectOptions{ContentType: mediaType, DisableContentSha256: true}

// spooling names a full disk; other errors are the caller's own.
func (b *Bucket) spooling(err error) error {
	if full := b.fault(context.Background(), "keeping a file", err); errors.Is(full, store.ErrFull) {
		return full
	}
	return err
}

// missing makes "not found", which for what is written can only be the place, an error of the place.
func (b *Bucket) missing(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return &RefusedError{b.o.Bucket, "answers that it does not know what is put into it: look at endpoint and path_style"}
	}
	return err
}

// putParts puts a file in parts, one after the other. What was begun is ended or aborted.
func (b *Bucket) putParts(ctx context.Context, key string, s *spool, sums []sums) error {
	upload, err := b.client.NewMultipartUpload(ctx, b.o.Bucket, key, putOptions)
	if err != nil {
		return b.missing(b.fault(ctx, "beginning an upload", err))
	}
	parts := make([]minio.CompletePart, len(sums))
	for i, sum := range sums {
		body, size := s.of(i)
		part, err := b.client.PutObjectPart(ctx, b.o.Bucket, key, upload, i+1, body, size, minio.PutObjectPartOptions{
			Md5Base64: sum.md5, Sha256Hex: sum.sha, DisableContentSha256: true,
		})
		if err != nil {
			return errors.Join(b.missing(b.fault(ctx, "putting a part of an object", err)), b.abort(ctx, key, upload))
		}
		parts[i] = minio.CompletePart{PartNumber: i + 1, ETag: part.ETag}
	}
	_, err = b.client.CompleteMultipartUpload(ctx, b.o.Bucket, key, upload, parts, minio.PutObjectOptions{})
	if err == nil {
		return nil
	}
	// The answer of an attempt that succeeded may have been lost: a repeat finds no upload any more, but the object.
	if info, statErr := b.client.StatObject(ctx, b.o.Bucket, key, minio.StatObjectOptions{}); statErr == nil && info.Size == s.size {
		return nil
	}
	return errors.Join(b.missing(b.fault(ctx, "ending an upload", err)), b.abort(ctx, key, upload))
}

// abort gives an upload up, also when nobody waits any more. What cannot be aborted now goes with its conversation.
func (b *Bucket) abort(ctx context.Context, key, upload string) error {
	ctx, cancel := b.brief(context.WithoutCancel(ctx))
	defer cancel()
	err := b.client.AbortMultipartUpload(ctx, b.o.Bucket, key, upload)
	if err == nil || minio.ToErrorResponse(err).Code == noSuchUpload {
		return nil
	}
	return b.fault(ctx, "aborting an upload", err)
}

const noSuchUpload = "NoSuchUpload"
