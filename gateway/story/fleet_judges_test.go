package story

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
)

// The invariants of several nodes, as functions of what was acknowledged, of the logs as the store has them, and of what was
// on the wire at which time. Each returns a line for every fault.

// talk is a conversation as the store has it when all is over.
type talk struct {
	id    string
	state *conversation.State
	log   []conversation.Event
}

// accepted is a message that a customer was told of: in which conversation it is.
type accepted struct{ conversation, id, text string }

// claimed is what came of one agent's claim.
type claimed struct {
	conversation, agent string
	round               int // those of one round were made at once
	won                 bool
}

// pushed is a message that reached the provider.
type pushed struct {
	id string
	at int64 // ms, when it had arrived
}

type faultList []string

func (f *faultList) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// judgeAccepted: what was acknowledged is in the log of the conversation that the customer was told, and a sender's id has
// one effect in all conversations together.
func judgeAccepted(acks []accepted, talks []talk) (faults faultList) {
	type sent struct{ channel, address, id string }
	effects := map[sent]int{}
	words := map[accepted]bool{}
	for _, t := range talks {
		from := t.state.From
		for _, e := range t.log {
			if d, ok := e.Data.(*conversation.Received); ok {
				effects[sent{from.Channel, from.Address, d.In.ID}]++
				words[accepted{t.id, d.In.ID, d.In.Text}] = true
			}
		}
	}
	for s, n := range effects {
		if n != 1 {
			faults.add("message %s of a sender on %s had %d effects", s.id, s.channel, n)
		}
	}
	for _, a := range acks {
		if !words[a] {
			faults.add("message %s was acknowledged and is not in %s as it was said", a.id, a.conversation)
		}
	}
	return faults
}

// judgeTurns: turns of a conversation do not overlap, take the messages in order, skip none and take none twice, the bot
// speaks in its own turn and while it has the conversation, and nothing that was said to it waits for an answer.
func judgeTurns(t talk) (answered int, faults faultList) {
	fault := func(e conversation.Event, format string, args ...any) {
		faults.add("%s, event %d: "+format, append([]any{t.id, e.Seq}, args...)...)
	}
	var open, orphan *conversation.TurnBegun
	var waiting []uint64
	ended, last := map[string]bool{}, uint64(0)
	owner := message.OwnerBot
	for _, e := range t.log {
		switch d := e.Data.(type) {
		case *conversation.Received:
			if owner == message.OwnerBot && d.In.Kind.StartsTurn() {
				waiting = append(waiting, e.Seq)
			}
		case *conversation.TurnBegun:
			if d.Attempt > 1 {
				if open == nil || open.ID != d.ID || open.From != d.From || open.To != d.To {
					fault(e, "turn %s is repeated, and is not the one that is open", d.ID)
				}
				continue
			}
			switch {
			case open != nil || orphan != nil:
				fault(e, "turn %s began before the one before it had ended", d.ID)
			case ended[d.ID]:
				fault(e, "turn %s began twice", d.ID)
			case owner != message.OwnerBot:
				fault(e, "turn %s began while %s had the conversation", d.ID, owner)
			case d.From <= last:
				fault(e, "turn %s takes message %d again", d.ID, d.From)
			case len(waiting) == 0 || d.From != waiting[0] || d.To != waiting[len(waiting)-1]:
				fault(e, "turn %s takes messages %d to %d, and %v wait", d.ID, d.From, d.To, waiting)
			}
			open, last, waiting = d, d.To, nil
		case *conversation.Decision:
			if d.Phase != conversation.Answer || d.Turn == "" {
				continue
			}
			if open == nil || open.ID != d.Turn {
				fault(e, "turn %s is answered and is not open", d.Turn)
			}
			answered++
			ended[d.Turn], open = true, nil
		case *conversation.TurnBroken:
			if d.Final {
				ended[d.ID], open = true, nil
			}
		case *conversation.TurnDropped:
			if orphan == nil || orphan.ID != d.ID {
				fault(e, "turn %s is dropped and was not cut off", d.ID)
			}
			ended[d.ID], orphan = true, nil
		case *conversation.Sent:
			if d.By != message.ByBot {
				continue
			}
			if owner != message.OwnerBot {
				fault(e, "the bot spoke while %s had the conversation", owner)
			}
			if !ended[d.Turn] && (open == nil || open.ID != d.Turn) {
				fault(e, "the bot spoke in turn %s, which was none", d.Turn)
			}
		case *conversation.OwnerMoved:
			if d.From.Kind == message.OwnerBot && open != nil {
				orphan, open = open, nil
			}
			owner, waiting = d.To.Kind, nil
		}
	}
	if owner == message.OwnerBot && (open != nil || len(waiting) > 0) || orphan != nil {
		faults.add("%s: something that was said to the bot is left without an end: turn %v, cut off %v, messages %v", t.id, open, orphan, waiting)
	}
	return answered, faults
}

