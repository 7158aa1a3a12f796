package adaptertest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"turnout/adapters"
	"turnout/adapters/message"
)

// DirectorySuite is what a directory needs to be tested.
type DirectorySuite struct {
	// New builds the directory upon a system at url. It asks by the subject of a profile at least.
	New func(t testing.TB, k *Kit, url string) adapters.Directory
	// Known and Unknown answer as the system does about a customer named "Ada" that it knows, and about one that it does not.
	Known, Unknown http.HandlerFunc
}

// canarySubject stands for whom a directory is asked about.
const canarySubject = "canary-subject-9c14"

// Directory runs the suite.
func Directory(t *testing.T, suite DirectorySuite) {
	t.Helper()
	type system struct {
		*httptest.Server
		mu     sync.Mutex
		answer http.HandlerFunc
	}
	world := func(t *testing.T, answer http.HandlerFunc) (*Kit, *system, adapters.Directory) {
		t.Helper()
		s := &system{answer: answer}
		s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			answer := s.answer
			s.mu.Unlock()
			answer(w, r)
		}))
		k := New(t, "directory")
		d := suite.New(t, k, s.URL)
		t.Cleanup(func() { d.Close(); s.Close() })
		return k, s, d
	}
	who := func() *message.Profile {
		return &message.Profile{Subject: canarySubject, Email: "ada@example.com", Phone: "+4930", Level: "2fa"}
	}
	t.Run("known and unknown", func(t *testing.T) {
		k, s, d := world(t, suite.Known)
		a, err := d.Look(t.Context(), who())
		if err != nil || a.Unknown || a.Subject != canarySubject || !a.At.Equal(k.Clock.Now()) || a.Name != "Ada" {
			t.Errorf("about somebody whom it knows: %+v, %v", a, err)
		}
		s.mu.Lock()
		s.answer = suite.Unknown
		s.mu.Unlock()
		if a, err = d.Look(t.Context(), who()); err != nil || !a.Unknown || a.Subject != canarySubject || a.Name != "" || a.Fields != nil || a.Tickets != nil {
			t.Errorf("about somebody whom it does not know: %+v, %v", a, err)
		}
	})
	t.Run("questions", func(t *testing.T) {
		_, _, d := world(t, suite.Known)
		q, ok := d.Asks(who())
		again, _ := d.Asks(who())
		other := who()
		other.Subject += "-other"
		foreign, _ := d.Asks(other)
		if !ok || q == "" || q != again || q == foreign || strings.Contains(q, canarySubject) {
			t.Error("a question is not the same each time, is another's too, or names the customer")
		}
		for _, p := range []*message.Profile{nil, {}, {Email: "ada@example.com"}} {
			if _, ok := d.Asks(p); ok {
				t.Errorf("%+v is asked for", p)
			}
			if _, err := d.Look(t.Context(), p); err == nil {
				t.Errorf("%+v is looked up", p)
			}
		}
	})
	t.Run("faults", func(t *testing.T) {
		k, s, d := world(t, nil)
		for name, answer := range map[string]http.HandlerFunc{
			"an error":            func(w http.ResponseWriter, _ *http.Request) { http.Error(w, canarySubject, 500) },
			"nonsense":            func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("\x00" + canarySubject)) },
			"a broken connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		} {
			s.mu.Lock()
			s.answer = answer
			s.mu.Unlock()
			_, err := d.Look(t.Context(), who())
			if e := new(adapters.LookError); !errors.As(err, &e) {
				t.Errorf("%s: %v is no *LookError", name, err)
				continue
			}
			for _, leak := range []string{canarySubject, "ada@example.com", CanarySecret, s.Listener.Addr().String()} {
				if strings.Contains(err.Error(), leak) {
					t.Errorf("%s: the error holds %q", name, leak)
				}
			}
		}
		if logs := k.Logs.String(); strings.Contains(logs, canarySubject) || strings.Contains(logs, CanarySecret) {
			t.Error("the log holds what it must not")
		}
	})
	t.Run("a caller who goes", func(t *testing.T) {
		asked := make(chan struct{}, 1)
		_, _, d := world(t, func(_ http.ResponseWriter, r *http.Request) {
			asked <- struct{}{}
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if _, err := d.Look(ctx, who()); err == nil {
			t.Error("a look whose caller is gone brings something")
		}
	})
	t.Run("closed", func(t *testing.T) {
		_, _, d := world(t, suite.Known)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if _, err := d.Look(t.Context(), who()); err == nil {
			t.Error("a directory that was closed answers")
		}
	})
}
