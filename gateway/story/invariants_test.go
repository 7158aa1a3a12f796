package story

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// The invariants, as functions of what was acknowledged, what the log holds and what was on the wire.

// judgeLog holds a conversation's log, as its customer may see it, against what was acknowledged and against the rules of
// ownership. It returns the number of turns that were answered and a line for each fault.
func judgeLog(said map[string]string, log []visible) (answered int, faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	got, turns, replies := map[string]int{}, map[string]int{}, map[string]int{}
	owner := "bot"
	for i, v := range log {
		if v.VSeq != uint64(i+1) {
			fault("event %d has sequence %d", i+1, v.VSeq)
			return 0, faults
		}
		switch {
		case v.Type == "owner":
			owner = v.Owner.Kind
		case v.Type != "message":
		case v.By == "customer":
			got[v.ClientID]++
			if want, ok := said[v.ClientID]; ok && v.Part.Text != want {
				fault("%s reads %q, was %q", v.ClientID, v.Part.Text, want)
			}
		case v.By == "bot":
			turns[v.Turn]++
			if owner != "bot" {
				fault("the bot spoke at %d while %s had the conversation", v.VSeq, owner)
			}
		case v.By == "agent":
			replies[v.Part.Text]++
			if owner != "agent" {
				fault("an agent spoke at %d while %s had the conversation", v.VSeq, owner)
			}
		}
	}
	for id := range said {
		if got[id] == 0 {
			fault("%s was acknowledged and is not there", id)
		}
	}
	for what, counts := range map[string]map[string]int{"the message": got, "the answer to turn": turns, "the reply": replies} {
		for id, times := range counts {
			if times > 1 {
				fault("%s %s is there %d times", what, id, times)
			}
		}
	}
	slices.Sort(faults)
	return len(turns), faults
}

// judgeWire holds what a customer's stream was sent, over all the times that it was resumed, against the log: each event
// once, in order, without gaps, and as it is in the log.
func judgeWire(wire, log []visible) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for i, v := range wire {
		switch {
		case v.VSeq != uint64(i+1):
			fault("the wire has event %d in place %d", v.VSeq, i+1)
			return faults
		case i >= len(log):
			fault("event %d was on the wire and is not in the log", v.VSeq)
		case v.ID != log[i].ID || v.Type != log[i].Type || v.By != log[i].By || text(v) != text(log[i]):
			fault("event %d was on the wire as %s by %s, %q, and is %s by %s, %q", v.VSeq, v.Type, v.By, text(v), log[i].Type, log[i].By, text(log[i]))
		}
	}
	return faults
}

// judgeKept holds a conversation's log, as people see it, against everything that its customer said: each is there, once, and
// the bot was silent while others had it.
func judgeKept(said map[string]string, l logged) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	count := map[string]int{}
	for _, words := range said {
		count[words]++
	}
	owner := "bot"
	for _, e := range l.Events {
		switch {
		case e.Owner != nil:
			owner = e.Owner.To.Kind
		case e.Type == "message.received":
			count[e.Message.Text]--
		case e.Type == "message.sent" && e.Message.By == "bot" && owner != "bot":
			fault("the bot spoke at %d while %s had the conversation", e.Seq, owner)
		}
	}
	for words, n := range count {
		if n != 0 {
			fault("%q is there %d times less than it was said", words, n)
		}
	}
	return faults
}

func text(v visible) string {
	if v.Part == nil {
		return ""
	}
	return v.Part.Text
}

// judgeGrowth looks for what grows with time in one life of a process: the median of the last third of the samples against
// that of the second; the first is the time in which a process fills its caches. Short lives say nothing.
func judgeGrowth(life []figures, every time.Duration) (faults []string) {
	if time.Duration(len(life))*every < time.Minute || len(life) < 9 {
		return nil
	}
	for _, of := range growths {
		if was, is := of.between(life); is > int64(math.Ceil(float64(was)*of.factor))+of.slack {
			faults = append(faults, fmt.Sprintf("%s grew from %d to %d within %s", of.name, was, is, time.Duration(len(life)/3)*every))
		}
	}
	return faults
}

// growth is a figure that may not grow by more than factor and slack.
type growth struct {
	name   string
	value  func(figures) int64
	factor float64
	slack  int64
}

var growths = []growth{
	{"goroutines", func(f figures) int64 { return f.goroutines }, 1.25, 50},
	{"files", func(f figures) int64 { return f.files }, 1.25, 20},
	{"memory", func(f figures) int64 { return f.heap + f.stacks }, 1.2, 32 << 20},
}

// between returns the figure's medians in the second and in the last third of a life.
func (g growth) between(life []figures) (was, is int64) {
	third := len(life) / 3
	return median(life[third:2*third], g.value), median(life[2*third:], g.value)
}

