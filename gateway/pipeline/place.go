package pipeline

import (
	"turnout/gateway/conversation"
	"turnout/gateway/fair"
	"turnout/gateway/store"
)

// A bot call needs a place, for as long as it really lasts. How many there are says the node, the tenant, the bot and the
// channel; package fair shares them among the tenants. Without a place a turn is not begun: its messages stay pending in
// the store, which is all that waits of them, and the conversation's name stands in a line. Whoever gets the place by that
// looks at the conversation as it is then (Pipeline.take): it may be with people by now and need none.
//
// Nothing else waits for places: a message is accepted, a customer who asks for a person is in the queue, and what people
// do is done whether or not all places are taken by bots that hang.

const (
	// DefaultBotCalls is how many bot calls a node makes at once when nothing else is said.
	DefaultBotCalls = 2048
	// line is how many conversations wait in one line. The store finds those behind it, but not at once.
	line = 65_536
)

// place is what a call enters by and leaves by.
type place = fair.Lane[store.Ref]

// botPlace is the place of a channel's calls to one of its bots.
type botPlace struct {
	bot *Bot
	*place
}

// place returns the place of the channel's calls to a bot, nil for a bot that is none of its.
func (c *Channel) place(b *Bot) *place {
	for i := range c.places {
		if c.places[i].bot == b {
			return c.places[i].place
		}
	}
	return nil
}

// enter takes a place for a call to a bot: the one in got, if it is one for such a call, which is taken out of there. It
// returns nil when there is none.
func (c *Channel) enter(b *Bot, got **place) *place {
	l := c.place(b)
	switch {
	case l == nil:
		return nil
	case got != nil && *got == l:
		*got = nil
		return l
	case l.Enter():
		return l
	}
	return nil
}

// granted takes up a conversation that has waited for a place.
func (p *Pipeline) granted(r store.Ref, l *place) bool {
	return p.goes("a turn that waited", func() { p.take(p.root, r, l) })
}

// await puts a conversation whose messages wait for a turn into the line of its bot. Other work is left to the sweep.
func (p *Pipeline) await(r store.Ref, s *conversation.State) {
	if s.Turn == nil && s.Orphan == nil {
		ch := p.channel(s.From.Channel)
		if ch != nil && ch.Tenant.Handle == r.Tenant && ch.Bot != nil && ch.place(ch.botOf(s)).Wait(r) {
			return
		}
	}
	p.kick()
}

// heard is told of every durable step: a conversation that has no work any more leaves its line.
func (p *Pipeline) heard(h store.Hint) {
	p.hub.publish(h)
	if h.State != nil && !h.State.Working() {
		p.places.Cancel(h.Ref)
	}
}

// lay gives the channels their places, those of before where they are alike, and returns who waited in lines that are gone.
// It is part of Replace.
func (p *Pipeline) lay(old *routing, channels []*Channel) (homeless []store.Ref) {
	kept := map[*place]bool{}
	gates := map[channelKey]*fair.Gate[store.Ref]{}
	for _, c := range channels {
		key := channelKey{c.Tenant.Handle, c.Key}
		gate := p.gates[key]
		if gate == nil {
			gate = p.places.Gate(c.BotCalls)
		} else {
			gate.Bound(c.BotCalls)
		}
		gates[key] = gate
		before := old.channels[c.Key]
		if before != nil && before.Tenant.Handle != c.Tenant.Handle {
			before = nil
		}
		var places []botPlace
		for b := range c.bots {
			l := (*place)(nil)
			if before != nil {
				l = before.place(b)
			}
			if l == nil {
				l = p.places.Lane(c.Tenant.Handle.Name(), b.bound, gate)
			}
			kept[l] = true
			places = append(places, botPlace{b, l})
		}
		if before != c {
			c.places = places
		}
	}
	p.gates = gates
	for _, c := range old.channels {
		for _, l := range c.places {
			if !kept[l.place] {
				homeless = append(homeless, l.Disband()...)
			}
		}
	}
	return homeless
}

type channelKey struct {
	tenant store.Tenant
	key    string
}

// share sets the bounds of the node and of the tenants that have channels.
func (p *Pipeline) share(r *routing) {
	shares := map[string]fair.Share{}
	for _, c := range r.channels {
		shares[c.Tenant.Handle.Name()] = c.Tenant.Share
	}
	p.places.Configure(int(p.calls.Load()), shares)
}

// Places returns how the places for bot calls stand, of the node and of its tenants.
func (p *Pipeline) Places() (fair.Total, []fair.Stats) { return p.places.Stats() }
