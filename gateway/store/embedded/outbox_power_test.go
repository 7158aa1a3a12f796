package embedded_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
)

// sending is a store on which messages are sent up to some step, before the power is cut.
type sending struct {
	*testing.T
	o embedded.Options
	s *embedded.Store
	r store.Ref
}

// step commits what cmds and fill make of the conversation.
func (w *sending) step(fill func(*store.Step), cmds ...conversation.Command) *conversation.State {
	w.Helper()
	snap := load(w, w.s, w.r)
	st := store.Step{Ref: w.r, Op: store.Token(w.o.IDs.Token()), Base: snap.Version}
	d := conversation.Begin(snap.State, conversation.Env{
		Now: w.o.Now().UnixMilli(), Op: string(st.Op), Actor: conversation.Actor{Kind: conversation.System}, Outgoing: snap.Outgoing,
	})
	for _, c := range cmds {
		if err := d.Do(c); err != nil {
			w.Fatal(err)
		}
	}
	st.Events, st.State = d.Events, d.Result()
	if fill != nil {
		fill(&st)
	}
	commit(w, w.s, st)
	return st.State
}

// push says something by the bot.
func (w *sending) push() string {
	w.Helper()
	m := w.o.IDs.New(id.Message, 0)
	w.step(func(st *store.Step) {
		row := store.OutboxRow{ID: store.RowOf(m), Epoch: st.State.Epoch, Seq: st.State.Seq, Out: message.Outbound{ID: m, To: sender, By: message.ByBot, Part: message.Part{Text: "x"}}}
		st.Outbox = []store.OutboxRow{row}
	}, conversation.Say{Sent: conversation.Sent{ID: m, Part: message.Part{Text: "x"}}})
	return m
}

func (w *sending) lease() (store.LeasedRow, error) {
	now := w.o.Now().UnixMilli()
	return w.s.Lease(w.Context(), w.r, now, now+60_000)
}

func (w *sending) settle(row store.LeasedRow, end store.Settlement, status message.Status) {
	w.Helper()
	end.Row, end.Token = row.Row.ID, row.Token
	w.step(func(st *store.Step) { st.Settle = &end }, conversation.SetStatus{ID: row.Row.Out.ID, Status: status, Code: "x"})
}

// cut is one thing that was acknowledged before the cut, and what has to hold after it. Each returns what is wrong.
var cuts = map[string]func(w *sending) (after func(*sending) error){
	"said": func(w *sending) func(*sending) error {
		m := w.push()
		return func(w *sending) error { return w.next(m, 1, 0) }
	},
	"begun": func(w *sending) func(*sending) error {
		m := w.push()
		if _, err := w.lease(); err != nil {
			w.Fatal(err)
		}
		return func(w *sending) error { return w.next(m, 2, 1) }
	},
	"to be tried again": func(w *sending) func(*sending) error {
		m := w.push()
		row, err := w.lease()
		if err != nil {
			w.Fatal(err)
		}
		w.settle(row, store.Settlement{End: store.Retry, Unsure: true}, message.Uncertain)
		return func(w *sending) error { return w.next(m, 2, 1) }
	},
	"sent": func(w *sending) func(*sending) error {
		w.push()
		row, err := w.lease()
		if err != nil {
			w.Fatal(err)
		}
		w.settle(row, store.Settlement{}, message.Sent)
		return (*sending).nothing
	},
	"dead": func(w *sending) func(*sending) error {
		m := w.push()
		row, err := w.lease()
		if err != nil {
			w.Fatal(err)
		}
		w.settle(row, store.Settlement{End: store.Bury, Code: "x"}, message.Failed)
		return func(w *sending) error {
			if _, err := w.s.DeadLetter(w.Context(), w.r.Tenant, store.RowOf(m)); err != nil {
				return err
			}
			return w.nothing()
		}
	},
	"brought back": func(w *sending) func(*sending) error {
		m := w.push()
		row, err := w.lease()
		if err != nil {
			w.Fatal(err)
		}
		w.settle(row, store.Settlement{End: store.Bury, Code: "x"}, message.Failed)
		w.step(func(st *store.Step) { st.Redrive = &store.Redrive{Row: row.Row.ID} }, conversation.Resend{ID: m})
		return func(w *sending) error { return w.next(m, 2, 0) }
	},
	"cancelled": func(w *sending) func(*sending) error {
		flying := w.push()
		w.push()
		if _, err := w.lease(); err != nil {
			w.Fatal(err)
		}
		w.step(nil, conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 5}})
		return func(w *sending) error {
			out := load(w, w.s, w.r).Outgoing
			if len(out) != 1 || out[0].Message != flying || !out[0].InFlight {
				return fmt.Errorf("waiting: %+v", out)
			}
			var lapsed *store.LapsedError
			if row, err := w.lease(); !errors.As(err, &lapsed) {
				return fmt.Errorf("handed out: %+v, %w", row, err)
			}
			return nil
		}
	},
}

// next looks that a message is the next to be sent, by which attempt, after how many without a result.
func (w *sending) next(m string, attempt, unsure int) error {
	row, err := w.lease()
	if err != nil || row.Row.Out.ID != m || row.Attempt != attempt || row.Unsure != unsure {
		return fmt.Errorf("the next is %s, attempt %d, %d unsure, %w; want %s, %d, %d", row.Row.Out.ID, row.Attempt, row.Unsure, err, m, attempt, unsure)
	}
	return nil
}

func (w *sending) nothing() error {
	if row, err := w.lease(); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("handed out again: %s, %w", row.Row.Out.ID, err)
	}
	return nil
}

// cutSends cuts the power after each kind of step, rounds times, and returns what did not hold after it.
func cutSends(t *testing.T, rounds int, noSync bool) (wrong []string) {
	rng := rand.New(rand.NewPCG(11, 1))
	names := make([]string, 0, len(cuts))
	for name := range cuts {
		names = append(names, name)
	}
	slices.Sort(names)
	for round := range rounds {
		for _, name := range names {
			fs := vfs.NewCrashableMem()
			o := options(fs, time.Now)
			o.UnsafeNoSync = noSync
			w := &sending{T: t, o: o, s: open(t, o)}
			st := draft(t, o, sender, nil, "hello")
			commit(t, w.s, st)
			w.r = st.Ref
			holds := cuts[name](w)
			after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			closeStore(t, w.s)

			o.FS = after
			w.o, w.s = o, open(t, o)
			if _, err := w.s.Load(t.Context(), w.r); err != nil {
				wrong = append(wrong, name+": the conversation is lost")
			} else if err := holds(w); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s, round %d: %v", name, round, err))
			}
			if !noSync {
				sound(t, w.s)
			}
			closeStore(t, w.s)
		}
	}
	return wrong
}

// TestPowerCutSends: what was acknowledged of a send holds after a power cut. Above all an attempt that was durable before
// its message left is known to have begun, and what was cancelled stays so.
func TestPowerCutSends(t *testing.T) {
	for _, w := range cutSends(t, scaled(3, 12, 100), false) {
		t.Error(w)
	}
}

// TestPowerCutSendsControl does without fsync: the suite can see what is lost.
func TestPowerCutSendsControl(t *testing.T) {
	if wrong := cutSends(t, 3, true); len(wrong) == 0 {
		t.Error("without fsync everything holds: the suite cannot see a loss")
	}
}
