package conversation_test

import (
	"slices"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
)

// What the model knows of owners: who may take, pass on, give back and close.

func (m *model) moveTo(owner message.OwnerKind, queue, agent, reason string) {
	if m.owner == message.OwnerBot {
		if m.turn != "" {
			m.orphan, m.turn, m.attempt = m.turn, "", 0
		}
		m.waiting = 0
		m.reasons, m.touched = nil, false
	}
	delete(m.timers, conv.TimerSnooze)
	m.offer = ""
	m.owner, m.queue, m.agent = owner, queue, agent
	switch owner {
	case message.OwnerAgent:
		m.touched = true
	case message.OwnerBot:
		m.reasons, m.touched = nil, false
	case message.OwnerQueued, message.OwnerCaptured:
		if len(m.reasons) == 0 || reason == conv.ReasonReopen {
			m.reasons = []string{reason}
		}
	}
}

// acting: the right to go over another's head is a supervisor's alone.
func (m *model) acting(a conv.Actor, override bool) string {
	return firstOf(m.live(), refuse(override && a.Kind != conv.Supervisor, "not owner"))
}

func (m *model) divert(rule, queue string) string {
	if o := m.live(); o != "ok" {
		return o
	}
	if m.owner == message.OwnerBot {
		m.moveTo(message.OwnerQueued, queue, "", rule)
	} else {
		m.reasons = append(m.reasons, rule)
	}
	return "ok"
}

func (m *model) claim(a conv.Actor, override bool) string {
	if o := firstOf(m.acting(a, override), refuse(!person(a), "not owner")); o != "ok" {
		return o
	}
	if m.owner == message.OwnerAgent {
		if o := firstOf(refuse(m.agent == a.ID, "nothing"), refuse(!override, "claimed by "+m.agent)); o != "ok" {
			return o
		}
	}
	m.moveTo(message.OwnerAgent, m.queue, a.ID, conv.ReasonClaim)
	return "ok"
}

func (m *model) pass(a conv.Actor, queue, agent, reason string, override bool) string {
	o := firstOf(m.acting(a, override), refuse(queue == "" && agent == "", "invalid"), refuse(m.owner == message.OwnerBot, "not owner"))
	if o == "ok" && !override {
		o = m.holding(a)
	}
	if o = firstOf(o, refuse(agent != "" && agent == m.agent, "nothing")); o != "ok" {
		return o
	}
	if queue == "" {
		queue = m.queue
	}
	to := message.OwnerQueued
	if agent != "" {
		to = message.OwnerAgent
	}
	m.moveTo(to, queue, agent, reason)
	return "ok"
}

func (m *model) release(a conv.Actor, override bool) string {
	o := firstOf(m.acting(a, override), refuse(m.owner == message.OwnerBot, "nothing"))
	if override {
		o = firstOf(o, refuse(m.must && !m.touched, "must reach human"))
	} else {
		o = firstOf(o, m.holding(a), refuse(m.returns >= 2, "return limit"))
	}
	if o != "ok" {
		return o
	}
	m.moveTo(message.OwnerBot, "", "", conv.ReasonRelease)
	m.returns++
	return "ok"
}

func (m *model) autoRelease() string {
	waits := m.owner == message.OwnerQueued || m.owner == message.OwnerCaptured
	downOnly := !slices.ContainsFunc(m.reasons, func(r string) bool { return r != conv.ByBotDown })
	if o := firstOf(m.live(), refuse(!waits || !downOnly || m.touched || m.must, "nothing")); o != "ok" {
		return o
	}
	m.moveTo(message.OwnerBot, "", "", conv.ReasonAutoReturn)
	return "ok"
}

func (m *model) resolve(a conv.Actor, override bool) string {
	o := firstOf(m.acting(a, override), refuse(!person(a), "not owner"))
	if !override {
		o = firstOf(o, m.holding(a))
	}
	if o != "ok" {
		return o
	}
	m.close()
	m.must, m.resolved = false, true
	return "ok"
}

func (m *model) closeAlone() string {
	if o := firstOf(m.live(), refuse(m.must, "must reach human"), refuse(m.owner != message.OwnerBot, "not owner")); o != "ok" {
		return o
	}
	m.close()
	m.resolved = false
	return "ok"
}

func (m *model) wipe() string {
	if o := firstOf(m.exists(), refuse(m.must, "must reach human")); o != "ok" {
		return o
	}
	if m.owner != message.OwnerClosed {
		m.resolved = m.owner == message.OwnerAgent
		m.close()
	}
	m.orphan = ""
	return "ok"
}

func (m *model) close() {
	for id := range m.heldOut {
		delete(m.timers, conv.TimerSend+id)
	}
	clear(m.heldOut)
	delete(m.timers, conv.TimerIdle)
	m.moveTo(message.OwnerClosed, "", "", "")
}

func (m *model) capture(queue string) string {
	if o := firstOf(m.live(), refuse(m.owner != message.OwnerQueued && m.owner != message.OwnerBot, "nothing")); o != "ok" {
		return o
	}
	m.moveTo(message.OwnerCaptured, queue, "", conv.ReasonCapture)
	return "ok"
}

func (m *model) uncapture() string {
	if m.owner != message.OwnerCaptured {
		return "nothing"
	}
	m.moveTo(message.OwnerQueued, m.queue, "", conv.ReasonOpening)
	return "ok"
}

func (m *model) reopen(queue string) string {
	if m.owner != message.OwnerClosed {
		return "nothing"
	}
	if m.resolved && queue != "" {
		m.touched = false
		m.moveTo(message.OwnerQueued, queue, "", conv.ReasonReopen)
	} else {
		m.moveTo(message.OwnerBot, "", "", conv.ReasonReopen)
	}
	return "ok"
}

func (m *model) makeOffer(agent string) string {
	if m.owner != message.OwnerQueued || m.offer != "" {
		return "stale"
	}
	m.offer = agent
	return "ok"
}

func (m *model) endOffer(agent string) string {
	if m.offer != agent {
		return "stale"
	}
	m.offer = ""
	return "ok"
}
