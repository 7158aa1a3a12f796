package s3_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"turnout/gateway/store"
	"turnout/gateway/store/blob"
	"turnout/gateway/store/blob/blobtest"
)

// startServer starts the server of deploy/testbed/s3, which is not of this project and knows its keys, and returns its URL. Without the variable that names its folder there is none.
func startServer(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TURNOUT_S3")
	if dir == "" {
		t.Log("TURNOUT_S3 is not set: make test sets it and runs the suite on a server of the S3 API")
		return ""
	}
	cmd := exec.Command("node", filepath.Join(dir, "node_modules", "s3rver", "bin", "s3rver.js"),
		"--directory", t.TempDir(), "--address", "127.0.0.1", "--port", "0", "--silent", "--configure-bucket", bucketName)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("starting the server of %s: %v", dir, err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, at, ok := strings.Cut(lines.Text(), "listening on "); ok {
			return "http://" + strings.TrimSpace(at)
		}
	}
	_ = cmd.Wait() // what it said is whole then
	t.Fatalf("the server of %s said %q and ended: is it installed? make does it", dir, said.String())
	return ""
}

// TestServer runs the suite, and parts, against that server.
func TestServer(t *testing.T) {
	url := startServer(t)
	if url == "" {
		return
	}
	raw := rawClient(t, url, "S3RVER", "S3RVER")
	names := 0
	blobtest.Run(t, func(t *testing.T) blobtest.World {
		o := options(t, url)
		names++
		o.AccessKey, o.SecretKey, o.Prefix = "S3RVER", "S3RVER", o.Prefix+string(rune('a'+names))+"/"
		return world(t, raw, o, false)
	})
	o := options(t, url)
	o.AccessKey, o.SecretKey = "S3RVER", "S3RVER"
	b, key := open(t, o), blobtest.Key(t)
	if err := b.Try(t.Context()); err != nil {
		t.Errorf("as at a start: %v", err)
	}
	blobs, body := blob.New(b), blobtest.Random(t, 11<<20)
	name := blobtest.Put(t, blobs, key, body)
	if got, err := blobtest.Get(t, blobs, key, name); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d of %d bytes back, %v", len(got), len(body), err)
	}
	if err := blobs.RemoveAll(t.Context(), "acme", "c_1"); err != nil {
		t.Error(err)
	}
	for what, says := range map[string]string{"bucket": "does not exist", "key": "access_key"} {
		wrong := o
		switch what {
		case "bucket":
			wrong.Bucket = "nowhere"
		case "key":
			wrong.AccessKey = "stranger"
		}
		b := open(t, wrong)
		if err := b.Try(t.Context()); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), says) {
			t.Errorf("a wrong %s: %v", what, err)
		}
	}
}
