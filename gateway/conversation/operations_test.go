package conversation_test

import (
	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
	"turnout/rules/signal"
)

// The operations that a world draws from: the commands of one commit, each with its part of the model.

func open() act {
	return act{actor: customer, c: conv.Open{ID: "c_1", From: address}, model: (*model).open}
}

func receive(id string, rules int) act {
	memory := signal.Memory{Language: "en", Customer: signal.Digests{uint64(rules)}}
	return act{actor: customer, c: conv.Receive{ID: id, In: inbound(id, "hello"), Rules: rules, Memory: memory},
		model: func(m *model) string { return m.receive(true) }}
}

func write(w *world) []act {
	acts := []act{receive(w.id("m"), pick(w, "rules", 1, 2))}
	if w.chance("burst", 4) {
		acts = append(acts, receive(w.id("m"), 1))
	}
	return acts
}

func react(w *world) []act {
	c := conv.Receive{ID: w.id("m"), In: message.Inbound{ID: "r", From: address, Kind: message.Reaction}}
	return []act{{actor: customer, c: c, model: func(m *model) string { return m.receive(false) }}}
}

func diversion(rule, queue string, when after) act {
	return act{actor: system, after: when, c: conv.Divert{Handoff: handoff(rule, queue, conv.PriorityNormal)},
		model: func(m *model) string { return m.divert(rule, queue) }}
}

func askForPerson(w *world) []act {
	return []act{receive(w.id("m"), 1), diversion(conv.ByBareRequest, w.queue(), done)}
}

func divert(w *world) []act {
	return []act{diversion(pick(w, "rule", conv.ByBotDown, conv.ByBotDown, "r"), w.queue(), always)}
}

func startTurn(w *world) []act {
	id := w.id("t")
	w.turns = append(w.turns, id)
	return []act{{actor: bot, c: conv.StartTurn{ID: id}, model: func(m *model) string { return m.start(id) }}}
}

func retake(*world) []act { return []act{{actor: bot, c: conv.RetakeTurn{}, model: (*model).retake}} }

// callOf picks a bot call that something comes back of: mostly the one that is awaited.
func (w *world) callOf() string {
	if awaited := w.model.turn + w.model.orphan; awaited != "" && (w.model.turn == "" || w.model.orphan == "") && !w.chance("old call", 4) {
		return awaited
	}
	return recent(w, "call", w.turns)
}

// answer is a bot's answer, which may be late or a second one; then it is recorded if it is still awaited.
func answer(w *world) []act {
	turn := w.callOf()
	c := conv.AnswerTurn{Turn: turn, Decision: conv.Decision{Kind: conv.DecisionPass, Memory: signal.Memory{Fallbacks: 1}}}
	say := func(by message.By) {
		s := said(w.id("m"), by, "answer")
		s.Turn = turn
		c.Parts = append(c.Parts, s)
	}
	var more []act
	switch pick(w, "answer", "pass", "pass", "pass", "replace", "handoff", "end") {
	case "pass":
		say(message.ByBot)
		if w.chance("two parts", 2) {
			say(message.ByBot)
		}
	case "replace":
		c.Decision.Kind = conv.DecisionReplace
		say(message.BySystem)
	case "handoff":
		c.Decision.Kind = conv.DecisionHandoff
		more = append(more, diversion("r", w.queue(), done))
	case "end":
		say(message.ByBot)
		more = append(more, act{actor: bot, after: done, c: conv.Close{Reason: conv.ReasonBotEnd}, model: (*model).closeAlone})
	}
	first := act{actor: bot, c: c, model: func(m *model) string { return m.end(turn) }}
	if len(more) == 0 {
		late := conv.DiscardTurn{Turn: turn, Reason: "owner_changed", Answer: []message.Part{{Text: "answer"}}}
		more = append(more, act{actor: bot, after: refused, c: late, model: func(m *model) string { return m.discard(turn) }})
	}
	return append([]act{first}, more...)
}

func failTurn(w *world) []act {
	turn, final := w.callOf(), w.chance("final", 2)
	lost := conv.DiscardTurn{Turn: turn, Reason: "lost"}
	return []act{
		{actor: bot, c: conv.FailTurn{Turn: turn, Kind: "timeout", Final: final}, model: func(m *model) string { return m.fail(turn, final) }},
		{actor: system, after: refused, c: lost, model: func(m *model) string { return m.discard(turn) }},
	}
}

