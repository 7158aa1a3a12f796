package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"syscall"

	"github.com/minio/minio-go/v7"

	"turnout/gateway/store"
)

// RefusedError says that the server answers, and that the bucket cannot be used as it is set up. It is a
// store.ErrUnavailable that waiting does not mend.
type RefusedError struct {
	Bucket string
	Why    string // what about it, and how to mend it
}

func (e *RefusedError) Error() string { return fmt.Sprintf("the bucket %q %s", e.Bucket, e.Why) }

// Unwrap returns store.ErrUnavailable.
func (e *RefusedError) Unwrap() error { return store.ErrUnavailable }

// fault says what became of a request. Nothing of the server's own words is kept but its code: messages name keys, hosts
// and accounts.
func (b *Bucket) fault(ctx context.Context, doing string, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
		return fmt.Errorf("the bucket: %s: %w", doing, cause)
	} else if cause != nil {
		return fmt.Errorf("the bucket: %s took too long: %w (%w)", doing, cause, store.ErrUnavailable)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the bucket: %s: the folder of files on their way is full: %w", doing, store.ErrFull)
	}
	var resp minio.ErrorResponse
	if !errors.As(err, &resp) {
		var at *url.Error // it has the URL, and so the names of a tenant and a conversation, in it
		if errors.As(err, &at) {
			err = at.Err
		}
		// It is not wrapped: whoever reads a file would take an io.EOF in it for the file's end.
		return fmt.Errorf("the bucket: %s: %v (%w)", doing, err, store.ErrUnavailable)
	}
	refused := func(format string, args ...any) error { return &RefusedError{b.o.Bucket, fmt.Sprintf(format, args...)} }
	code := word(resp.Code)
	switch {
	case resp.Code == minio.NoSuchBucket:
		return refused("does not exist: make it, or look at endpoint, bucket and path_style")
	case resp.Code == minio.NoSuchKey, resp.Code == "NoSuchVersion":
		return store.ErrNotFound
	case slices.Contains([]string{"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired"}, resp.Code), resp.StatusCode == http.StatusUnauthorized:
		return refused("refuses the keys while %s (%s): look at access_key and secret_key", doing, code)
	case resp.Code == "RequestTimeTooSkewed":
		return refused("refuses the time of this machine (%s): set its clock", code)
	case slices.Contains([]string{"AuthorizationHeaderMalformed", "InvalidRegion", "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException"}, resp.Code):
		where := ""
		if resp.Region != "" {
			where = ", it says " + word(resp.Region)
		}
		return refused("lies elsewhere (%s%s): look at region and endpoint", code, where)
	case slices.Contains([]string{"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage"}, resp.Code), resp.StatusCode == http.StatusInsufficientStorage:
		return fmt.Errorf("the bucket: %s: %s: %w", doing, code, store.ErrFull)
	case resp.StatusCode == http.StatusForbidden:
		return refused("refuses %s (%s): the keys need s3:ListBucket, s3:ListBucketVersions, s3:ListBucketMultipartUploads, s3:GetBucketVersioning, "+
			"s3:GetObject, s3:PutObject, s3:DeleteObject, s3:DeleteObjectVersion and s3:AbortMultipartUpload", doing, code)
	}
	return fmt.Errorf("the bucket: %s: the server answers %d %s (%w)", doing, resp.StatusCode, code, store.ErrUnavailable)
}

var wordForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// word is what may be shown of a server's word.
func word(s string) string {
	if wordForm.MatchString(s) {
		return s
	}
	return "without a code"
}

// lacks reports whether a server does not know what was asked for: it says so, or takes the question for another, as some do
// that overlook what they do not know in a query.
func lacks(err error) bool {
	if other := xml.UnmarshalError(""); errors.As(err, &other) {
		return true
	}
	var resp minio.ErrorResponse
	if !errors.As(err, &resp) {
		return false
	}
	return resp.Code == "NotImplemented" || resp.Code == "MethodNotAllowed" || resp.StatusCode == http.StatusNotImplemented || resp.StatusCode == http.StatusMethodNotAllowed
}
