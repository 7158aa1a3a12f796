package notary_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"turnout/gateway/audit"
	"turnout/gateway/audit/notary"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/gateway/store/seal"
)

// victimDir names the folder of the process that is to be killed, victimPoint where, and victimPass at which time.
const (
	victimDir   = "TURNOUT_NOTARY_DIR"
	victimPoint = "TURNOUT_NOTARY_POINT"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		fmt.Fprintln(os.Stderr, victim(dir, fault.Point(os.Getenv(victimPoint))))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// world is a store with a notary.
type world struct {
	*testing.T
	store  *embedded.Store
	tenant store.Tenant
	signer *audit.Signer
	n      *notary.Notary
}

func open(fs vfs.FS, dir string) (*embedded.Store, error) {
	return embedded.Open(embedded.Options{
		Dir: dir, FS: fs, Root: make([]byte, seal.KeySize), Now: time.Now, IDs: id.NewSource(rand.Reader, time.Now),
		Reserve: -1, Ballast: -1,
	})
}

func options(s *embedded.Store, signer *audit.Signer, to notary.Destination) notary.Options {
	return notary.Options{
		Ledger: s, Signer: signer, To: to, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
}

func newWorld(t *testing.T, change func(*notary.Options)) *world {
	t.Helper()
	s, err := open(vfs.NewMem(), "/store")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	w := &world{T: t, store: s, tenant: tenant(t), signer: signer(t)}
	o := options(s, w.signer, nil)
	if change != nil {
		change(&o)
	}
	w.n = notary.New(o)
	return w
}

func tenant(t testing.TB) store.Tenant {
	ten, err := store.NewTenant("shop")
	if err != nil {
		t.Fatal(err)
	}
	return ten
}

func signer(t testing.TB) *audit.Signer {
	s, err := audit.NewSigner(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// decide adds an entry of administration.
func (w *world) decide(t store.Tenant) {
	w.Helper()
	if err := w.store.Append(w.Context(), t, audit.Entry{At: time.Now().UnixMilli(), Type: "login", Op: "op", Actor: "agent:ann"}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) round() {
	w.Helper()
	if err := w.n.Round(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) checkpoints(t store.Tenant) []audit.Sealed {
	w.Helper()
	list, err := w.store.Checkpoints(w.Context(), t, 0, 100)
	if err != nil {
		w.Fatal(err)
	}
	return list
}

// verify exports and verifies with outside copies.
func verify(t *testing.T, s *embedded.Store, ten store.Tenant, copies []audit.Copy) audit.Verdict {
	t.Helper()
	var b bytes.Buffer
	if _, err := audit.Export(t.Context(), &b, notary.Source(s, ten), ten.Name(), signer(t).VerifierKey(), time.Now()); err != nil {
		t.Fatal(err)
	}
	v, err := audit.VerifyExport(&b, audit.VerifyOptions{Keys: []string{signer(t).VerifierKey()}, Copies: copies})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRound(t *testing.T) {
	counted := 0
	w := newWorld(t, nil)
	w.n = notary.New(func() notary.Options {
		o := options(w.store, w.signer, nil)
		o.Count = func(ctx context.Context) error {
			if counted++; counted != 2 {
				return nil
			}
			return w.store.Append(ctx, store.Operator, audit.Entry{Type: "access.refused", Kind: "login", Op: "op", Actor: "nobody", Count: 7})
		}
		return o
	}())
	w.decide(w.tenant)
	w.round()
	w.round() // nothing of the tenant's moved; what was counted is the operator's
	w.round()
	if n := len(w.checkpoints(w.tenant)); n != 1 {
		t.Errorf("%d checkpoints of the tenant, want 1: nothing moved after the first", n)
	}
	if n := len(w.checkpoints(store.Operator)); n != 1 {
		t.Errorf("%d checkpoints of the operator, want 1", n)
	}
	w.decide(w.tenant)
	w.round()
	if v := verify(t, w.store, w.tenant, nil); !v.OK || v.Checkpoints != 2 || v.Covered != 2 || v.Entries != 2 {
		t.Errorf("verdict %+v", v)
	}
	if v := verify(t, w.store, store.Operator, nil); !v.OK || v.Covered != 1 {
		t.Errorf("the operator's: %+v", v)
	}
	if h := w.n.Health(); h.SealedAt.IsZero() || h.SealFailing != "" {
		t.Errorf("health %+v", h)
	}
}

// TestTwoNodes: of two nodes that seal at once one makes each checkpoint.
func TestTwoNodes(t *testing.T) {
	w := newWorld(t, nil)
	other := notary.New(options(w.store, w.signer, nil))
	for range 20 {
		w.decide(w.tenant)
		var both sync.WaitGroup
		for _, n := range []*notary.Notary{w.n, other} {
			both.Go(func() {
				if err := n.Round(t.Context()); err != nil {
					t.Errorf("a round: %v", err)
				}
			})
		}
		both.Wait()
	}
	if v := verify(t, w.store, w.tenant, nil); !v.OK || v.Covered != 20 {
		t.Errorf("verdict %+v", v)
	}
}

var errDisk = errors.New("the disk is gone")

// broken is a ledger that fails.
type broken struct {
	notary.Ledger
	fails bool
}

func (b *broken) Seal(ctx context.Context, t store.Tenant, c audit.Sealed) error {
	if b.fails {
		return errDisk
	}
	return b.Ledger.Seal(ctx, t, c)
}

func TestSealFails(t *testing.T) {
	var b *broken
	w := newWorld(t, func(o *notary.Options) {
		b = &broken{o.Ledger, true}
		o.Ledger = b
	})
	w.decide(w.tenant)
	if err := w.n.Round(t.Context()); !errors.Is(err, errDisk) {
		t.Errorf("the round: %v", err)
	}
	if h := w.n.Health(); !strings.Contains(h.SealFailing, "disk") || !h.SealedAt.IsZero() {
		t.Errorf("health %+v", h)
	}
	b.fails = false
	w.round()
	if h := w.n.Health(); h.SealFailing != "" || len(w.checkpoints(w.tenant)) != 1 {
		t.Errorf("after it was mended: %+v", h)
	}
}

// outside is a destination in memory, which can be away.
type outside struct {
	mu    sync.Mutex
	away  error
	got   []string
	notes []audit.Copy
	came  chan struct{}
}

func (o *outside) Send(_ context.Context, tenant string, number uint64, note []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.came != nil {
		defer func() { o.came <- struct{}{} }()
	}
	if o.away != nil {
		return o.away
	}
	o.got = append(o.got, fmt.Sprintf("%s/%d", tenant, number))
	o.notes = append(o.notes, audit.Copy{Name: o.got[len(o.got)-1], Note: bytes.Clone(note)})
	return nil
}

func (o *outside) set(err error) {
	o.mu.Lock()
	o.away = err
	o.mu.Unlock()
}

// TestDeliver: copies go in order, once; while the receiver is away they wait and say so.
func TestDeliver(t *testing.T) {
	to := &outside{}
	w := newWorld(t, func(o *notary.Options) { o.To = to })
	deliver := func() error { return w.n.Deliver(t.Context()) }
	w.decide(w.tenant)
	w.round()
	if err := deliver(); err != nil {
		t.Fatal(err)
	}
	to.set(errors.New("nobody is there"))
	for range 3 {
		w.decide(w.tenant)
		w.round()
	}
	if err := deliver(); err == nil {
		t.Error("nothing is said of a receiver that is away")
	}
	since := w.n.Health().Since
	if err := deliver(); err == nil {
		t.Error("nothing is said the second time")
	}
	if h := w.n.Health(); h.Unsent != 3 || !strings.Contains(h.SendFailing, "nobody is there") || since.IsZero() || h.Since != since {
		t.Errorf("health %+v", h)
	}
	to.set(nil)
	if err := deliver(); err != nil {
		t.Fatal(err)
	}
	if err := deliver(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(to.got, " "); got != "shop/1 shop/2 shop/3 shop/4" {
		t.Errorf("copies of %s", got)
	}
	if h := w.n.Health(); h.Unsent != 0 || h.SendFailing != "" || !h.Since.IsZero() {
		t.Errorf("health %+v", h)
	}
	if v := verify(t, w.store, w.tenant, to.notes); !v.OK || v.OutsideCopy != 4 {
		t.Errorf("verdict %+v", v)
	}
}

// TestRun: the running notary seals by itself, sends what was left behind and what comes, and its end covers the rest. A
// receiver that hangs holds up no checkpoint.
func TestRun(t *testing.T) {
	to := &outside{came: make(chan struct{})}
	w := newWorld(t, func(o *notary.Options) { o.To, o.Every = to, time.Millisecond })
	w.decide(w.tenant)
	w.round() // left behind by an earlier process
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.n.Run(ctx) }()
	<-to.came
	w.decide(w.tenant)
	<-to.came // the second is on its way, held up here
	for len(w.checkpoints(w.tenant)) < 4 {
		w.decide(w.tenant)
	}
	stop()
	for ended := false; !ended; {
		select {
		case <-to.came:
		case <-done:
			ended = true
		}
	}
	to.came = nil
	w.decide(w.tenant)
	w.round()
	if err := w.n.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := verify(t, w.store, w.tenant, to.notes)
	if !v.OK || v.Covered != v.Entries || v.OutsideCopy != v.Checkpoints {
		t.Errorf("verdict %+v", v)
	}
}

func TestDestinations(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "there"), 0o700); err != nil {
		t.Fatal(err)
	}
	list := []string{"one.jsonl", "new/", "there", "deep/er/two.jsonl", filepath.Join(dir, "absolute.jsonl")}
	w := newWorld(t, nil)
	for range 3 {
		w.decide(w.tenant)
		w.round()
	}
	all := w.checkpoints(w.tenant)
	for _, setting := range list {
		to, err := notary.To(setting, dir)
		if err != nil {
			t.Fatal(err)
		}
		send := func(i int) {
			if err := to.Send(t.Context(), "shop", uint64(i+1), all[i].Note); err != nil {
				t.Fatalf("%s: %v", setting, err)
			}
		}
		for i := range all {
			send(i)
			send(i) // a crash in between sends it twice
		}
		path := setting
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		v := verify(t, w.store, w.tenant, copies(t, path))
		if !v.OK || v.OutsideCopy != 3 {
			t.Errorf("%s: %+v", setting, v)
		}
	}
	// Whoever has another history is told, and nothing is replaced.
	to, err := notary.To("new/", dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Send(t.Context(), "shop", 1, all[1].Note); !errors.Is(err, notary.ErrOther) {
		t.Errorf("another checkpoint of the same number: %v", err)
	}
	// A line that a crash has torn does not spoil what follows.
	torn := filepath.Join(dir, "torn.jsonl")
	whole, err := os.ReadFile(filepath.Join(dir, "one.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(torn, whole[:len(whole)/6+40], 0o600); err != nil {
		t.Fatal(err)
	}
	to, err = notary.To("torn.jsonl", dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if err := to.Send(t.Context(), "shop", uint64(i+1), all[i].Note); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := audit.ReadCopies("torn", bytes.NewReader(append([]byte("{\"check\n"), whole...))); err != nil {
		t.Errorf("a torn line: %v", err)
	}
	if _, err := audit.ReadCopies("spoiled", strings.NewReader("hello\nthere\n")); err == nil || !strings.Contains(err.Error(), "spoiled:1") {
		t.Errorf("no copies: %v", err)
	}
	for _, bad := range []string{"http://", "https://user:secret@example.com/x", "http://[::1"} {
		if _, err := notary.To(bad, dir); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// copies reads a file, or all files of a folder.
func copies(t *testing.T, path string) (list []audit.Copy) {
	t.Helper()
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.checkpoint")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		some, err := audit.ReadCopies(name, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, some...)
	}
	return list
}

func TestPost(t *testing.T) {
	var mu sync.Mutex
	var got []audit.Copy
	keys := map[string]int{}
	answer := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s of %q: %v", r.Method, b, err)
		}
		w.Header().Set("Location", "/elsewhere") // which is gone to by nobody
		switch {
		case answer == http.StatusServiceUnavailable:
			w.Header().Set("Retry-After", "7")
		case answer/100 == 2:
			keys[r.Header.Get("Idempotency-Key")]++
			got = append(got, audit.Copy{Name: "posted", Note: b})
		}
		w.WriteHeader(answer)
	}))
	defer server.Close()
	to, err := notary.To(server.URL+"/in?token=canary", "")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *notary.Options) { o.To = to })
	w.decide(w.tenant)
	w.round()
	for _, bad := range []int{http.StatusServiceUnavailable, http.StatusFound, http.StatusForbidden} {
		mu.Lock()
		answer = bad
		mu.Unlock()
		err := w.n.Deliver(t.Context())
		var busy *notary.BusyError
		if !errors.As(err, &busy) || busy.Status != bad || bad == http.StatusServiceUnavailable && busy.RetryAfter != 7*time.Second {
			t.Errorf("an answer %d: %v", bad, err)
		}
	}
	mu.Lock()
	answer, got, keys = http.StatusAccepted, nil, map[string]int{}
	mu.Unlock()
	if err := w.n.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if keys["shop/1"] != 1 || len(keys) != 1 {
		t.Errorf("posted %v", keys)
	}
	if v := verify(t, w.store, w.tenant, got); !v.OK || v.OutsideCopy != 1 {
		t.Errorf("verdict %+v", v)
	}
	server.Close()
	w.decide(w.tenant)
	w.round()
	if err := w.n.Deliver(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a receiver that is gone: %v", err)
	}
}

// victim decides, seals and sends, and dies at a point, -9.
func victim(dir string, point fault.Point) error {
	s, err := open(vfs.Default, filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	to, err := notary.To("copies/", dir)
	if err != nil {
		return err
	}
	signer, err := audit.NewSigner(make([]byte, 32))
	if err != nil {
		return err
	}
	t, err := store.NewTenant("shop")
	if err != nil {
		return err
	}
	passes := 0
	o := options(s, signer, to)
	o.Faults = func(_ context.Context, p fault.Point) error {
		if passes++; p == point && passes > 1 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	n := notary.New(o)
	for range 5 {
		if err := s.Append(context.Background(), t, audit.Entry{At: time.Now().UnixMilli(), Type: "login", Op: "op", Actor: "agent:ann"}); err != nil {
			return err
		}
		if err := errors.Join(n.Round(context.Background()), n.Deliver(context.Background())); err != nil {
			return err
		}
	}
	return errors.New("the victim has not died")
}

// TestKilled kills the process between the seal and the copy, and between the copy and the note of it, again and again in
// one folder: what follows goes on, every copy is outside, and nothing contradicts anything.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for i, point := range []fault.Point{fault.CheckpointSealed, fault.CheckpointSent, fault.CheckpointSealed, fault.CheckpointSent, fault.CheckpointSent} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), victimDir+"="+dir, victimPoint+"="+string(point))
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.Exited() {
			t.Fatalf("kill %d at %s: the victim ended by itself: %v\n%s", i+1, point, err, out)
		}
	}
	s, err := open(vfs.Default, filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	to, err := notary.To("copies/", dir)
	if err != nil {
		t.Fatal(err)
	}
	n := notary.New(options(s, signer(t), to))
	if err := errors.Join(n.Round(t.Context()), n.Deliver(t.Context())); err != nil {
		t.Fatal(err)
	}
	outside := copies(t, filepath.Join(dir, "copies"))
	v := verify(t, s, tenant(t), outside)
	if !v.OK || v.Covered != v.Entries || v.OutsideCopy != v.Checkpoints || int(v.Checkpoints) != len(outside) || v.Checkpoints < 5 {
		t.Errorf("%d copies, verdict %+v", len(outside), v)
	}
}