// judgeOwners: each change of owner starts from the owner that was, under an epoch that no other has.
func judgeOwners(t talk) (changes int, faults faultList) {
	owner := conversation.Owner{Kind: message.OwnerBot}
	epochs, ops := map[uint64]bool{}, map[string]bool{}
	var newest uint64
	for _, e := range t.log {
		if e.Epoch.N < newest {
			faults.add("%s, event %d: its epoch is %d after %d", t.id, e.Seq, e.Epoch.N, newest)
		}
		newest = e.Epoch.N
		d, ok := e.Data.(*conversation.OwnerMoved)
		if !ok {
			continue
		}
		changes++
		if d.From != owner {
			faults.add("%s, event %d: it was taken from %s %s, and %s %s had it", t.id, e.Seq, d.From.Kind, d.From.Agent, owner.Kind, owner.Agent)
		}
		if epochs[e.Epoch.N] || ops[e.Epoch.Op] {
			faults.add("%s, event %d: two changes of owner have the epoch %d", t.id, e.Seq, e.Epoch.N)
		}
		owner, epochs[e.Epoch.N], ops[e.Epoch.Op] = d.To, true, true
	}
	return changes, faults
}

// judgeClaims: of those who claimed at once at most one was told that it won, and each who was told stands in the log, once.
func judgeClaims(claims []claimed, talks []talk) (faults faultList) {
	type pair struct{ conversation, agent string }
	told, logged := map[pair]int{}, map[pair]int{}
	winners := map[int]int{}
	for _, c := range claims {
		if c.won {
			told[pair{c.conversation, c.agent}]++
			winners[c.round]++
		}
	}
	for round, n := range winners {
		if n > 1 {
			faults.add("round %d: %d agents were told that they won", round, n)
		}
	}
	for _, t := range talks {
		for _, e := range t.log {
			if d, ok := e.Data.(*conversation.OwnerMoved); ok && d.Reason == conversation.ReasonClaim {
				logged[pair{t.id, d.To.Agent}]++
			}
		}
	}
	for p := range told {
		if _, ok := logged[p]; !ok {
			logged[p] = 0
		}
	}
	for p, n := range logged {
		if told[p] != n {
			faults.add("%s: %s was told %d times that the claim won, and the log has %d", p.conversation, p.agent, told[p], n)
		}
	}
	return faults
}