func heldBack(w *world) []act {
	id := w.id("m")
	w.held = append(w.held, id)
	return []act{{actor: system, c: conv.Hold{ID: id, In: inbound(id, "hello")}, model: func(m *model) string { return m.hold(id) }}}
}

func review(w *world) []act {
	id, reject := recent(w, "held", w.held), w.chance("reject", 2)
	c := conv.Review{Receive: conv.Receive{ID: id, In: inbound(id, "hello"), Rules: 1}, Reject: reject}
	return []act{{actor: ann, c: c, model: func(m *model) string { return m.review(id, reject) }}}
}

func reply(w *world) []act {
	a, id, until := w.staff(), w.id("m"), int64(0)
	if w.chance("held", 2) {
		until = w.now + 5000
		w.held = append(w.held, id)
		w.armed = append(w.armed, conv.Timer{Name: conv.TimerSend + id, At: until})
	}
	c := conv.Reply{ID: id, Part: message.Part{Text: "reply"}, HoldUntil: until}
	return []act{{actor: a, c: c, model: func(m *model) string {
		if until <= w.now { // tried again after its time: it leaves at once
			return m.reply(a, id, 0)
		}
		return m.reply(a, id, until)
	}}}
}

func sendHeld(id string, when after) act {
	return act{actor: system, after: when, c: conv.SendHeld{Sent: said(id, "", "reply")}, model: func(m *model) string { return m.sendHeld(id) }}
}

// settleSend ends a held reply before its time, or a second time.
func settleSend(w *world) []act {
	a, id := w.staff(), recent(w, "held", w.held)
	if w.chance("now", 2) {
		return []act{sendHeld(id, always)}
	}
	return []act{{actor: a, c: conv.UndoHeld{ID: id}, model: func(m *model) string { return m.undo(a, id) }}}
}

// sweep fires one of the timers that were ever set, at times twice in a row.
func sweep(w *world) []act {
	if len(w.armed) == 0 {
		return setTimer(w)
	}
	timer := pick(w, "timer", w.armed[max(0, len(w.armed)-4):]...)
	fire := act{actor: system, c: conv.FireTimer{Timer: timer}, model: func(m *model) string { return m.fire(timer.Name, timer.At) }}
	acts := []act{fire}
	if id, ok := conv.HeldSend(timer.Name); ok {
		acts = append(acts, sendHeld(id, done))
	}
	if w.chance("twice", 4) {
		acts = append(acts, fire)
	}
	return acts
}

func setTimer(w *world) []act {
	timer := conv.Timer{Name: conv.TimerIdle, At: w.now + pick[int64](w, "in", 1000, 2000)}
	if w.chance("unset", 4) {
		timer.At = 0
	} else {
		w.armed = append(w.armed, timer)
	}
	return []act{{actor: system, c: conv.SetTimer{Timer: timer}, model: func(m *model) string { return m.setTimer(timer.Name, timer.At) }}}
}

func snooze(w *world) []act {
	a, until := w.staff(), int64(0)
	if !w.chance("wake", 3) {
		until = w.now + 3000
		w.armed = append(w.armed, conv.Timer{Name: conv.TimerSnooze, At: until})
	}
	return []act{{actor: a, c: conv.Snooze{Until: until}, model: func(m *model) string { return m.snooze(a, until) }}}
}

// claim is one claim, or two that meet in the same commit: the first wins.
func claim(w *world) []act {
	one := func() act {
		a := pick(w, "claims", ann, ben, supervisor, ann, ben, supervisor, customer, bot)
		override := w.override(a)
		return act{actor: a, c: conv.Claim{Name: "N", Override: override}, model: func(m *model) string { return m.claim(a, override) }}
	}
	if w.chance("race", 2) {
		return []act{one(), one()}
	}
	return []act{one()}
}

