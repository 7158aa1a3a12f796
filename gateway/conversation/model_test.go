package conversation_test

import (
	"fmt"
	"maps"
	"slices"

	conv "turnout/gateway/conversation"

	"turnout/adapters/message"
)

// model is what the property test holds a conversation to be. It is written from the words of the contract alone: who
// owns it, which messages wait, what is held, which timers are set. It knows no events and no sequence numbers (trace
// looks after those). Each method is a command; it returns the name of the expected outcome and changes the model only
// when that is "ok".
type model struct {
	owner   message.OwnerKind // "" before the conversation exists
	queue   string
	agent   string
	waiting int    // messages that the next turn will take
	turn    string // the turn under way
	attempt int
	orphan  string // the turn that was cut off and whose end is not known
	must    bool
	bot     string // that a rule gave it to
	returns int

	// Why people have it, and whether one of them has attended to it.
	reasons  []string
	touched  bool
	resolved bool // a person closed it last

	heldIn  []string
	heldOut map[string]string // to the agent who wrote it
	timers  map[string]int64
	offer   string
	contact string
}

func (m *model) clone() *model {
	c := *m
	c.reasons, c.heldIn = slices.Clone(m.reasons), slices.Clone(m.heldIn)
	c.heldOut, c.timers = maps.Clone(m.heldOut), maps.Clone(m.timers)
	return &c
}

func newModel() *model { return &model{heldOut: map[string]string{}, timers: map[string]int64{}} }

// diff says where the state is not what the model says, "" when it is.
func (m *model) diff(s *conv.State) string {
	turn, attempt, orphan, offer := "", 0, "", ""
	if s.Turn != nil {
		turn, attempt = s.Turn.ID, s.Turn.Attempt
	}
	if s.Orphan != nil {
		orphan = s.Orphan.ID
	}
	if s.Offer != nil {
		offer = s.Offer.Agent
	}
	var heldIn []string
	for _, r := range s.HeldIn {
		heldIn = append(heldIn, r.ID)
	}
	heldOut := map[string]string{}
	for _, r := range s.HeldOut {
		heldOut[r.ID] = r.By
	}
	for _, f := range []struct {
		name      string
		got, want any
	}{
		{"owner", s.Owner.Kind, m.owner}, {"queue", s.Owner.Queue, m.queue}, {"agent", s.Owner.Agent, m.agent},
		{"waiting", s.Pending.Count, m.waiting}, {"turn", turn, m.turn}, {"attempt", attempt, m.attempt}, {"orphan", orphan, m.orphan},
		{"must reach human", s.MustReachHuman, m.must}, {"bot", s.Bot, m.bot}, {"returns", s.Returns, m.returns},
		{"held for review", heldIn, m.heldIn}, {"held sends", heldOut, m.heldOut},
		{"timers", s.Timers, m.timers}, {"snoozed", s.Snoozed, m.timers[conv.TimerSnooze]},
		{"offer", offer, m.offer}, {"contact", s.Contact, m.contact},
	} {
		if got, want := fmt.Sprint(f.got), fmt.Sprint(f.want); got != want {
			return fmt.Sprintf("%s is %s, the model says %s", f.name, got, want)
		}
	}
	return ""
}

func (m *model) exists() string {
	if m.owner == "" {
		return "invalid"
	}
	return "ok"
}

func (m *model) live() string {
	if m.owner == message.OwnerClosed {
		return "closed"
	}
	return m.exists()
}

func person(a conv.Actor) bool { return a.Kind == conv.Agent || a.Kind == conv.Supervisor }

func (m *model) holding(a conv.Actor) string {
	if live := m.live(); live != "ok" {
		return live
	}
	if m.owner != message.OwnerAgent || m.agent != a.ID || !person(a) {
		return "not owner"
	}
	return "ok"
}

// firstOf returns the first outcome that is none of "ok", or "ok" when all are.
func firstOf(outcomes ...string) string {
	for _, o := range outcomes {
		if o != "ok" {
			return o
		}
	}
	return "ok"
}

func refuse(when bool, outcome string) string {
	if when {
		return outcome
	}
	return "ok"
}

