package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/lookup"
)

// system is a directory that does what the test says.
type system struct {
	mu     sync.Mutex
	asked  int
	look   func(ctx context.Context, p *message.Profile) (message.Account, error)
	closed bool
}

func (s *system) Asks(p *message.Profile) (string, bool) { return "q:" + p.Subject, p.Subject != "" }

func (s *system) Look(ctx context.Context, p *message.Profile) (message.Account, error) {
	s.mu.Lock()
	s.asked++
	look := s.look
	s.mu.Unlock()
	return look(ctx, p)
}

func (s *system) Close() error { s.closed = true; return nil }

func (s *system) does(look func(ctx context.Context, p *message.Profile) (message.Account, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look = look
}

func (s *system) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func says(plan string) func(context.Context, *message.Profile) (message.Account, error) {
	return func(_ context.Context, p *message.Profile) (message.Account, error) {
		return message.Account{Subject: p.Subject, At: time.Now(), Fields: map[string]any{"plan": plan}}, nil
	}
}

func hangs(ctx context.Context, _ *message.Profile) (message.Account, error) {
	<-ctx.Done()
	return message.Account{}, &adapters.LookError{Kind: adapters.LookTimeout}
}

func fails(context.Context, *message.Profile) (message.Account, error) {
	return message.Account{}, &adapters.LookError{Kind: adapters.LookStatus, Status: 500}
}

type world struct {
	*lookup.Lookup
	*system
	mu       sync.Mutex
	outcomes []string
}

func (w *world) Close() error { return w.Lookup.Close() }

func (w *world) ended() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprint(w.outcomes)
}

var settings = lookup.Settings{
	FreshFor: time.Minute, StaleFor: time.Hour, Timeout: 2 * time.Second, Concurrency: 4, Entries: 100, Bytes: 1 << 20,
	Failures: 3, Window: time.Minute, OpenFor: 30 * time.Second,
}

func newWorld(s lookup.Settings) *world {
	w := &world{system: &system{look: says("gold")}}
	w.Lookup = lookup.New(lookup.Options{
		Directory: w.system, Settings: s, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Looked: func(outcome string, _ time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.outcomes = append(w.outcomes, outcome)
		},
	})
	return w
}

func person(subject string) *message.Profile { return &message.Profile{Subject: subject} }

func (w *world) known(subject string) string {
	a, fresh := w.Known(person(subject))
	switch {
	case a == nil && fresh:
		return "not asked"
	case a == nil:
		return "nothing"
	case fresh:
		return fmt.Sprint("fresh ", a.Fields["plan"])
	}
	return fmt.Sprint("stale ", a.Fields["plan"])
}

// TestAges: an answer is fresh, then stale, then gone; a failed call takes nothing away.
func TestAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(settings)
		defer w.Close()
		see := func(want string) {
			t.Helper()
			if got := w.known("eve"); got != want {
				t.Errorf("%s is known, want %s", got, want)
			}
		}
		ask := func(want error) {
			t.Helper()
			if _, err := w.Ask(t.Context(), person("eve")); !errors.Is(err, want) {
				t.Errorf("asked: %v, want %v", err, want)
			}
		}
		see("nothing")
		ask(nil)
		see("fresh gold")
		time.Sleep(time.Minute)
		see("stale gold")
		w.does(fails)
		if _, err := w.Ask(t.Context(), person("eve")); err == nil {
			t.Error("a failed call brings something")
		}
		see("stale gold")
		w.does(says("silver"))
		ask(nil)
		see("fresh silver")
		time.Sleep(time.Minute + time.Hour)
		see("nothing")
		if got := w.Stats(); got.Entries != 0 || got.Bytes != 0 || got.Fresh != 2 || got.Stale != 2 || got.Missing != 2 {
			t.Errorf("it stands at %+v", got)
		}
		w.does(func(_ context.Context, p *message.Profile) (message.Account, error) {
			return message.Account{Subject: p.Subject, Unknown: true}, nil
		})
		ask(nil)
		see("fresh <nil>") // that the customer is not known is known
		w.Forget(person("eve"))
		see("nothing")
		if got := w.ended(); got != "[found status found unknown]" {
			t.Errorf("calls ended %s", got)
		}
	})
}

