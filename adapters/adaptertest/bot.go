package adaptertest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/adapters/netguard"
)

// BotSuite describes a bot that is reached by HTTP to the suite.
type BotSuite struct {
	Build adapters.NewBot
	// Spec returns a section for a bot at url whose responses are limited to MaxResponse bytes.
	Spec func(url string) YAML
	// Says returns a response body that says text.
	Says        func(text string) string
	MaxResponse int
}

// TurnOf returns a turn of one text message.
func TurnOf(id, text string) adapters.Turn {
	from := message.Address{Channel: "acme.test", Address: "v_1"}
	return adapters.Turn{
		ID: id, Tenant: "acme", Conversation: "c_1", From: from, Attempt: 1, Lang: "en",
		Messages: []message.Inbound{{ID: "1", From: from, Kind: message.Text, Text: text}},
	}
}

// Bot checks what every bot has to do.
func Bot(t *testing.T, suite BotSuite) {
	build := func(t *testing.T, url string) (*Kit, adapters.Bot) {
		k := New(t, "bot")
		b, err := suite.Build(suite.Spec(url), k.Deps)
		if err != nil {
			t.Fatalf("building the bot: %v", err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return k, b
	}
	serve := func(t *testing.T, h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	fails := func(t *testing.T, k *Kit, err error, kind adapters.BotErrorKind) *adapters.BotError {
		t.Helper()
		var failure *adapters.BotError
		if !errors.As(err, &failure) || failure.Kind != kind {
			t.Fatalf("error %v, want a BotError of kind %s", err, kind)
		}
		k.AssertQuiet(t, err.Error())
		return failure
	}
	ask := func(b adapters.Bot) (adapters.Answer, error) {
		return b.Reply(context.Background(), TurnOf("t_1", CanaryText))
	}

	t.Run("says what the bot says", func(t *testing.T) {
		k, b := build(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, suite.Says("Grüße 👋🏽"))
		}))
		a, err := ask(b)
		if err != nil || len(a.Parts) != 1 || a.Parts[0].Text != "Grüße 👋🏽" {
			t.Errorf("%+v, %v", a, err)
		}
		if a.Confidence != nil || a.Fallback != nil || a.Handoff != nil || a.End {
			t.Errorf("what the bot did not say is not absent: %+v", a)
		}
		k.AssertQuiet(t, "")
	})

	t.Run("answers are not mixed up", func(t *testing.T) {
		_, b := build(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, word, _ := strings.Cut(string(body), "word-")
			_, _ = io.WriteString(w, suite.Says("word-"+word[:3]))
		}))
		var all sync.WaitGroup
		for i := range 30 {
			word := "word-" + strings.Repeat(string(rune('a'+i%26)), 3)
			all.Go(func() {
				a, err := b.Reply(context.Background(), TurnOf("t_"+word, word))
				if err != nil || len(a.Parts) != 1 || a.Parts[0].Text != word {
					t.Errorf("%s: %+v, %v", word, a.Parts, err)
				}
			})
		}
		all.Wait()
	})

	t.Run("one attempt, also when the connection breaks", func(t *testing.T) {
		var calls atomic.Int32
		k, b := build(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		}))
		_, err := ask(b)
		fails(t, k, err, adapters.BotUnreachable)
		if n := calls.Load(); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})

	t.Run("one attempt, also on a connection that was used before", func(t *testing.T) {
		var calls atomic.Int32
		k, b := build(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) == 1 {
				_, _ = io.WriteString(w, suite.Says("first"))
				return
			}
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		}))
		if _, err := ask(b); err != nil {
			t.Fatal(err)
		}
		_, err := ask(b)
		fails(t, k, err, adapters.BotUnreachable)
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls for two turns", n)
		}
	})

	t.Run("honours the deadline", func(t *testing.T) {
		release := make(chan struct{})
		k, b := build(t, serve(t, func(w http.ResponseWriter, r *http.Request) { <-release }))
		defer close(release)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		_, err := b.Reply(ctx, TurnOf("t_1", CanaryText))
		fails(t, k, err, adapters.BotTimeout)
	})

	t.Run("returns when it is cancelled", func(t *testing.T) {
		release, called := make(chan struct{}), make(chan struct{})
		k, b := build(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			close(called)
			<-release
		}))
		defer close(release)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			<-called
			cancel()
		}()
		// The server answers only after this has returned.
		_, err := b.Reply(ctx, TurnOf("t_1", CanaryText))
		fails(t, k, err, adapters.BotTimeout)
	})

	t.Run("failures have their kind", func(t *testing.T) {
		for name, c := range map[string]struct {
			status int
			body   string
			kind   adapters.BotErrorKind
		}{
			"server error": {500, CanaryText, adapters.BotStatus},
			"client error": {404, CanaryText, adapters.BotStatus},
			"not JSON":     {200, CanaryText, adapters.BotGarbage},
			"empty":        {200, "", adapters.BotGarbage},
			"cut":          {200, suite.Says(CanaryText)[:5], adapters.BotGarbage},
			"too large":    {200, suite.Says(strings.Repeat(CanaryText, suite.MaxResponse/len(CanaryText)+1)), adapters.BotTooLarge},
		} {
			k, b := build(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			_, err := ask(b)
			failure := fails(t, k, err, c.kind)
			if c.kind == adapters.BotStatus && failure.Status != c.status {
				t.Errorf("%s: status %d", name, failure.Status)
			}
		}
	})

	t.Run("redirects are not followed", func(t *testing.T) {
		var followed atomic.Bool
		k, b := build(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				followed.Store(true)
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}))
		_, err := ask(b)
		fails(t, k, err, adapters.BotStatus)
		if followed.Load() {
			t.Error("the redirect was followed")
		}
	})

	t.Run("what does not speak HTTP is garbage or unreachable", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, CanaryText+"\r\n\r\n")
				conn.Close()
			}
		}()
		k, b := build(t, "http://"+l.Addr().String())
		_, err = ask(b)
		var failure *adapters.BotError
		if !errors.As(err, &failure) || (failure.Kind != adapters.BotGarbage && failure.Kind != adapters.BotUnreachable) {
			t.Errorf("%v", err)
		}
		k.AssertQuiet(t, err.Error())
		l.Close()
		_, err = ask(b)
		fails(t, k, err, adapters.BotUnreachable)
	})

	t.Run("an address that the guard denies is refused", func(t *testing.T) {
		k := New(t, "bot")
		k.Deps.Dial = netguard.New(nil).Dial
		b, err := suite.Build(suite.Spec(serve(t, func(http.ResponseWriter, *http.Request) {
			t.Error("the bot was reached")
		})), k.Deps)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		_, err = ask(b)
		fails(t, k, err, adapters.BotRefused)
	})

	t.Run("Close works twice, ends running calls and leaves nothing running", func(t *testing.T) {
		before := goleak.IgnoreCurrent()
		release, called := make(chan struct{}), make(chan struct{}, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			called <- struct{}{}
			<-release
		}))
		k, b := build(t, server.URL)
		done := make(chan error)
		go func() {
			_, err := ask(b)
			done <- err
		}()
		<-called
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		fails(t, k, <-done, adapters.BotUnreachable)
		_, err := ask(b)
		fails(t, k, err, adapters.BotUnreachable)
		close(release)
		server.Close()
		VerifyNoLeak(t, before)
	})
}