func pass(w *world) []act {
	a := w.staff()
	override, queue, agent := w.override(a), pick(w, "to queue", "", "care", "sales"), pick(w, "to agent", "", "", "ann", "ben")
	if w.chance("escalate", 3) {
		return []act{{actor: a, c: conv.Escalate{Queue: queue, Priority: conv.PriorityHigh, Override: override},
			model: func(m *model) string { return m.pass(a, queue, "", conv.ReasonEscalate, override) }}}
	}
	return []act{{actor: a, c: conv.Transfer{Queue: queue, Agent: agent, Name: "N", Override: override},
		model: func(m *model) string { return m.pass(a, queue, agent, conv.ReasonTransfer, override) }}}
}

func release(w *world) []act {
	a := w.staff()
	override := w.override(a)
	return []act{{actor: a, c: conv.Release{Override: override}, model: func(m *model) string { return m.release(a, override) }}}
}

func autoRelease(*world) []act {
	return []act{{actor: system, c: conv.Release{Auto: true}, model: (*model).autoRelease}}
}

func resolve(w *world) []act {
	a := w.staff()
	override := w.override(a)
	return []act{{actor: a, c: conv.Resolve{Override: override}, model: func(m *model) string { return m.resolve(a, override) }}}
}

func closeAlone(w *world) []act {
	reason := pick(w, "reason", conv.ReasonIdle, conv.ReasonCustomer)
	return []act{{actor: system, c: conv.Close{Reason: reason}, model: (*model).closeAlone}}
}

func capture(w *world) []act {
	queue := w.queue()
	return []act{{actor: system, c: conv.Capture{Queue: queue}, model: func(m *model) string { return m.capture(queue) }}}
}

func uncapture(*world) []act {
	return []act{{actor: system, c: conv.Uncapture{}, model: (*model).uncapture}}
}

// reopen is what a customer's message does to a closed conversation.
func reopen(w *world) []act {
	queue := pick(w, "reopen queue", "", "care")
	return []act{
		{actor: customer, c: conv.Reopen{Queue: queue}, model: func(m *model) string { return m.reopen(queue) }},
		receive(w.id("m"), 1),
	}
}

func offer(w *world) []act {
	agent := pick(w, "offer to", "ann", "ben")
	return []act{{actor: system, c: conv.MakeOffer{Agent: agent, Until: w.now + 20_000}, model: func(m *model) string { return m.makeOffer(agent) }}}
}

func endOffer(w *world) []act {
	agent, declined := pick(w, "offered to", "ann", "ben"), w.chance("declined", 2)
	return []act{{actor: system, c: conv.EndOffer{Agent: agent, Declined: declined}, model: func(m *model) string { return m.endOffer(agent) }}}
}

func note(w *world) []act {
	a := pick(w, "notes", ann, supervisor, customer)
	return []act{{actor: a, c: conv.AddNote{ID: w.id("n"), Text: canary}, model: func(m *model) string { return m.note(a) }}}
}

func say(w *world) []act {
	return []act{{actor: system, c: conv.Say{Sent: said(w.id("m"), "", "please wait")}, model: (*model).live}}
}

func status(w *world) []act {
	s := pick(w, "status", message.Sent, message.Delivered, message.Failed)
	return []act{{actor: system, c: conv.SetStatus{ID: "m_1", Status: s}, model: (*model).exists}}
}

func decide(w *world) []act {
	must, bot := w.chance("must reach human", 2), pick(w, "route", "", "german", "french")
	d := conv.Decision{Kind: conv.DecisionTag, Phase: conv.Inbound, Tags: []string{pick(w, "tag", "a", "b")}, MustReachHuman: must, Route: bot}
	return []act{{actor: system, c: conv.Decide{Decision: d}, model: func(m *model) string { return m.decide(must, bot) }}}
}

// about is what becomes known of the customer.
func about(w *world) []act {
	contact := pick(w, "contact", "k_1", "k_2")
	return []act{
		{actor: system, c: conv.LinkContact{Contact: contact}, model: func(m *model) string { return m.link(contact) }},
		{actor: system, c: conv.SetProfile{Profile: message.Profile{Subject: "s", Fields: map[string]any{"n": 1}}}, model: (*model).exists},
	}
}

func wipe(*world) []act { return []act{{actor: system, c: conv.Wipe{}, model: (*model).wipe}} }