// TestOnce: however many ask, the system is asked once; who goes away leaves the call to the others and to the next.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(settings)
		defer w.Close()
		open := make(chan struct{})
		w.does(func(ctx context.Context, p *message.Profile) (message.Account, error) {
			<-open
			return says("gold")(ctx, p)
		})
		errs := make(chan error, 10)
		for range 10 {
			go func() { _, err := w.Ask(t.Context(), person("eve")); errs <- err }()
		}
		gone, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := w.Ask(gone, person("eve")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who has no time left gets %v", err)
		}
		synctest.Wait()
		close(open)
		for range 10 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if w.calls() != 1 || w.known("eve") != "fresh gold" {
			t.Errorf("%d calls, %s", w.calls(), w.known("eve"))
		}
	})
}

// TestDown: a system that hangs or fails is soon left alone, then probed, and comes back; calls are bounded all along.
func TestDown(t *testing.T) {
	for name, down := range map[string]func(context.Context, *message.Profile) (message.Account, error){
		"hangs": hangs, "fails": fails,
		"panics": func(context.Context, *message.Profile) (message.Account, error) { panic("boom") },
		"answers about somebody else": func(context.Context, *message.Profile) (message.Account, error) {
			return message.Account{Subject: "mallory"}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(settings)
				defer w.Close()
				w.does(down)
				for i := range 3 {
					began := time.Now()
					if _, err := w.Ask(t.Context(), person(fmt.Sprint(i))); err == nil || errors.Is(err, lookup.ErrResting) {
						t.Fatalf("call %d: %v", i, err)
					}
					if took := time.Since(began); took > settings.Timeout {
						t.Errorf("call %d took %v of the fake clock", i, took)
					}
				}
				for range 50 {
					if _, err := w.Ask(t.Context(), person("eve")); !errors.Is(err, lookup.ErrResting) {
						t.Fatalf("with an open breaker: %v", err)
					}
				}
				if w.calls() != 3 || !w.Stats().BreakerOpen {
					t.Errorf("%d calls; open: %v", w.calls(), w.Stats().BreakerOpen)
				}
				time.Sleep(settings.OpenFor)
				if _, err := w.Ask(t.Context(), person("eve")); err == nil || w.calls() != 4 { // the probe
					t.Errorf("%v after %d calls", err, w.calls())
				}
				if _, err := w.Ask(t.Context(), person("eve")); !errors.Is(err, lookup.ErrResting) {
					t.Errorf("after a failed probe: %v", err)
				}
				w.does(says("gold"))
				time.Sleep(settings.OpenFor)
				for range 5 {
					if a, err := w.Ask(t.Context(), person("eve")); err != nil || a.Fields["plan"] != "gold" {
						t.Errorf("when it is back: %v", err)
					}
				}
			})
		})
	}
}

// TestCrowd: more calls than may be are not made, and do not count against the system.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(settings)
		defer w.Close()
		open := make(chan struct{})
		w.does(func(ctx context.Context, p *message.Profile) (message.Account, error) {
			<-open
			return says("gold")(ctx, p)
		})
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				if _, err := w.Ask(t.Context(), person(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		for i := range 100 {
			if _, err := w.Ask(t.Context(), person(fmt.Sprint(100+i))); !errors.Is(err, lookup.ErrResting) {
				t.Fatalf("the call over the bound: %v", err)
			}
		}
		close(open)
		group.Wait()
		if _, err := w.Ask(t.Context(), person("eve")); err != nil || w.calls() != 5 {
			t.Errorf("%v after %d calls", err, w.calls())
		}
	})
}

