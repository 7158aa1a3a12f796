package web

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestBrief holds a brief to the context of the library, whoever looks first: at the error, at the end, or through a
// context that was made of it.
func TestBrief(t *testing.T) {
	const most = time.Second
	looks := map[string]func(ctx context.Context) error{
		"by its error": func(ctx context.Context) error { return ctx.Err() },
		"by its end": func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			default:
				return nil
			}
		},
		"by a child": func(ctx context.Context) error {
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			synctest.Wait()
			return child.Err()
		},
	}
	ends := map[string]func(stopParent, end func()){
		"nothing":     func(_, _ func()) {},
		"its parent":  func(stopParent, _ func()) { stopParent() },
		"its maker":   func(_, end func()) { end() },
		"its time":    func(_, _ func()) { time.Sleep(most) },
		"almost time": func(_, _ func()) { time.Sleep(most - 1) },
	}
	for end, happens := range ends {
		for look, sees := range looks {
			for _, before := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					run := func(build func(parent context.Context) (context.Context, func())) error {
						parent, stop := context.WithCancel(context.Background())
						defer stop()
						ctx, cancel := build(parent)
						defer cancel()
						if before && sees(ctx) != nil {
							t.Errorf("%s: it has ended before anything happened", look)
						}
						happens(stop, cancel)
						synctest.Wait()
						return sees(ctx)
					}
					got := run(func(parent context.Context) (context.Context, func()) {
						b := newBrief(parent, most)
						return b, b.end
					})
					want := run(func(parent context.Context) (context.Context, func()) { return context.WithTimeout(parent, most) })
					if !errors.Is(got, want) {
						t.Errorf("ended by %s, seen %s (also before: %v): %v, want %v", end, look, before, got, want)
					}
				})
			}
		}
	}
}

func TestBriefDeadline(t *testing.T) {
	near, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b := newBrief(near, time.Hour)
	defer b.end()
	want, _ := near.Deadline()
	if got, ok := b.Deadline(); !ok || !got.Equal(want) {
		t.Errorf("deadline %v, %v; want that of the parent, %v", got, ok, want)
	}
	far := newBrief(context.Background(), time.Minute)
	defer far.end()
	if got, ok := far.Deadline(); !ok || time.Until(got) > time.Minute {
		t.Errorf("deadline %v, %v", got, ok)
	}
}