func median(life []figures, value func(figures) int64) int64 {
	values := make([]int64, len(life))
	for i, f := range life {
		values[i] = value(f)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// The control: each fault that can be made is found, and what is sound is not complained about.
func TestInvariantsAreJudged(t *testing.T) {
	said := map[string]string{"1": "hello", "2": "agent"}
	message := func(by, id, client, turn, words string) visible {
		return visible{Type: "message", By: by, ID: id, ClientID: client, Turn: turn, Part: &part{words}}
	}
	owned := func(kind string) visible { return visible{Type: "owner", Owner: &owner{Kind: kind}} }
	sound := func() []visible {
		return number([]visible{
			message("customer", "m1", "1", "", "hello"), message("bot", "m2", "", "t1", "you said: hello"), message("customer", "m3", "2", "", "agent"),
			owned("queued"), owned("agent"), message("agent", "m4", "", "", "reply 1"), owned("bot"),
		})
	}
	if n, faults := judgeLog(said, sound()); n != 1 || len(faults) > 0 {
		t.Errorf("a sound log: %d turns, %q", n, faults)
	}
	for name, change := range map[string]func([]visible) []visible{
		"lost":            func(l []visible) []visible { return number(l[1:]) },
		"twice":           func(l []visible) []visible { return number(append(l, l[0])) },
		"another text":    func(l []visible) []visible { l[0].Part = &part{"hullo"}; return l },
		"a gap":           func(l []visible) []visible { return slices.Delete(l, 1, 2) },
		"an answer twice": func(l []visible) []visible { return number(append(l, l[1])) },
		"a reply twice":   func(l []visible) []visible { return number(slices.Insert(l, 6, l[5])) },
		"the bot under a person": func(l []visible) []visible {
			return number(slices.Insert(l, 5, message("bot", "m9", "", "t2", "late")))
		},
		"the bot before the queue": func(l []visible) []visible {
			return number(slices.Insert(l, 4, message("bot", "m9", "", "t2", "late")))
		},
		"an agent who has it not":   func(l []visible) []visible { return number(append(l, message("agent", "m9", "", "", "late"))) },
		"an order that is not kept": func(l []visible) []visible { l[0], l[1] = l[1], l[0]; return l },
	} {
		if _, faults := judgeLog(said, change(sound())); len(faults) == 0 {
			t.Errorf("%s is not noticed in the log", name)
		}
	}
	for _, wire := range [][]visible{nil, sound()[:3], sound()} {
		if faults := judgeWire(wire, sound()); len(faults) > 0 {
			t.Errorf("a sound wire of %d events: %q", len(wire), faults)
		}
	}
	for name, change := range map[string]func([]visible) []visible{
		"said twice":     func(l []visible) []visible { return slices.Insert(l, 2, l[1]) },
		"passed over":    func(l []visible) []visible { return slices.Delete(l, 2, 3) },
		"not in the log": func(l []visible) []visible { return number(append(l, message("bot", "m9", "", "t9", "never"))) },
		"another text":   func(l []visible) []visible { l[1].Part = &part{"something else"}; return l },
		"another author": func(l []visible) []visible { l[1].By = "agent"; return l },
	} {
		if len(judgeWire(change(sound()), sound())) == 0 {
			t.Errorf("%s is not noticed on the wire", name)
		}
	}
	kept := func(events string) (l logged) {
		if err := json.Unmarshal([]byte(`{"events": [`+events+`]}`), &l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	const hello, agent, queued = `{"type": "message.received", "message": {"text": "hello"}}`, `{"type": "message.received", "message": {"text": "agent"}}`, `{"type": "owner.changed", "owner": {"to": {"kind": "queued"}}}`
	if faults := judgeKept(said, kept(hello+","+agent+","+queued)); len(faults) > 0 {
		t.Errorf("a sound log of people's: %q", faults)
	}
	for name, events := range map[string]string{
		"lost": hello, "twice": hello + "," + agent + "," + hello, "the bot in the queue": hello + "," + agent + "," + queued + `,{"type": "message.sent", "message": {"by": "bot"}}`,
	} {
		if len(judgeKept(said, kept(events))) != 1 {
			t.Errorf("%s is not noticed in people's log", name)
		}
	}
	life := make([]figures, 60)
	for i := range life {
		life[i] = figures{heap: 100 << 20, stacks: 1 << 20, goroutines: int64(200 + i%7), files: 50}
	}
	if faults := judgeGrowth(life, 2*time.Second); len(faults) > 0 {
		t.Errorf("a steady life: %q", faults)
	}
	for name, grow := range map[string]func(f *figures, i int64){
		"memory": func(f *figures, i int64) { f.heap += i * 4 << 20 }, "goroutines": func(f *figures, i int64) { f.goroutines += 20 * i },
		"files": func(f *figures, i int64) { f.files += 5 * i },
	} {
		growing := slices.Clone(life)
		for i := range growing {
			grow(&growing[i], int64(i))
		}
		if len(judgeGrowth(growing, 2*time.Second)) != 1 {
			t.Errorf("growing %s are not noticed", name)
		}
	}
}

// number gives events their sequence.
func number(log []visible) []visible {
	log = slices.Clone(log)
	for i := range log {
		log[i].VSeq = uint64(i + 1)
	}
	return log
}
