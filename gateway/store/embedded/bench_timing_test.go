package embedded_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
)

// cpu returns the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reply answers the turn that the message before began, with what the rules saw.
func reply(b *testing.B, o embedded.Options, last store.Step) store.Step {
	b.Helper()
	st := store.Step{Ref: last.Ref, Base: last.Op, Op: store.Token(o.IDs.Token()), Holding: last.Take.Token, Drop: true}
	d := conversation.Begin(last.State, conversation.Env{Now: o.Now().UnixMilli(), Op: string(st.Op), Actor: conversation.Actor{Kind: conversation.Bot}})
	if err := d.Do(conversation.AnswerTurn{
		Turn:     last.State.Turn.ID,
		Decision: conversation.Decision{Kind: conversation.DecisionPass, Rules: 3, Matched: []string{"a", "b"}},
		Parts:    []conversation.Sent{{ID: o.IDs.New(id.Message, 0), By: message.ByBot, Part: message.Part{Text: strings.Repeat("An answer. ", 20)}}},
	}); err != nil {
		b.Fatal(err)
	}
	st.Events, st.State = d.Events, &d.State
	return st
}

// ask is a customer's message that begins a turn.
func ask(b *testing.B, o embedded.Options, from message.Address, snap *store.Snapshot) store.Step {
	b.Helper()
	st := draft(b, o, from, snap, strings.Repeat("Where is my order? ", 5))
	d := conversation.Begin(st.State, conversation.Env{Now: o.Now().UnixMilli(), Op: string(st.Op), Actor: conversation.Actor{Kind: conversation.System}})
	if err := d.Do(conversation.StartTurn{ID: o.IDs.New(id.Turn, 0), Bot: "b"}); err != nil {
		b.Fatal(err)
	}
	st.Events, st.State = append(st.Events, d.Events...), &d.State
	st.Take = store.Lease{Token: store.Token(o.IDs.Token()), Until: o.Now().UnixMilli() + 30000}
	return st
}

// BenchmarkCommit measures one commit of a turn (two commits) with all its parts: decided, encoded, sealed, deduplicated,
// audited, durable. cpu-µs/op is of the whole process, Pebble's flushes and compactions included.
func BenchmarkCommit(b *testing.B) {
	for _, where := range []string{"disk", "memory"} {
		b.Run(where, func(b *testing.B) {
			o := options(vfs.NewMem(), time.Now)
			if where == "disk" {
				o = onDisk(b.TempDir())
			}
			s := open(b, o)
			defer closeStore(b, s)
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(32)
			began := cpu(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				var last store.Step
				ref, turns := int64(0), 0
				for pb.Next() {
					if turns%20 == 0 {
						ref, last = n.Add(1), store.Step{}
					}
					if last.State != nil && last.State.Turn != nil {
						last = reply(b, o, last)
					} else {
						from := message.Address{Channel: "acme.web", Address: fmt.Sprint("v", ref)}
						var snap *store.Snapshot
						if last.State != nil {
							snap = &store.Snapshot{Ref: last.Ref, Version: last.Op, State: last.State}
						}
						last = ask(b, o, from, snap)
					}
					turns++
					if _, err := s.Commit(b.Context(), last); err != nil {
						b.Errorf("committing: %v", err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64((cpu(b)-began).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(s.Health(b.Context()).Fsync.Microseconds()), "sync-µs")
		})
	}
}

// BenchmarkTurn measures what the store does for a turn: finding the sender, taking the message, taking the answer. Sixty-four
// writers have a thousand conversations between them. The figures are of a whole turn.
func BenchmarkTurn(b *testing.B) {
	for _, where := range []string{"disk", "memory"} {
		b.Run(where, func(b *testing.B) {
			o := options(vfs.NewMem(), time.Now)
			if where == "disk" {
				o = onDisk(b.TempDir())
			}
			s := open(b, o)
			defer closeStore(b, s)
			ten := tenant(b)
			var n atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(32)
			began := cpu(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				writer := n.Add(1)
				for i := 0; pb.Next(); i++ {
					from := message.Address{Channel: "acme.web", Address: fmt.Sprint("v", writer, "-", i%16)}
					found, err := s.Find(b.Context(), ten, from, []string{fmt.Sprint(writer, ".", i)})
					if err != nil || len(found.Known) != 0 {
						b.Errorf("finding: %v, %v", found.Known, err)
						return
					}
					st := ask(b, o, from, found.Snapshot)
					st.Dedupe[0].ID = fmt.Sprint(writer, ".", i)
					if _, err := s.Commit(b.Context(), st); err != nil {
						b.Errorf("committing the message: %v", err)
						return
					}
					if _, err := s.Commit(b.Context(), reply(b, o, st)); err != nil {
						b.Errorf("committing the answer: %v", err)
						return
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64((cpu(b)-began).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(s.Health(b.Context()).Fsync.Microseconds()), "sync-µs")
		})
	}
}

// BenchmarkFind asks for a known sender: with an id that is new, as nearly every message is, and with one that is known.
func BenchmarkFind(b *testing.B) {
	o := options(vfs.NewMem(), time.Now)
	o.UnsafeNoSync = true
	s := open(b, o)
	defer closeStore(b, s)
	var ids []string
	for i := range 20000 {
		st := draft(b, o, message.Address{Channel: "acme.web", Address: fmt.Sprint("v", i)}, nil, "hello")
		ids = append(ids, string(st.Op))
		if _, err := s.Commit(b.Context(), st); err != nil {
			b.Fatal(err)
		}
	}
	for name, idOf := range map[string]func(i int) string{
		"miss": func(i int) string { return fmt.Sprint("new", i) },
		"hit":  func(i int) string { return ids[i] },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 1) % 5000
				from := message.Address{Channel: "acme.web", Address: fmt.Sprint("v", i)}
				if _, err := s.Find(b.Context(), tenant(b), from, []string{idOf(i)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen opens a store of 10,000 conversations that wait for people, among 30,000 that do not.
func BenchmarkOpen(b *testing.B) {
	o := options(vfs.NewMem(), time.Now)
	o.UnsafeNoSync = true
	s := open(b, o)
	for i := range 40000 {
		st := draft(b, o, message.Address{Channel: "acme.web", Address: fmt.Sprint("v", i)}, nil, "hello")
		if i%4 == 0 {
			d := conversation.Begin(st.State, conversation.Env{Now: int64(i), Op: string(st.Op), Actor: conversation.Actor{Kind: conversation.System}})
			if err := d.Do(conversation.Divert{Handoff: conversation.Handoff{Rule: "r", Queue: "q", Priority: 1 + i%9}}); err != nil {
				b.Fatal(err)
			}
			st.Events, st.State = append(st.Events, d.Events...), &d.State
		}
		if _, err := s.Commit(b.Context(), st); err != nil {
			b.Fatal(err)
		}
	}
	closeStore(b, s)
	closeStore(b, open(b, o)) // the log of the load is in tables now
	for b.Loop() {
		s := open(b, o)
		depth, err := s.Depth(b.Context(), tenant(b))
		if err != nil || depth["q"] != 10000 {
			b.Fatalf("%d wait, %v", depth["q"], err)
		}
		b.StopTimer()
		closeStore(b, s)
		b.StartTimer()
	}
}
