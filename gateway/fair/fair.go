// Package fair shares what a node has few of among its tenants: places for bot calls, and places for sends.
//
// A place is held for as long as a call takes, and a call may hang. So there are bounds: of the node, of each tenant, and
// of each bot and each channel (Gate). Below its bounds a call takes its place at once, which costs one lock and nothing
// else. Beyond them it waits, and then the tenants take turns by deficit round robin (Ring): each may spend Quantum times
// its weight before the next one is up. What a call costs is what its kind was seen to hold a place for, so tenants share
// the time of places and not the number of calls: a bot that thinks for ten seconds does not take a hundred times what one
// takes that answers at once.
//
// Ring follows the flow queueing of RFC 8290 (section 4.2): a tenant that had nothing waiting gets one call before those that
// have been waiting, and then takes its turn among them. A quiet tenant next to one with a backlog waits for one place to
// become free, not for the backlog. Every step takes the same time however many wait and however many tenants
// there are, and a tenant that has nothing waiting stands in no list.
//
// Three things hold whatever tenants do (places_test.go checks each step against a model of them):
//
//   - No place is free that somebody who waits may take.
//   - A tenant without a call under way gets its first at once, even when the others hold all the node's places: however
//     many bots hang, they cannot silence a tenant of a bot that does not. The node's bound may be passed by one call a
//     tenant for that.
//   - Within a lane, which is one bot for one channel, who came first is first. Lanes of a tenant take turns.
//
// What waits is a key here and a row in the store. A line has an end (Options.Line): behind it a key is refused, and comes
// again when the store names its row again. So memory grows with neither the length nor the number of the messages that
// wait.
package fair

import "time"

const (
	// Quantum is what a tenant of weight 1 may spend before it is the next one's turn, and the most that one call costs.
	Quantum = 8
	// Unit is the time of a place that costs 1.
	Unit = 250 * time.Millisecond
	// floor is how many places a tenant may have whatever the others hold.
	floor = 1
)

// Cost returns what a call costs that holds a place for a time: 1 to Quantum.
func Cost(held time.Duration) int { return 1 + int(min(Quantum-1, max(0, held/Unit))) }

// Share is what a tenant gets of a node. The zero Share is that of a tenant of whom nothing is said.
type Share struct {
	// Weight is how much the tenant may spend in its turn, compared with others; 0 means 1.
	Weight int
	// Most bounds its places; 0 means all of the node's, or half of them while there is another tenant.
	Most int
}

// Of returns the bound on a tenant's places of a node with so many places and tenants.
func (s Share) Of(node, tenants int) int {
	switch {
	case s.Most > 0:
		return s.Most
	case tenants > 1:
		return max(floor, node/2)
	}
	return node
}

// Smooth returns the smoothed time that calls hold a place for, after one more.
func Smooth(was, held time.Duration) time.Duration {
	if was == 0 {
		return held
	}
	return was + (held-was)/8
}