// judgeCapacity sweeps over all logs together: nobody holds more at a time than fits. It returns the most that anybody held.
// A claim is decided after its place was reserved, and a place is free only after the step that frees it, so the times of
// the logs, which are those of one machine's clock, tell the order.
func judgeCapacity(talks []talk, capacity int) (most int, faults faultList) {
	type change struct {
		at    int64
		by    int
		agent string
	}
	var changes []change
	for _, t := range talks {
		for _, e := range t.log {
			d, ok := e.Data.(*conversation.OwnerMoved)
			if !ok {
				continue
			}
			if d.From.Agent != "" && d.From.Kind == message.OwnerAgent {
				changes = append(changes, change{e.At, -1, d.From.Agent})
			}
			if d.To.Agent != "" && d.To.Kind == message.OwnerAgent {
				changes = append(changes, change{e.At, 1, d.To.Agent})
			}
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	held := map[string]int{}
	for _, c := range changes {
		held[c.agent] += c.by
		if held[c.agent] > capacity {
			faults.add("%s held %d at %d, and %d fit", c.agent, held[c.agent], c.at, capacity)
		}
		most = max(most, held[c.agent])
	}
	return most, faults
}

// judgePushes: nothing of the bot reaches the provider while people have the conversation, except what the takeover has
// marked as in flight.
func judgePushes(t talk, wire []pushed) (faults faultList) {
	ofBot, inFlight := map[string]bool{}, map[string]bool{}
	type term struct{ from, to int64 }
	var human []term
	for _, e := range t.log {
		switch d := e.Data.(type) {
		case *conversation.Sent:
			ofBot[d.ID] = d.By == message.ByBot
		case *conversation.Handoff:
			for _, id := range d.InFlight {
				inFlight[id] = true
			}
		case *conversation.OwnerMoved:
			for _, id := range d.InFlight {
				inFlight[id] = true
			}
			if was := d.From.Kind == message.OwnerBot; was && d.ToPeople() {
				human = append(human, term{e.At, 1<<63 - 1})
			} else if !was && !d.ToPeople() && len(human) > 0 {
				human[len(human)-1].to = min(human[len(human)-1].to, e.At)
			} else if !was && d.ToPeople() && d.From.Kind == message.OwnerClosed {
				human = append(human, term{e.At, 1<<63 - 1})
			}
		}
	}
	for _, p := range wire {
		for _, h := range human {
			if ofBot[p.id] && !inFlight[p.id] && h.from < p.at && p.at < h.to {
				faults.add("%s: the bot's message %s reached the provider %d ms after people had taken over", t.id, p.id, p.at-h.from)
			}
		}
	}
	return faults
}

// views is what the store shows of the queues.
type views struct {
	waiting []string       // conversations
	load    map[string]int // by agent
}

// judgeViews: the queue holds exactly the conversations that wait by their own logs, and the agents what is theirs.
func judgeViews(v views, talks []talk) (faults faultList) {
	want, load := map[string]bool{}, map[string]int{}
	for _, t := range talks {
		owner := conversation.Owner{Kind: message.OwnerBot}
		for _, e := range t.log {
			if d, ok := e.Data.(*conversation.OwnerMoved); ok {
				owner = d.To
			}
		}
		switch owner.Kind {
		case message.OwnerQueued:
			want[t.id] = true
		case message.OwnerAgent:
			load[owner.Agent]++
		}
	}
	for _, c := range v.waiting {
		if !want[c] {
			faults.add("%s is in the queue, once too often or not by its log", c)
		}
		delete(want, c)
	}
	for c := range want {
		faults.add("%s waits and is in no queue", c)
	}
	for agent, n := range v.load {
		if load[agent] != n {
			faults.add("%s holds %d by the view and %d by the logs", agent, n, load[agent])
		}
	}
	return faults
}

// judgeCalls: a turn is put to the bot with the same words every time.
func judgeCalls(calls []call) (faults faultList) {
	words := map[string]map[string]bool{}
	for _, c := range calls {
		if words[c.Turn] == nil {
			words[c.Turn] = map[string]bool{}
		}
		words[c.Turn][c.User+"\n"+c.Text] = true
	}
	for turn, w := range words {
		if len(w) != 1 {
			faults.add("turn %s was put to the bot with different messages: %q", turn, slices.Collect(maps.Keys(w)))
		}
	}
	return faults
}

// told is a log in the making: each body under the operation and at the time that are given, the epoch as changes of owner
// raise it.
func told(id string, bodies ...conversation.Data) talk {
	t := talk{id: id, state: &conversation.State{ID: id, From: message.Address{Channel: "shop.web", Address: "visitor of " + id}}}
	var epoch conversation.Epoch
	for i, d := range bodies {
		seq := uint64(i + 1)
		op := fmt.Sprintf("op-%s-%d", id, seq)
		if _, ok := d.(*conversation.OwnerMoved); ok || i == 0 {
			epoch = conversation.Epoch{N: epoch.N + 1, Op: op}
		}
		t.log = append(t.log, conversation.Event{Seq: seq, At: 1000 * int64(seq), Epoch: epoch, Op: op, Data: d})
	}
	return t
}

// The control: a sound run has no fault, and each fault that can be made is found by the judge that is there for it.
func TestFleetIsJudged(t *testing.T) {
	bot := conversation.Owner{Kind: message.OwnerBot}
	queued := conversation.Owner{Kind: message.OwnerQueued, Queue: "support"}
	agent := func(name string) conversation.Owner { return conversation.Owner{Kind: message.OwnerAgent, Agent: name} }
	moved := func(from, to conversation.Owner, reason string) *conversation.OwnerMoved {
		return &conversation.OwnerMoved{From: from, To: to, Reason: reason}
	}
	says := func(id, text string) *conversation.Received {
		return &conversation.Received{ID: "m_" + id, In: message.Inbound{ID: id, Kind: message.Text, Text: text}}
	}
	turn := func(id string, from, to uint64, attempt int) *conversation.TurnBegun {
		return &conversation.TurnBegun{ID: id, From: from, To: to, Attempt: attempt}
	}
	answer := func(id string) *conversation.Decision {
		return &conversation.Decision{Kind: conversation.DecisionPass, Phase: conversation.Answer, Turn: id}
	}
	speaks := func(id, turn string) *conversation.Sent {
		return &conversation.Sent{ID: id, By: message.ByBot, Turn: turn}
	}
	// Two conversations: one that was with ana and is with the bot again, one that waits after the bot was cut off.
	type run struct {
		acks   []accepted
		a, b   talk
		claims []claimed
		wire   []pushed
		views  views
		calls  []call
	}
	sound := func() run {
		late := moved(bot, queued, conversation.ReasonHandoff)
		late.InFlight = []string{"m_4"}
		return run{
			acks: []accepted{{"c_a", "1", "hello"}, {"c_a", "2", "agent"}, {"c_a", "3", "and now"}, {"c_b", "1", "hi"}, {"c_b", "2", "agent"}},
			a: told("c_a", &conversation.Begun{ID: "c_a"}, says("1", "hello"), turn("t1", 2, 2, 1), turn("t1", 2, 2, 2), answer("t1"), speaks("m_1", "t1"), // 1-6
				says("2", "agent"), moved(bot, queued, conversation.ReasonHandoff), moved(queued, agent("ana"), conversation.ReasonClaim), // 7-9
				moved(agent("ana"), bot, conversation.ReasonRelease), says("3", "and now"), turn("t2", 11, 11, 1), answer("t2"), speaks("m_2", "t2")), // 10-14
			b: told("c_b", &conversation.Begun{ID: "c_b"}, says("1", "hi"), turn("t3", 2, 2, 1), answer("t3"), speaks("m_4", "t3"), // 1-5
				says("2", "agent"), turn("t4", 6, 6, 1), late, &conversation.TurnDropped{ID: "t4"}), // 6-9
			claims: []claimed{{"c_a", "ana", 1, true}, {"c_a", "ben", 1, false}},
			wire:   []pushed{{"m_1", 6500}, {"m_2", 14500}, {"m_4", 8900}},
			views:  views{waiting: []string{"c_b"}, load: map[string]int{"ana": 0}},
			calls:  []call{{"c_a", "hello", "t1"}, {"c_a", "hello", "t1"}, {"c_a", "and now", "t2"}},
		}
	}
	judges := map[string]func(run) faultList{
		"accepted": func(r run) faultList { return judgeAccepted(r.acks, []talk{r.a, r.b}) },
		"turns": func(r run) faultList {
			_, a := judgeTurns(r.a)
			_, b := judgeTurns(r.b)
			return append(a, b...)
		},
		"owners": func(r run) faultList {
			_, a := judgeOwners(r.a)
			_, b := judgeOwners(r.b)
			return append(a, b...)
		},
		"claims":   func(r run) faultList { return judgeClaims(r.claims, []talk{r.a, r.b}) },
		"capacity": func(r run) faultList { _, f := judgeCapacity([]talk{r.a, r.b}, 1); return f },
		"pushes":   func(r run) faultList { return append(judgePushes(r.a, r.wire), judgePushes(r.b, r.wire)...) },
		"views":    func(r run) faultList { return judgeViews(r.views, []talk{r.a, r.b}) },
		"calls":    func(r run) faultList { return judgeCalls(r.calls) },
	}
	for name, judge := range judges {
		if faults := judge(sound()); len(faults) > 0 {
			t.Errorf("%s: a sound run: %q", name, faults)
		}
	}
	without := func(tk talk, seqs ...uint64) talk {
		tk.log = slices.DeleteFunc(slices.Clone(tk.log), func(e conversation.Event) bool { return slices.Contains(seqs, e.Seq) })
		return tk
	}
	with := func(tk talk, after uint64, d conversation.Data) talk {
		e := tk.log[after-1]
		e.Data = d
		tk.log = slices.Insert(slices.Clone(tk.log), int(after), e)
		return tk
	}
	for fault, change := range map[string]func(*run){
		"accepted: lost":                        func(r *run) { r.a = without(r.a, 11) },
		"accepted: another text":                func(r *run) { r.acks[0].text = "hullo" },
		"accepted: in another conversation":     func(r *run) { r.acks[3].conversation = "c_a" },
		"accepted: twice":                       func(r *run) { r.a = with(r.a, 2, says("1", "hello")) },
		"accepted: twice in two conversations":  func(r *run) { r.b.state.From = r.a.state.From },
		"turns: a second while one is open":     func(r *run) { r.a = with(r.a, 4, turn("t9", 2, 2, 1)) },
		"turns: a second while one is cut off":  func(r *run) { r.b = with(r.b, 8, turn("t9", 6, 6, 1)) },
		"turns: the same twice":                 func(r *run) { r.a = with(r.a, 13, turn("t2", 11, 11, 1)) },
		"turns: a message twice":                func(r *run) { r.a = with(with(r.a, 13, answer("t9")), 13, turn("t9", 2, 11, 1)) },
		"turns: a message skipped":              func(r *run) { r.a = with(r.a, 10, says("4", "skipped")) },
		"turns: left without an answer":         func(r *run) { r.a = without(r.a, 12, 13, 14) },
		"turns: cut off and never written off":  func(r *run) { r.b = without(r.b, 9) },
		"turns: an answer to nothing":           func(r *run) { r.a = without(r.a, 12) },
		"turns: repeated with another range":    func(r *run) { r.a.log[3].Data = turn("t1", 2, 3, 2) },
		"turns: the bot speaks under a person":  func(r *run) { r.a = with(r.a, 9, speaks("m_9", "t1")) },
		"turns: the bot speaks out of its turn": func(r *run) { r.a = with(r.a, 14, speaks("m_9", "t9")) },
		"owners: from one who has it not":       func(r *run) { r.a = without(r.a, 9) },
		"owners: two with one epoch":            func(r *run) { r.a.log[8].Epoch = r.a.log[7].Epoch },
		"owners: an epoch that goes back":       func(r *run) { r.a.log[13].Epoch.N = 1 },
		"claims: two winners":                   func(r *run) { r.claims[1].won = true },
		"claims: won and not in the log":        func(r *run) { r.a = without(r.a, 9) },
		"claims: in the log and not won":        func(r *run) { r.claims[0].won = false },
		"claims: in the log twice":              func(r *run) { r.a = with(r.a, 9, moved(queued, agent("ana"), conversation.ReasonClaim)) },
		"capacity: two at a time": func(r *run) {
			r.b = with(r.b, 9, moved(queued, agent("ana"), conversation.ReasonClaim))
			r.b.log[9].At = 9500
		},
		"pushes: under a person":             func(r *run) { r.wire = append(r.wire, pushed{"m_1", 9500}) },
		"pushes: in the queue":               func(r *run) { r.wire = append(r.wire, pushed{"m_1", 8001}) },
		"pushes: never given back":           func(r *run) { r.wire[2].id, r.b.log[4].Data = "m_5", speaks("m_5", "t3") },
		"views: missing":                     func(r *run) { r.views.waiting = nil },
		"views: one that does not wait":      func(r *run) { r.views.waiting = append(r.views.waiting, "c_a") },
		"views: one twice":                   func(r *run) { r.views.waiting = append(r.views.waiting, "c_b") },
		"views: a place that was not freed":  func(r *run) { r.views.load["ana"] = 1 },
		"views: a place that was not taken":  func(r *run) { r.a = without(r.a, 10) },
		"calls: other words under one turn":  func(r *run) { r.calls[1].Text = "hullo" },
		"calls: another talk under one turn": func(r *run) { r.calls[1].User = "c_b" },
	} {
		r := sound()
		change(&r)
		judge, _, _ := strings.Cut(fault, ":")
		if len(judges[judge](r)) == 0 {
			t.Errorf("%s: it is not noticed", fault)
		}
	}
}