func (m *model) open() string {
	if m.owner != "" {
		return "invalid"
	}
	m.owner = message.OwnerBot
	return "ok"
}

func (m *model) receive(turns bool) string {
	if o := m.live(); o != "ok" {
		return o
	}
	if turns && m.owner == message.OwnerBot {
		m.waiting++
	}
	return "ok"
}

func (m *model) hold(id string) string {
	if o := m.live(); o != "ok" {
		return o
	}
	m.heldIn = append(m.heldIn, id)
	return "ok"
}

func (m *model) review(id string, reject bool) string {
	i := slices.Index(m.heldIn, id)
	if o := firstOf(m.live(), refuse(i < 0, "stale")); o != "ok" {
		return o
	}
	m.heldIn = slices.Delete(m.heldIn, i, i+1)
	if !reject {
		return m.receive(true)
	}
	return "ok"
}

func (m *model) start(turn string) string {
	if m.owner != message.OwnerBot || m.turn != "" || m.orphan != "" || m.waiting == 0 {
		return "nothing"
	}
	m.turn, m.attempt, m.waiting = turn, 1, 0
	return "ok"
}

func (m *model) retake() string {
	if m.turn == "" {
		return "nothing"
	}
	m.attempt++
	return "ok"
}

// end ends the turn under way, by an answer or for good without one.
func (m *model) end(turn string) string {
	if turn != m.turn || turn == "" {
		return "stale"
	}
	m.turn, m.attempt = "", 0
	return "ok"
}

func (m *model) fail(turn string, final bool) string {
	if final {
		return m.end(turn)
	}
	return refuse(turn != m.turn || turn == "", "stale")
}

func (m *model) discard(turn string) string {
	if turn != m.orphan || turn == "" {
		return "stale"
	}
	m.orphan = ""
	return "ok"
}

func (m *model) decide(must bool, bot string) string {
	if o := m.live(); o != "ok" {
		return o
	}
	m.route(bot)
	m.must = m.must || must
	return "ok"
}

// route gives the conversation to another bot; empty: to none.
func (m *model) route(bot string) {
	if bot != "" {
		m.bot = bot
	}
}

func (m *model) snooze(a conv.Actor, until int64) string {
	if o := firstOf(m.holding(a), refuse(until == 0 && m.timers[conv.TimerSnooze] == 0, "nothing")); o != "ok" {
		return o
	}
	return m.set(conv.TimerSnooze, until)
}

func (m *model) setTimer(name string, at int64) string {
	if o := firstOf(m.exists(), refuse(m.timers[name] == at, "nothing")); o != "ok" {
		return o
	}
	return m.set(name, at)
}

func (m *model) set(name string, at int64) string {
	m.timers[name] = at
	if at == 0 {
		delete(m.timers, name)
	}
	return "ok"
}

func (m *model) fire(name string, at int64) string {
	if m.timers[name] != at {
		return "stale"
	}
	delete(m.timers, name)
	return "ok"
}

func (m *model) reply(a conv.Actor, id string, until int64) string {
	if o := m.holding(a); o != "ok" {
		return o
	}
	if until != 0 {
		m.heldOut[id] = a.ID
		m.timers[conv.TimerSend+id] = until
	}
	return "ok"
}

func (m *model) sendHeld(id string) string {
	if m.heldOut[id] == "" {
		return "stale"
	}
	delete(m.heldOut, id)
	delete(m.timers, conv.TimerSend+id)
	return "ok"
}

func (m *model) undo(a conv.Actor, id string) string {
	by := m.heldOut[id]
	if o := firstOf(refuse(by == "", "stale"), refuse(by != a.ID && a.Kind != conv.Supervisor, "not owner")); o != "ok" {
		return o
	}
	return m.sendHeld(id)
}

func (m *model) note(a conv.Actor) string {
	return firstOf(m.exists(), refuse(!person(a), "not owner"))
}

func (m *model) link(contact string) string {
	if o := firstOf(m.exists(), refuse(contact == m.contact, "nothing")); o != "ok" {
		return o
	}
	m.contact = contact
	return "ok"
}
