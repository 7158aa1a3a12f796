package s3

import (
	"context"
	"fmt"

	"github.com/minio/minio-go/v7"

	"turnout/gateway/store"
)

// rounds is how often what lies under a name is listed and removed until a listing finds nothing. Two do, unless somebody
// puts meanwhile.
const rounds = 5

// Remove implements blob.Files.
func (b *Bucket) Remove(ctx context.Context, tenant, conversation, name string) error {
	return b.clear(ctx, b.folder(tenant, conversation)+name)
}

// RemoveAll implements blob.Files.
func (b *Bucket) RemoveAll(ctx context.Context, tenant, conversation string) error {
	return b.clear(ctx, b.folder(tenant, conversation))
}

// clear removes all whose names begin with prefix. The name of a file has one length, so none begins with another's.
func (b *Bucket) clear(ctx context.Context, prefix string) error {
	// Versions may have been switched on since the last look, by anybody who may do that.
	versions, err := b.versioned(ctx)
	if err != nil {
		return err
	}
	for range rounds {
		found, err := b.sweep(ctx, prefix, versions)
		if err != nil {
			return err
		}
		if found == 0 {
			return nil
		}
	}
	return fmt.Errorf("the bucket: removing objects: some are there again after each of %d rounds (%w)", rounds, store.ErrUnavailable)
}

// versioned reports whether older versions of objects may be there: also when they are no longer kept.
func (b *Bucket) versioned(ctx context.Context) (bool, error) {
	ctx, cancel := b.brief(ctx)
	defer cancel()
	v, err := b.client.GetBucketVersioning(ctx, b.o.Bucket)
	if lacks(err) {
		return false, nil // a server that cannot keep any
	}
	if err != nil {
		return false, b.fault(ctx, "asking whether it keeps versions", err)
	}
	return v.Status != "", nil
}

// sweep removes what a listing finds, and returns how much that was.
func (b *Bucket) sweep(ctx context.Context, prefix string, versions bool) (found int, err error) {
	for o := range b.client.ListObjectsIter(ctx, b.o.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true, WithVersions: versions}) {
		if o.Err != nil {
			return found, b.fault(ctx, "listing objects", o.Err)
		}
		found++
		if err := b.remove(ctx, o.Key, o.VersionID); err != nil {
			return found, err
		}
	}
	if err := ctx.Err(); err != nil { // a listing that is cut short has no other sign
		return found, b.fault(ctx, "listing objects", err)
	}
	n, err := b.sweepUploads(ctx, prefix)
	return found + n, err
}

// remove removes a version of an object, or with none the object.
func (b *Bucket) remove(ctx context.Context, key, version string) error {
	ctx, cancel := b.brief(ctx)
	defer cancel()
	err := b.client.RemoveObject(ctx, b.o.Bucket, key, minio.RemoveObjectOptions{VersionID: version})
	if err == nil {
		return nil
	}
	if err := b.fault(ctx, "removing an object", err); err != store.ErrNotFound {
		return err
	}
	return nil // another was faster
}

// sweepUploads aborts the uploads that were begun and not ended: their parts are kept until then.
func (b *Bucket) sweepUploads(ctx context.Context, prefix string) (found int, err error) {
	key, upload := "", ""
	for {
		page, err := b.uploads(ctx, prefix, key, upload)
		if lacks(err) || minio.ToErrorResponse(err).Code == noSuchUpload {
			return found, nil // there are none, or none that the server would tell of
		}
		if err != nil {
			return found, b.fault(ctx, "listing uploads", err)
		}
		for _, u := range page.Uploads {
			found++
			if err := b.abort(ctx, u.Key, u.UploadID); err != nil {
				return found, err
			}
		}
		if !page.IsTruncated || page.NextKeyMarker == key && page.NextUploadIDMarker == upload {
			return found, nil
		}
		key, upload = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

func (b *Bucket) uploads(ctx context.Context, prefix, key, upload string) (minio.ListMultipartUploadsResult, error) {
	ctx, cancel := b.brief(ctx)
	defer cancel()
	return b.client.ListMultipartUploads(ctx, b.o.Bucket, prefix, key, upload, "", 1000)
}
