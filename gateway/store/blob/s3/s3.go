// Package s3 is blob.Files in a bucket of a server that speaks the S3 API.
//
// A file is an object named <prefix><tenant>/<conversation>/<name>. It is sealed before it comes here, into memory or, from
// a certain size, into a file that has no name: the server, and a disk on the way, see sealed bytes only. The name is known
// when all of it is sealed, and with it what the server needs to check every byte: its length, its MD5 and its SHA-256, the
// latter as part of the signature. So a request can be sent again as it is, and is, when the server is busy or the
// connection breaks: under one name lies the same plaintext always, and putting or removing twice is doing it once.
//
// Write returns when the server has acknowledged the object, which for a server of this kind means that it is durable.
//
// In a bucket with versions removing an object only hides it. Here every version goes, and uploads that were begun and not
// ended; and all that lies under a conversation is removed only when a listing afterwards finds nothing.
package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"turnout/gateway/store"
	"turnout/gateway/store/blob"
)

var _ blob.Files = (*Bucket)(nil)

// Options say which bucket and how to reach it. Endpoint, Bucket, AccessKey and SecretKey are required.
type Options struct {
	// Endpoint is the server's URL without a path, such as "https://s3.eu-central-1.amazonaws.com". Certificates are
	// verified.
	Endpoint string
	// Region is part of what is signed; empty means us-east-1, which servers that have no regions expect.
	Region string
	Bucket string
	// Prefix begins the name of every object, so that a bucket can hold other things too.
	Prefix string
	// PathStyle says that the bucket stands in the path of a URL (true) or in the name of its host (false); nil: in the path,
	// but for services that are known to want the other.
	PathStyle            *bool
	AccessKey, SecretKey string

	// Spool is the folder of files on their way; empty means the system's for temporary files. From Memory bytes on (0: 256
	// KiB) a sealed file waits there. One larger than Part (0: 16 MiB; servers want at least 5 MiB) is put in parts.
	Spool  string
	Memory int
	Part   int64
	// Attempts is how often a request is sent before it has failed; 0 means 5. Idle is how long a server may neither take
	// nor give a byte, 0 means 30 s; Patience is how long a request without a body may take, 0 means 60 s.
	Attempts int
	Idle     time.Duration
	Patience time.Duration
	// Transport carries requests in the place of one over TCP; for tests.
	Transport http.RoundTripper
}

// Bucket is blob.Files in a bucket. It is safe for concurrent use.
type Bucket struct {
	o      Options
	client minio.Core
}

// slowest is the rate in bytes per second under which an upload is given up.
const slowest = 64 << 10

// New returns the files in a bucket. It does not connect: Try does.
func New(o Options) (*Bucket, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return nil, errors.New(`the endpoint must be a scheme and a host, such as "https://s3.eu-central-1.amazonaws.com"`)
	}
	if o.AccessKey == "" || o.SecretKey == "" {
		return nil, errors.New("the access key or the secret key of the bucket is empty")
	}
	defaultTo(&o.Region, "us-east-1")
	defaultTo(&o.Memory, 256<<10)
	defaultTo(&o.Part, 16<<20)
	defaultTo(&o.Attempts, 5)
	defaultTo(&o.Idle, 30*time.Second)
	defaultTo(&o.Patience, time.Minute)
	if o.Transport == nil {
		o.Transport = transport(o.Idle)
	}
	lookup := minio.BucketLookupAuto
	if o.PathStyle != nil && *o.PathStyle {
		lookup = minio.BucketLookupPath
	} else if o.PathStyle != nil {
		lookup = minio.BucketLookupDNS
	}
	client, err := minio.NewCore(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""), Secure: u.Scheme == "https", Region: o.Region,
		BucketLookup: lookup, Transport: settled{o.Transport}, MaxRetries: o.Attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("the bucket cannot be used: %w", err)
	}
	return &Bucket{o: o, client: *client}, nil
}

func defaultTo[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// transport carries requests over connections that fail when nothing moves for idle.
func transport(idle time.Duration) *http.Transport {
	dial := (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return movingConn{c, idle}, nil
		},
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: idle, ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: min(idle, 20*time.Second),
		DisableCompression: true, // what is sealed is not compressed, and its length is what is asked for
	}
}

// movingConn is a connection whose deadlines move on with every byte.
type movingConn struct {
	net.Conn
	idle time.Duration
}

func (c movingConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write moves the deadline of reading too: a read waits for the answer all the time that a long body is written.
func (c movingConn) Write(b []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// folder is what the names of a conversation's objects begin with.
func (b *Bucket) folder(tenant, conversation string) string {
	return b.o.Prefix + tenant + "/" + conversation + "/"
}

// brief bounds a request without a body.
func (b *Bucket) brief(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.o.Patience)
}

// Reach implements blob.Files: whether the bucket is there and may be listed, and whether what is removed from it is gone.
func (b *Bucket) Reach(ctx context.Context) error {
	ctx, cancel := b.brief(ctx)
	defer cancel()
	if _, err := b.versioned(ctx); err != nil {
		return err
	}
	for o := range b.client.ListObjectsIter(ctx, b.o.Bucket, minio.ListObjectsOptions{Prefix: b.o.Prefix, MaxKeys: 1}) {
		if o.Err != nil {
			return b.fault(ctx, "listing it", o.Err)
		}
		break
	}
	// What a rule keeps cannot be erased. Most servers know nothing of locks; that is as good as having none.
	_, mode, _, _, err := b.client.GetObjectLockConfig(ctx, b.o.Bucket)
	if err == nil && mode != nil {
		return &RefusedError{b.o.Bucket, fmt.Sprintf("locks its objects (%s): what is in it cannot be erased; use one without a default retention", word(mode.String()))}
	}
	return nil
}

// Try does what serving needs: it reaches the bucket, and puts, reads and removes a small object beside those of tenants.
func (b *Bucket) Try(ctx context.Context) error {
	if err := b.Reach(ctx); err != nil {
		return err
	}
	const tenant, conversation = ".turnout", "probe" // no tenant's name begins with a dot
	name, text := rand.Text(), rand.Text()
	err := b.Write(ctx, tenant, conversation, func(w io.Writer) (string, error) {
		_, err := io.WriteString(w, text)
		return name, err
	})
	if err != nil {
		return err
	}
	r, err := b.Open(ctx, tenant, conversation, name)
	var got []byte
	if err == nil {
		got, err = io.ReadAll(r)
		err = errors.Join(err, r.Close())
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = &RefusedError{b.o.Bucket, "does not have what was just put into it: is something between that caches?"}
	case err == nil && string(got) != text:
		err = &RefusedError{b.o.Bucket, "gives back other bytes than were put into it"}
	}
	return errors.Join(err, b.Remove(ctx, tenant, conversation, name))
}
