package story

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"turnout/gateway/store/redis/redistest"
)

// bucketServer has a bucket that keeps versions, and can be away.
type bucketServer struct {
	*httptest.Server
	*minio.Core
	away atomic.Bool
	name string
}

func newBucketServer(t *testing.T) *bucketServer {
	t.Helper()
	fake := gofakes3.New(s3mem.New()).Server()
	b := &bucketServer{name: "attachments"}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.away.Load() {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(b.Server.Close)
	var err error
	b.Core, err = minio.NewCore(strings.TrimPrefix(b.URL, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4("someone", "else", ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath,
	})
	if err == nil {
		err = b.MakeBucket(t.Context(), b.name, minio.MakeBucketOptions{})
	}
	if err == nil {
		err = b.EnableVersioning(t.Context(), b.name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// objects returns the bytes of all that is in the bucket, versions and marks of deletion too, by name and version.
func (b *bucketServer) objects(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for o := range b.ListObjectsIter(t.Context(), b.name, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		at := o.Key + "@" + o.VersionID
		if all[at] = nil; o.IsDeleteMarker {
			continue
		}
		body, _, _, err := b.GetObject(t.Context(), b.name, o.Key, minio.GetObjectOptions{VersionID: o.VersionID})
		if err == nil {
			all[at], err = io.ReadAll(body)
			body.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestOneBucket: a customer leaves a file on one node and an agent reads it on the other, with a bucket between them that
// keeps versions; of an erased conversation nothing is left there; and a bucket that is away takes files along, and no more.
func TestOneBucket(t *testing.T) {
	bucket := newBucketServer(t)
	nodes := newNodes(t, redistest.Start(t, redistest.Durable()...), newTestBot(t).URL, 5*time.Second, 2)
	const secret = "canary-of-the-bucket-5d41402a"
	for _, n := range nodes {
		n.write("data/keys/bucket.access", "turnout")
		n.write("data/keys/bucket.secret", secret)
		n.inBucket(bucket, bucket.name)
	}
	a, b := nodes[0], nodes[1]
	ctx := longCtx(t, 3*time.Minute)
	if out, err := a.connect(); err != nil || !strings.Contains(out, `ok    attachments in bucket "attachments": `) {
		t.Fatalf("check --connect: %v\n%s", err, out)
	}
	a.start()
	b.start()

	c := a.visitor(ctx)
	file := bytes.Repeat([]byte("a plain-text-canary of the customer. "), 30_000) // a megabyte
	id, err := c.upload(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	var said answer
	if err := c.do(ctx, "/v1/web/shop.web/messages", "", map[string]any{"id": "1", "text": "a broken lamp", "attachments": []string{id}}, &said); err != nil {
		t.Fatal(err)
	}
	if _, err := c.say(ctx, "2", "agent"); err != nil {
		t.Fatal(err)
	}
	got, err := b.agent("ana").download(ctx, "/v1/agent/conversations/"+said.Conversation+"/attachments/"+id)
	if err != nil || !bytes.Equal(got, file) {
		t.Errorf("the agent on the other node reads %d of %d bytes, %v", len(got), len(file), err)
	}
	kept := bucket.objects(t)
	if len(kept) != 1 {
		t.Errorf("%d objects for one file", len(kept))
	}
	for at, body := range kept {
		if !strings.HasPrefix(at, "turnout/shop/"+said.Conversation+"/") || bytes.Contains(body, []byte("canary")) {
			t.Errorf("object %s: %d bytes", at, len(body))
		}
	}
	if left, _ := filepath.Glob(filepath.Join(a.dir, "data", "turnout-upload-*")); len(left) > 0 {
		t.Errorf("left behind on the way: %v", left)
	}

	run(t, binary, "privacy", "erase", "--config", filepath.Join(b.dir, "turnout.yaml"), "--conversation", said.Conversation, "--wait")
	if kept := bucket.objects(t); len(kept) != 0 {
		t.Errorf("of the erased conversation %d versions are left", len(kept))
	}

	// Away: what needs no file goes on, and the node says what is missing.
	bucket.away.Store(true)
	if out, err := b.connect(); err == nil || !strings.Contains(out, "FAULT attachments") {
		t.Errorf("check --connect without the server: %v\n%s", err, out)
	}
	b.stop()
	b.start()
	d := b.visitor(ctx)
	if said, err := d.say(ctx, "1", "hello"); err != nil || len(said.Messages) != 1 {
		t.Errorf("a message without a file: %+v, %v", said, err)
	}
	var refused *errStatus
	if _, err := d.upload(ctx, []byte("x")); !errors.As(err, &refused) || refused.status != http.StatusServiceUnavailable {
		t.Errorf("a file without the server: %v", err)
	}
	waitFor(t, ctx, func() bool { return strings.Contains(b.health(ctx), "attachments.bucket") })
	bucket.away.Store(false)
	waitFor(t, ctx, func() bool { // one that was refused may be sent again
		_, err := d.upload(ctx, []byte("x"))
		return err == nil
	})

	// A bucket that is not there keeps a node from starting.
	b.stop()
	b.inBucket(bucket, "nowhere")
	for _, args := range [][]string{{"check", "--connect"}, {"serve", "--config"}} {
		out, err := exec.CommandContext(ctx, binary, append(args, filepath.Join(b.dir, "turnout.yaml"))...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), `the bucket "nowhere" does not exist`) && !strings.Contains(string(out), `the bucket \"nowhere\" does not exist`) {
			t.Errorf("%s with a bucket that is not there: %v\n%s", args[0], err, out)
		}
	}
	for _, n := range nodes {
		if log := n.log.String(); strings.Contains(log, "canary") || strings.Contains(log, bucket.URL) {
			t.Errorf("a log has a secret, a text or an address:\n%s", log)
		}
	}
}

// inBucket has a node keep attachments in a bucket of a server.
func (n *node) inBucket(b *bucketServer, name string) {
	n.t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, "turnout.yaml"))
	if err != nil {
		n.t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(text), ", blobs: ")
	if !ok {
		n.t.Fatal("the settings name no place of attachments")
	}
	n.write("turnout.yaml", before+fmt.Sprintf(", blobs: {s3: {endpoint: %q, bucket: %s, prefix: turnout/, access_key: file:data/keys/bucket.access, secret_key: file:data/keys/bucket.secret}}}\n", b.URL, name))
}

// connect runs check --connect.
func (n *node) connect() (string, error) {
	out, err := exec.Command(binary, "check", "--connect", filepath.Join(n.dir, "turnout.yaml")).CombinedOutput()
	return string(out), err
}

// download returns a file.
func (c *client) download(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.raw(req)
}

// health is what the node says of itself.
func (n *node) health(ctx context.Context) string {
	b, err := newClient(n.ops, "").download(ctx, "/healthz")
	if err != nil {
		return err.Error()
	}
	return string(b)
}
