package conversation

import "slices"

// Format is what a build knows of the event encoding: it reads events of that version and of the one before, and writes
// either. The zero Format is Version.
//
// Nodes of two versions may share a store while one release takes the place of the other. So a version is written only when
// every node can read it, which the store sees to; until then the newer nodes write what the older ones read. Whoever raises
// Version makes sure that an event can be written under both: what is new in it has to be something that the older readers
// may do without. What stands in a log keeps its version, so before a version is given up what was written under it has to be
// written anew.
type Format int

// Newest is the version as a number.
func (f Format) Newest() int {
	if f == 0 {
		return Version
	}
	return int(f)
}

// Reads reports whether events of a version can be read.
func (f Format) Reads(v int) bool { return v == f.Newest() || v == f.Newest()-1 }

// Written returns events, and the state after them, as they are written under version v. What is in that version already is
// returned as it is; nothing that was passed is changed.
func Written(events []Event, s *State, v int) ([]Event, *State) {
	if !slices.ContainsFunc(events, func(e Event) bool { return e.V != v }) {
		return events, s
	}
	events = slices.Clone(events)
	for i := range events {
		events[i].V = v
		if _, ok := events[i].Data.(*Begun); ok && s != nil {
			c := *s
			c.V, s = v, &c
		}
	}
	return events, s
}