// TestBounds: what is kept stays within a number and a size, and those go that nobody used for longest.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := settings
		s.Entries = 10
		w := newWorld(s)
		defer w.Close()
		ask := func(subject string) {
			t.Helper()
			if _, err := w.Ask(t.Context(), person(subject)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 10 {
			ask(fmt.Sprint(i))
		}
		w.Known(person("0")) // used again
		for i := range 9 {
			ask(fmt.Sprint("x", i))
		}
		if w.known("0") != "fresh gold" || w.known("1") != "nothing" || w.Stats().Entries != 10 {
			t.Errorf("0: %s, 1: %s, %d entries", w.known("0"), w.known("1"), w.Stats().Entries)
		}
		s = settings
		s.Bytes = 10_000
		b := newWorld(s)
		defer b.Close()
		b.does(func(_ context.Context, p *message.Profile) (message.Account, error) {
			return message.Account{Subject: p.Subject, Tickets: make([]message.Ticket, 20)}, nil
		})
		for i := range 50 {
			if _, err := b.Ask(t.Context(), person(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if got := b.Stats(); got.Bytes > 10_000 || got.Entries != 3 {
			t.Errorf("%d bytes in %d entries", got.Bytes, got.Entries)
		}
	})
}

// TestEligible: a profile that was not proven in a way that is enough is never asked for, nor one without an identity.
func TestEligible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := settings
		s.Levels = []string{"2fa"}
		w := newWorld(s)
		defer w.Close()
		for name, p := range map[string]*message.Profile{
			"no profile": nil, "no level": person("eve"), "another level": {Subject: "eve", Level: "password"}, "no identity": {Level: "2fa"},
		} {
			if w.Lookup.Asks(p) {
				t.Errorf("%s is asked for", name)
			}
			if a, fresh := w.Known(p); a != nil || !fresh {
				t.Errorf("%s: %v, %v", name, a, fresh)
			}
			if _, err := w.Ask(t.Context(), p); !errors.Is(err, lookup.ErrNotAsked) {
				t.Errorf("%s: %v", name, err)
			}
			w.Forget(p)
		}
		good := &message.Profile{Subject: "eve", Level: "2fa"}
		if _, err := w.Ask(t.Context(), good); err != nil || w.calls() != 1 || !w.Lookup.Asks(good) {
			t.Errorf("%v after %d calls", err, w.calls())
		}
		// What was kept for somebody who had proven enough is not there for the same subject who has not.
		if a, _ := w.Known(person("eve")); a != nil {
			t.Error("it is known without a second factor")
		}
		// Somebody who has proven less is still the same customer.
		if w.Forget(person("eve")); w.Stats().Entries != 0 {
			t.Error("it is kept after the customer was forgotten in a conversation with less proof")
		}
	})
}

// TestApart: what one tenant's lookup keeps, another's does not find, whatever is asked.
func TestApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newWorld(settings), newWorld(settings)
		defer a.Close()
		defer b.Close()
		if _, err := a.Ask(t.Context(), person("eve")); err != nil {
			t.Fatal(err)
		}
		if b.known("eve") != "nothing" || b.calls() != 0 {
			t.Error("a tenant sees another's")
		}
	})
}

// TestForget: who is forgotten while a call is under way is not known after it.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(settings)
		defer w.Close()
		open := make(chan struct{})
		w.does(func(ctx context.Context, p *message.Profile) (message.Account, error) {
			<-open
			return says("gold")(ctx, p)
		})
		errs := make(chan error, 1)
		go func() { _, err := w.Ask(t.Context(), person("eve")); errs <- err }()
		synctest.Wait()
		w.Forget(person("eve"))
		close(open)
		if err := <-errs; err != nil || w.known("eve") != "nothing" {
			t.Errorf("%v, %s", err, w.known("eve"))
		}
	})
}

// TestClose: a close cuts off what runs, waits for it, and keeps nothing.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(settings)
		w.does(hangs)
		errs := make(chan error, 1)
		go func() { _, err := w.Ask(t.Context(), person("eve")); errs <- err }()
		synctest.Wait()
		began := time.Now()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if time.Since(began) != 0 || <-errs == nil || !w.closed {
			t.Error("the call was not cut off, or the directory not closed")
		}
		if _, err := w.Ask(t.Context(), person("eve")); err == nil || w.calls() != 1 {
			t.Error("a closed lookup asks")
		}
	})
}
