package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"turnout/gateway/store"
	"turnout/gateway/store/blob"
	"turnout/gateway/store/blob/blobtest"
	"turnout/gateway/store/blob/s3"
	"turnout/gateway/store/seal"
)

// server is a server of the S3 API in this process, with something before it that can go wrong.
type server struct {
	*httptest.Server
	raw *minio.Core // past what goes wrong, with keys of its own

	mu sync.Mutex
	// before, when set, may answer in the server's place, and says so.
	before func(w http.ResponseWriter, r *http.Request, s3 http.Handler) bool
	asked  []string // methods and queries
}

const bucketName = "attachments"

func newServer(t *testing.T) *server {
	t.Helper()
	fake := gofakes3.New(s3mem.New()).Server()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		before := s.before
		s.asked = append(s.asked, r.Method+" "+r.URL.RawQuery)
		s.mu.Unlock()
		if r.Header.Get("X-Behind") == "" && before != nil && before(w, r, fake) {
			return
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	s.raw = rawClient(t, s.URL, "raw", "rawrawraw")
	if err := s.raw.MakeBucket(t.Context(), bucketName, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func rawClient(t *testing.T, url, access, secret string) *minio.Core {
	t.Helper()
	c, err := minio.NewCore(strings.TrimPrefix(url, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(access, secret, ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath, Transport: behind{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// behind marks requests that go past what goes wrong.
type behind struct{}

func (behind) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Behind", "1")
	return http.DefaultTransport.RoundTrip(r)
}

// fail has the server go wrong.
func (s *server) fail(before func(w http.ResponseWriter, r *http.Request, s3 http.Handler) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.asked = before, nil
}

// count returns how many requests there were since fail that begin like this.
func (s *server) count(begin string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.asked {
		if strings.HasPrefix(a, begin) {
			n++
		}
	}
	return n
}

func options(t *testing.T, url string) s3.Options {
	return s3.Options{
		Endpoint: url, Bucket: bucketName, Prefix: "turnout/", AccessKey: "access", SecretKey: "secret-secret", Spool: t.TempDir(),
		Memory: 1000, Part: 5 << 20, // S3 refuses smaller parts
	}
}

func open(t *testing.T, o s3.Options) *s3.Bucket {
	t.Helper()
	b, err := s3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// world is a bucket for the suite, looked at past it.
func world(t *testing.T, raw *minio.Core, o s3.Options, versions bool) blobtest.World {
	at := func(tenant, conversation string) string { return o.Prefix + tenant + "/" + conversation + "/" }
	return blobtest.World{
		Files: open(t, o),
		Names: func(tenant, conversation string) []string {
			var names []string
			for i := range raw.ListObjectsIter(t.Context(), o.Bucket, minio.ListObjectsOptions{Prefix: at(tenant, conversation), Recursive: true, WithVersions: versions}) {
				if i.Err != nil {
					t.Fatal(i.Err)
				}
				if n := path.Base(i.Key); len(names) == 0 || names[len(names)-1] != n { // of versions one
					names = append(names, n)
				}
			}
			return names
		},
		Read: func(tenant, conversation, name string) []byte {
			body, _, _, err := raw.GetObject(t.Context(), o.Bucket, at(tenant, conversation)+name, minio.GetObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			b, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Write: func(tenant, conversation, name string, b []byte) {
			_, err := raw.PutObject(t.Context(), o.Bucket, at(tenant, conversation)+name, bytes.NewReader(b), int64(len(b)), "", "", minio.PutObjectOptions{DisableContentSha256: true})
			if err != nil {
				t.Fatal(err)
			}
		},
	}
}

func TestBucket(t *testing.T) {
	for _, versions := range []string{"", minio.Enabled, minio.Suspended} {
		t.Run("versions "+versions, func(t *testing.T) {
			blobtest.Run(t, func(t *testing.T) blobtest.World {
				s := newServer(t)
				if versions != "" {
					setVersions(t, s, minio.Enabled)
				}
				if versions == minio.Suspended {
					setVersions(t, s, versions)
				}
				return world(t, s.raw, options(t, s.URL), versions != "")
			})
		})
	}
}

func setVersions(t *testing.T, s *server, status string) {
	t.Helper()
	if err := s.raw.SetBucketVersioning(t.Context(), bucketName, minio.BucketVersioningConfiguration{Status: status}); err != nil {
		t.Fatal(err)
	}
}

// TestOldVersions: an erasure that left the versions of what was put twice, or what was begun, would be none. The control
// is a removal as it would be without looking for versions.
func TestOldVersions(t *testing.T) {
	s := newServer(t)
	o := options(t, s.URL)
	files, key := open(t, o), blobtest.Key(t)
	blobs := blob.New(files)
	blobtest.Put(t, blobs, key, []byte("put before there were versions"))
	setVersions(t, s, minio.Enabled) // after the look at the start
	name := blobtest.Put(t, blobs, key, []byte("a"))
	blobtest.Put(t, blobs, key, []byte("a"))
	blobtest.Put(t, blobs, key, []byte("b"))
	const folder = "turnout/acme/c_1/"
	if _, err := s.raw.NewMultipartUpload(t.Context(), bucketName, folder+"begun", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	versions := func() (n int) {
		for i := range s.raw.ListObjectsIter(t.Context(), bucketName, minio.ListObjectsOptions{Prefix: folder, Recursive: true, WithVersions: true}) {
			if i.Err != nil {
				t.Fatal(i.Err)
			}
			n++
		}
		return n
	}
	uploads := func() int {
		r, err := s.raw.ListMultipartUploads(t.Context(), bucketName, folder, "", "", "", 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(r.Uploads)
	}
	if err := s.raw.RemoveObject(t.Context(), bucketName, folder+name, minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := versions(); n != 5 { // the two of a, its mark of deletion, b, and the one from before
		t.Fatalf("the control: a removal without versions leaves %d of 5", n)
	}
	if n := uploads(); n != 1 {
		t.Fatalf("%d uploads are begun, want 1", n)
	}
	if err := blobs.RemoveAll(t.Context(), "acme", "c_1"); err != nil {
		t.Fatal(err)
	}
	if v, u := versions(), uploads(); v+u != 0 {
		t.Errorf("left behind: %d versions, %d uploads", v, u)
	}
}

// TestParts puts what is larger than a part, with one of them refused and one connection broken on the way.
func TestParts(t *testing.T) {
	s := newServer(t)
	o := options(t, s.URL)
	o.Part = 100_000
	blobs, key := blob.New(open(t, o)), blobtest.Key(t)
	body := blobtest.Random(t, 650_000)
	var part, broke atomic.Int32
	s.fail(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodPut {
			return false
		}
		switch part.Add(1) {
		case 2:
			return slowDown(w)
		case 4:
			broke.Add(1)
			_, _ = io.CopyN(io.Discard, r.Body, 5000)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	name := blobtest.Put(t, blobs, key, body)
	if n := part.Load(); n != 7+2 {
		t.Errorf("7 parts, two of them twice, took %d requests", n)
	}
	if got, err := blobtest.Get(t, blobs, key, name); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes back, %v", len(got), err)
	}
	if left, err := os.ReadDir(o.Spool); err != nil || len(left) != 0 {
		t.Errorf("left behind on the way: %v, %v", left, err)
	}
	// One that fails for good leaves no upload.
	s.fail(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		return r.Method == http.MethodPut && refuse(w, http.StatusForbidden, "AccessDenied")
	})
	if _, _, err := blobs.Put(t.Context(), key, "acme", "c_1", bytes.NewReader(blobtest.Random(t, 300_000)), 1<<20); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a refused part: %v", err)
	}
	// And one whose last answer is lost is there.
	lost := false
	s.fail(func(w http.ResponseWriter, r *http.Request, fake http.Handler) bool {
		if r.Method != http.MethodPost || !strings.Contains(r.URL.RawQuery, "uploadId") || lost {
			return false
		}
		lost = true
		fake.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
	blobtest.Put(t, blobs, key, blobtest.Random(t, 300_000))
	s.fail(nil)
	if r, err := s.raw.ListMultipartUploads(t.Context(), bucketName, "", "", "", "", 10); err != nil || len(r.Uploads) != 0 {
		t.Errorf("uploads that nobody ends: %v, %v", r.Uploads, err)
	}
}

func slowDown(w http.ResponseWriter) bool {
	return refuse(w, http.StatusServiceUnavailable, "SlowDown")
}

// refuse answers with a code, and with words that nobody may see.
func refuse(w http.ResponseWriter, status int, code string) bool {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>account 4711 of host-secret</Message><Region>mars-1</Region></Error>", code)
	return true
}

// TestBroken is everything that passes by: the operation comes through, in more than one request.
func TestBroken(t *testing.T) {
	body := blobtest.Random(t, 300_000)
	// once goes wrong at the first request of a method.
	once := func(method string, how func(w http.ResponseWriter, r *http.Request, fake http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) bool {
		var done atomic.Bool
		return func(w http.ResponseWriter, r *http.Request, fake http.Handler) bool {
			if r.Method != method || done.Swap(true) {
				return false
			}
			how(w, r, fake)
			return true
		}
	}
	reset := func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.CopyN(io.Discard, r.Body, 10_000)
		panic(http.ErrAbortHandler)
	}
	for what, f := range map[string]struct {
		method string
		how    func(http.ResponseWriter, *http.Request, http.Handler)
	}{
		"a busy server at put":       {http.MethodPut, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { slowDown(w) }},
		"a busy server at get":       {http.MethodGet, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { slowDown(w) }},
		"a busy server at delete":    {http.MethodDelete, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { slowDown(w) }},
		"a reset in the body of put": {http.MethodPut, reset},
		"a reset before an answer":   {http.MethodGet, reset},
		"an answer lost at put": {http.MethodPut, func(_ http.ResponseWriter, r *http.Request, fake http.Handler) {
			fake.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}},
		"an answer lost at delete": {http.MethodDelete, func(_ http.ResponseWriter, r *http.Request, fake http.Handler) {
			fake.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}},
		"a body cut off": {http.MethodGet, func(w http.ResponseWriter, r *http.Request, fake http.Handler) {
			rec := httptest.NewRecorder()
			fake.ServeHTTP(rec, r)
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel() // most of it is waiting before a repeat
			s := newServer(t)
			blobs, key := blob.New(open(t, options(t, s.URL))), blobtest.Key(t)
			s.fail(once(f.method, f.how))
			name := blobtest.Put(t, blobs, key, body)
			if got, err := blobtest.Get(t, blobs, key, name); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes back, %v", len(got), err)
			}
			if err := blobs.RemoveAll(t.Context(), "acme", "c_1"); err != nil {
				t.Error(err)
			}
			if n := s.count(f.method); n < 2 {
				t.Errorf("%d requests: nothing went wrong", n)
			}
		})
	}
}

// TestRefused is everything that does not pass by itself: the error says what it is, names nothing that it should not, and
// nothing is taken for done.
func TestRefused(t *testing.T) {
	for what, f := range map[string]struct {
		status int
		code   string
		want   error
		says   string
		lasts  bool // a RefusedError
	}{
		"access denied":    {http.StatusForbidden, "AccessDenied", store.ErrUnavailable, "s3:PutObject", true},
		"unknown key":      {http.StatusForbidden, "InvalidAccessKeyId", store.ErrUnavailable, "access_key", true},
		"wrong key":        {http.StatusForbidden, "SignatureDoesNotMatch", store.ErrUnavailable, "secret_key", true},
		"wrong clock":      {http.StatusForbidden, "RequestTimeTooSkewed", store.ErrUnavailable, "clock", true},
		"wrong region":     {http.StatusBadRequest, "AuthorizationHeaderMalformed", store.ErrUnavailable, "mars-1", true},
		"no bucket":        {http.StatusNotFound, "NoSuchBucket", store.ErrUnavailable, "does not exist", true},
		"full":             {http.StatusForbidden, "QuotaExceeded", store.ErrFull, "QuotaExceeded", false},
		"no storage":       {http.StatusInsufficientStorage, "StorageFull", store.ErrFull, "StorageFull", false},
		"always busy":      {http.StatusServiceUnavailable, "SlowDown", store.ErrUnavailable, "503 SlowDown", false},
		"a broken server":  {http.StatusInternalServerError, "InternalError", store.ErrUnavailable, "500", false},
		"strange answers":  {http.StatusTeapot, "account 4711", store.ErrUnavailable, "418", false},
		"unknown requests": {http.StatusBadRequest, "InvalidRequest", store.ErrUnavailable, "InvalidRequest", false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel() // most of it is waiting before a repeat
			s := newServer(t)
			o := options(t, s.URL)
			o.Attempts = 2
			b := open(t, o)
			blobs, key := blob.New(b), blobtest.Key(t)
			name := blobtest.Put(t, blobs, key, []byte("x"))
			s.fail(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool { return refuse(w, f.status, f.code) })
			_, _, put := blobs.Put(t.Context(), key, "acme", "c_1", strings.NewReader("y"), 10)
			_, get := blobtest.Get(t, blobs, key, name)
			for doing, err := range map[string]error{
				"put": put, "get": get, "remove": blobs.Remove(t.Context(), "acme", "c_1", name), "remove all": blobs.RemoveAll(t.Context(), "acme", "c_1"),
				"reach": b.Reach(t.Context()), "try": b.Try(t.Context()),
			} {
				if !errors.Is(err, f.want) || !strings.Contains(err.Error(), f.says) {
					t.Errorf("%s: %v", doing, err)
				}
				if refused := (*s3.RefusedError)(nil); errors.As(err, &refused) != f.lasts {
					t.Errorf("%s: that it lasts is not %v: %v", doing, f.lasts, err)
				}
				for _, secret := range []string{"4711", "host-secret", "secret-secret", "acme", "c_1", s.URL} {
					if err != nil && strings.Contains(err.Error(), secret) {
						t.Errorf("%s: the error names %q: %v", doing, secret, err)
					}
				}
			}
			s.fail(nil)
			if got, err := blobtest.Get(t, blobs, key, name); err != nil || string(got) != "x" {
				t.Errorf("afterwards: %q, %v", got, err)
			}
		})
	}
}

// TestGone has the server neither answer nor move, and not be there.
func TestGone(t *testing.T) {
	s := newServer(t)
	o := options(t, s.URL)
	o.Attempts, o.Idle = 2, 50*time.Millisecond
	blobs, key := blob.New(open(t, o)), blobtest.Key(t)
	body := blobtest.Random(t, 400_000)
	name := blobtest.Put(t, blobs, key, body)
	release := make(chan struct{})
	s.fail(func(w http.ResponseWriter, r *http.Request, fake http.Handler) bool {
		if r.Method == http.MethodGet && r.Header.Get("Range") == "" { // one that stops in the middle
			w.Header().Set("Content-Length", "400000")
			_, _ = w.Write(make([]byte, 10))
			_ = http.NewResponseController(w).Flush()
		}
		<-release
		return true
	})
	if _, err := blobtest.Get(t, blobs, key, name); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, seal.ErrOpen) {
		t.Errorf("a get that stops: %v", err)
	}
	if _, _, err := blobs.Put(t.Context(), key, "acme", "c_1", bytes.NewReader(body), 1<<20); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a put that is not answered: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := blobs.RemoveAll(ctx, "acme", "c_1"); !errors.Is(err, context.Canceled) {
		t.Errorf("a removal that nobody waits for: %v", err)
	}
	close(release)
	s.Close()
	if _, err := blobtest.Get(t, blobs, key, name); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a server: %v", err)
	}
}

// TestWrongBytes: a server that gives back something else is found out by what it gives back.
func TestWrongBytes(t *testing.T) {
	s := newServer(t)
	blobs, key := blob.New(open(t, options(t, s.URL))), blobtest.Key(t)
	name := blobtest.Put(t, blobs, key, blobtest.Random(t, 300_000))
	for what, spoil := range map[string]func(b []byte) []byte{
		"a bit":             func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"a shorter object":  func(b []byte) []byte { return b[:len(b)/2] },
		"an empty one":      func([]byte) []byte { return nil },
		"one with a length": func(b []byte) []byte { return append(b, 0) },
	} {
		s.fail(func(w http.ResponseWriter, r *http.Request, fake http.Handler) bool {
			rec := httptest.NewRecorder()
			fake.ServeHTTP(rec, r)
			b := spoil(rec.Body.Bytes())
			w.Header().Set("Last-Modified", rec.Header().Get("Last-Modified"))
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			_, _ = w.Write(b)
			return true
		})
		if _, err := blobtest.Get(t, blobs, key, name); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestMixed: an object that is another when the reading goes on is not put together from both.
func TestMixed(t *testing.T) {
	s := newServer(t)
	blobs, key := blob.New(open(t, options(t, s.URL))), blobtest.Key(t)
	body := blobtest.Random(t, 300_000)
	name := blobtest.Put(t, blobs, key, body)
	s.fail(func(w http.ResponseWriter, r *http.Request, fake http.Handler) bool {
		if r.Method != http.MethodGet || r.Header.Get("Range") != "" {
			return false
		}
		rec := httptest.NewRecorder()
		fake.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		_, _ = w.Write(rec.Body.Bytes()[:100_000])
		blobtest.Put(t, blobs, key, body) // the same bytes under another salt
		panic(http.ErrAbortHandler)
	})
	if got, err := blobtest.Get(t, blobs, key, name); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestMemory puts and reads a large body: what is on the heap does not grow with it.
func TestMemory(t *testing.T) {
	var size atomic.Int64
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		size.Add(n)
		w.Header().Set("ETag", `"x"`)
		switch {
		case r.Method == http.MethodPost && r.URL.RawQuery == "uploads=":
			fmt.Fprint(w, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
		case r.Method == http.MethodPost:
			fmt.Fprint(w, "<CompleteMultipartUploadResult><Bucket>attachments</Bucket><ETag>x</ETag></CompleteMultipartUploadResult>")
		}
	}))
	defer sink.Close()
	blobs, key := blob.New(open(t, options(t, sink.URL))), blobtest.Key(t)
	const body = 48 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, n, err := blobs.Put(t.Context(), key, "acme", "c_1", io.LimitReader(zeros{}, body), body); err != nil || n != body {
		t.Fatalf("%d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > body/4 {
		t.Errorf("putting %d bytes allocated %d", body, got)
	}
	if size.Load() < body {
		t.Errorf("%d bytes arrived", size.Load())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestTry looks at a bucket as a start does.
func TestTry(t *testing.T) {
	s := newServer(t)
	b := open(t, options(t, s.URL))
	if err := b.Try(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range s.raw.ListObjectsIter(t.Context(), bucketName, minio.ListObjectsOptions{Recursive: true}) {
		t.Errorf("left behind: %s, %v", i.Key, i.Err)
	}
	for what, f := range map[string]struct {
		says string
		how  func(w http.ResponseWriter, r *http.Request, fake http.Handler) bool
	}{
		"no right to write": {"putting an object (AccessDenied)", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			return r.Method == http.MethodPut && refuse(w, http.StatusForbidden, "AccessDenied")
		}},
		"no right to remove": {"removing an object (AccessDenied)", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			return r.Method == http.MethodDelete && refuse(w, http.StatusForbidden, "AccessDenied")
		}},
		"no right to ask for versions": {"asking whether it keeps versions (AccessDenied)", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			return strings.Contains(r.URL.RawQuery, "versioning") && refuse(w, http.StatusForbidden, "AccessDenied")
		}},
		"a lock": {"cannot be erased", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if !strings.Contains(r.URL.RawQuery, "object-lock") {
				return false
			}
			fmt.Fprint(w, `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention></Rule></ObjectLockConfiguration>`)
			return true
		}},
		"something that caches": {"other bytes", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "probe") {
				return false
			}
			w.Header().Set("Last-Modified", time.Unix(0, 0).UTC().Format(http.TimeFormat))
			fmt.Fprint(w, "an older answer")
			return true
		}},
	} {
		s.fail(f.how)
		err := b.Try(t.Context())
		if refused := (*s3.RefusedError)(nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), f.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestOptions(t *testing.T) {
	good := s3.Options{Endpoint: "http://127.0.0.1:9000", Bucket: bucketName, AccessKey: "a", SecretKey: "b"}
	for what, change := range map[string]func(*s3.Options){
		"no scheme":  func(o *s3.Options) { o.Endpoint = "127.0.0.1:9000" },
		"a path":     func(o *s3.Options) { o.Endpoint += "/x" },
		"a password": func(o *s3.Options) { o.Endpoint = "http://a:b@127.0.0.1" },
		"no key":     func(o *s3.Options) { o.AccessKey = "" },
		"no secret":  func(o *s3.Options) { o.SecretKey = "" },
	} {
		o := good
		change(&o)
		if _, err := s3.New(o); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	if _, err := s3.New(good); err != nil {
		t.Error(err)
	}
}
