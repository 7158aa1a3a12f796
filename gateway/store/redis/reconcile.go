package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	goredis "github.com/redis/go-redis/v9"

	"turnout/adapters/message"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// A queue view and the conversations lie in different slots, so after a loss either can be ahead of the other. The
// conversations are right. What a view says otherwise is mended by relay rows in the conversation's own partition, written
// if the conversation is still the one that was compared: so it stands in one order with the steps that come after.

// reconcileViews makes the queue views say what the conversations of the partitions that this node reconciles say; a view
// that has another history itself is compared with all.
func (s *Store) reconcileViews(ctx context.Context, c *change, done *Reconciled) error {
	if len(c.won)+len(c.views) == 0 {
		return nil
	}
	if err := s.raiseRelays(ctx, c); err != nil {
		return err
	}
	open, err := s.withPeople(ctx)
	if err != nil {
		return err
	}
	for _, t := range c.tenants {
		keys, err := s.tenant(ctx, t)
		if err != nil && unusable(ctx, err) {
			return err
		}
		if keys == nil {
			continue
		}
		whole := slices.Contains(c.views, t)
		if whole {
			if err := s.renewFeed(ctx, t); err != nil {
				return err
			}
		}
		n, err := s.mendView(ctx, t, keys, open[t], func(part int) bool { return whole || c.won[part] }, true)
		done.Mended += len(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// raiseRelays sees to it that no relay row to come is taken for one that a view has applied.
func (s *Store) raiseRelays(ctx context.Context, c *change) error {
	marks := map[int]string{}
	for _, t := range c.tenants {
		var fields *goredis.MapStringStringCmd
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { fields = p.HGetAll(ctx, s.keys.desk(t, deskFields)) }); err != nil {
			return err
		}
		for name, mark := range fields.Val() {
			var part int
			if n, err := fmt.Sscanf(name, "wm%d", &part); n != 1 || err != nil || part < 0 || part >= id.Partitions {
				continue
			}
			if before(marks[part], mark) {
				marks[part] = mark
			}
		}
	}
	parts := make([]int, 0, len(marks))
	for part := range marks {
		parts = append(parts, part)
	}
	slices.Sort(parts)
	for page := range slices.Chunk(parts, askedAtOnce) {
		if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
			for _, part := range page {
				p.EvalSha(ctx, s.db.scripts.raise.Hash(), []string{s.keys.part(part, "x")}, marks[part])
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// before compares ids of a stream.
func before(a, b string) bool {
	ams, an := splitID(a)
	bms, bn := splitID(b)
	return ams < bms || ams == bms && an < bn
}

// withPeople lists the conversations with people, by tenant.
func (s *Store) withPeople(ctx context.Context) (map[store.Tenant][]string, error) {
	open := map[store.Tenant][]string{}
	err := eachPart(ctx, s, func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
		return p.SMembers(ctx, s.keys.part(part, "q"))
	}, func(_ int, c *goredis.StringSliceCmd) error {
		for _, m := range c.Val() {
			if r, _, _, ok := parseMember(m); ok {
				open[r.Tenant] = append(open[r.Tenant], r.ID)
			}
		}
		return nil
	})
	return open, err
}

// renewFeed gives a view another life: what its feed says from now on are other changes than it said before under the same
// numbers.
func (s *Store) renewFeed(ctx context.Context, t store.Tenant) error {
	key := s.keys.desk(t, deskFields)
	var life *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { life = p.HGet(ctx, key, "gen") }); err != nil || life.Val() == "" {
		return err
	}
	var x txn
	x.equal(whyOther, key, "gen", life.Val())
	x.hset(key, "gen", s.o.IDs.Token())
	_, err := s.db.commit(ctx, &x)
	return err
}

// stance is where a view has a conversation: everywhere that it is found.
type stance struct {
	all    map[string]int64 // by line, its score in the list of all queues
	places []place          // in the lists of queues, and with agents
	entry  bool
}

// is reports whether a conversation stands where it wants to, and nowhere else.
func (st *stance) is(want place) bool {
	if st == nil {
		return want == place{}
	}
	if want == (place{}) {
		return len(st.all)+len(st.places) == 0 && !st.entry
	}
	if len(st.places) != 1 || st.places[0] != want || st.entry != (want.Line != "") {
		return false
	}
	if want.Line == "" {
		return len(st.all) == 0
	}
	score, ok := st.all[want.Line]
	return ok && len(st.all) == 1 && score == want.Score
}

// viewLists are the names of the queues and agents that a view may have lists of.
type viewLists struct{ queues, agents []string }

// listsOf returns the names that a view, who is present and what is reserved know of.
func (s *Store) listsOf(ctx context.Context, t store.Tenant) (l viewLists, err error) {
	var queues, agents, present *goredis.StringSliceCmd
	var reserved *goredis.MapStringStringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		queues, agents = p.SMembers(ctx, s.keys.desk(t, deskQueues)), p.SMembers(ctx, s.keys.desk(t, deskAgents))
		present, reserved = p.HKeys(ctx, s.keys.desk(t, deskPresent)), p.HGetAll(ctx, s.keys.desk(t, deskReserved))
	}); err != nil {
		return l, err
	}
	l.queues, l.agents = queues.Val(), append(agents.Val(), present.Val()...)
	for _, row := range reserved.Val() {
		if r, ok := parseReservation(row); ok {
			l.agents = append(l.agents, r.agent)
		}
	}
	return l, nil
}

// with adds the names of places.
func (l viewLists) with(places ...place) viewLists {
	for _, p := range places {
		if p.Line != "" {
			l.queues = append(l.queues, p.Queue)
		}
		if p.Agent != "" {
			l.agents = append(l.agents, p.Agent)
		}
	}
	slices.Sort(l.queues)
	slices.Sort(l.agents)
	l.queues, l.agents = slices.Compact(l.queues), slices.Compact(l.agents)
	return l
}

// stances reads a whole view.
func (s *Store) stances(ctx context.Context, t store.Tenant, l viewLists) (map[string]*stance, error) {
	out := map[string]*stance{}
	of := func(conv string) *stance {
		if out[conv] == nil {
			out[conv] = &stance{all: map[string]int64{}}
		}
		return out[conv]
	}
	lines := []string{lineWaiting, lineAside}
	var entries *goredis.StringSliceCmd
	all := make([]*goredis.ZSliceCmd, len(lines))
	byQueue := make([]*goredis.ZSliceCmd, len(lines)*len(l.queues))
	held := make([]*goredis.StringSliceCmd, len(l.agents))
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		entries = p.HKeys(ctx, s.keys.desk(t, deskEntries))
		for i, line := range lines {
			all[i] = p.ZRangeWithScores(ctx, s.keys.desk(t, line), 0, -1)
			for j, q := range l.queues {
				byQueue[i*len(l.queues)+j] = p.ZRangeWithScores(ctx, s.keys.desk(t, queueLine(line, q)), 0, -1)
			}
		}
		for i, a := range l.agents {
			held[i] = p.HKeys(ctx, s.keys.desk(t, agentHolds(a)))
		}
	}); err != nil {
		return nil, err
	}
	for _, conv := range entries.Val() {
		of(conv).entry = true
	}
	for i, line := range lines {
		for _, z := range all[i].Val() {
			conv, _ := z.Member.(string)
			of(conv).all[line] = int64(z.Score)
		}
		for j, q := range l.queues {
			for _, z := range byQueue[i*len(l.queues)+j].Val() {
				conv, _ := z.Member.(string)
				of(conv).places = append(of(conv).places, place{Line: line, Queue: q, Score: int64(z.Score)})
			}
		}
	}
	for i, a := range l.agents {
		for _, conv := range held[i].Val() {
			of(conv).places = append(of(conv).places, place{Agent: a})
		}
	}
	return out, nil
}

// stanceOf reads of a view where it has one conversation.
func (s *Store) stanceOf(ctx context.Context, t store.Tenant, l viewLists, conv string) (*stance, error) {
	lines := []string{lineWaiting, lineAside}
	var entry *goredis.BoolCmd
	all := make([]*goredis.FloatCmd, len(lines))
	byQueue := make([]*goredis.FloatCmd, len(lines)*len(l.queues))
	held := make([]*goredis.BoolCmd, len(l.agents))
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		entry = p.HExists(ctx, s.keys.desk(t, deskEntries), conv)
		for i, line := range lines {
			all[i] = p.ZScore(ctx, s.keys.desk(t, line), conv)
			for j, q := range l.queues {
				byQueue[i*len(l.queues)+j] = p.ZScore(ctx, s.keys.desk(t, queueLine(line, q)), conv)
			}
		}
		for i, a := range l.agents {
			held[i] = p.HExists(ctx, s.keys.desk(t, agentHolds(a)), conv)
		}
	}); err != nil {
		return nil, err
	}
	st := &stance{all: map[string]int64{}, entry: entry.Val()}
	for i, line := range lines {
		if all[i].Err() == nil {
			st.all[line] = int64(all[i].Val())
		}
		for j, q := range l.queues {
			if z := byQueue[i*len(l.queues)+j]; z.Err() == nil {
				st.places = append(st.places, place{Line: line, Queue: q, Score: int64(z.Val())})
			}
		}
	}
	for i, a := range l.agents {
		if held[i].Val() {
			st.places = append(st.places, place{Agent: a})
		}
	}
	return st, nil
}

// mendView makes a view say of every conversation what the conversation says of itself, among those of the partitions that
// are wanted, and returns those of which it said something else; without mend it only looks. open are the conversations with
// people.
func (s *Store) mendView(ctx context.Context, t store.Tenant, keys *seal.Tenant, open []string, wanted func(part int) bool, mend bool) (mended []string, err error) {
	if err := s.drain(ctx); err != nil {
		return nil, err
	}
	want, err := s.placesOf(ctx, t, open, wanted)
	if err != nil {
		return nil, err
	}
	lists, err := s.listsOf(ctx, t)
	if err != nil {
		return nil, err
	}
	for _, p := range want {
		lists = lists.with(p)
	}
	found, err := s.stances(ctx, t, lists.with())
	if err != nil {
		return nil, err
	}
	var suspects []string
	for conv, p := range want {
		if !found[conv].is(p) {
			suspects = append(suspects, conv)
		}
	}
	for conv := range found {
		if part, err := id.Partition(id.Conversation, conv); err == nil && wanted(part) {
			if _, ok := want[conv]; !ok {
				suspects = append(suspects, conv)
			}
		}
	}
	slices.Sort(suspects)
	for _, conv := range suspects {
		wrong, err := s.mendPlace(ctx, store.Ref{Tenant: t, ID: conv}, keys, lists, mend)
		if err != nil && unusable(ctx, err) {
			return mended, err
		}
		if err != nil {
			s.o.Log.Error("mending a place in the queue view", "conversation", conv, "err", err)
		}
		if wrong {
			mended = append(mended, conv)
		}
	}
	return mended, nil
}

// drain applies all relay rows that are there.
func (s *Store) drain(ctx context.Context) error {
	var left []int
	if err := eachPart(ctx, s, func(p goredis.Pipeliner, part int) *goredis.IntCmd { return p.XLen(ctx, s.keys.part(part, "x")) }, func(part int, n *goredis.IntCmd) error {
		if n.Val() > 0 {
			left = append(left, part)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, p := range left {
		if err := s.relay(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// placesOf returns where conversations stand by their own words.
func (s *Store) placesOf(ctx context.Context, t store.Tenant, convs []string, wanted func(part int) bool) (map[string]place, error) {
	out := map[string]place{}
	mine := slices.DeleteFunc(slices.Clone(convs), func(conv string) bool {
		part, err := id.Partition(id.Conversation, conv)
		return err != nil || !wanted(part)
	})
	return out, s.loadAll(ctx, t, mine, func(r store.Ref, rec *record, err error) error {
		switch {
		case err != nil:
			s.o.Log.Error("reading where a conversation stands", "conversation", r.ID, "err", err)
		case rec != nil && rec.state.Open():
			out[r.ID] = placeOf(rec.state)
		}
		return nil
	})
}

// mendPlace compares one conversation with the view, and with mend sets right what is wrong if it has not moved.
func (s *Store) mendPlace(ctx context.Context, r store.Ref, keys *seal.Tenant, lists viewLists, mend bool) (wrong bool, err error) {
	part, err := home(r)
	if err != nil {
		return false, err
	}
	for range maxTries {
		rec, err := s.load(ctx, r)
		if err != nil {
			return false, err
		}
		var want place
		item := store.FeedItem{Conversation: r.ID}
		item.Owner.Kind = message.OwnerClosed
		if rec != nil {
			item.Owner, item.Queue, item.Seq = rec.state.Owner, rec.state.Owner.Queue, rec.state.Seq
			if rec.state.Open() {
				want = placeOf(rec.state)
			}
		}
		// Its own steps may be on their way into the view.
		if err := s.relay(ctx, part); err != nil {
			return false, err
		}
		st, err := s.stanceOf(ctx, r.Tenant, lists.with(want), r.ID)
		if err != nil {
			return false, err
		}
		if st.is(want) {
			return false, nil
		}
		if !mend {
			again, err := s.load(ctx, r)
			if err != nil {
				return false, err
			}
			if again == nil == (rec == nil) && (rec == nil || again.ver == rec.ver) {
				return true, nil
			}
			continue // it has moved meanwhile
		}
		rows := []viewRow{}
		for line, score := range st.all {
			// An entry of the list of all that the list of no queue knows of goes as one of any queue does.
			rows = append(rows, viewRow{From: place{Line: line, Score: score}})
		}
		for _, p := range st.places {
			rows = append(rows, viewRow{From: p})
		}
		last := viewRow{To: want}
		if want.Line != "" {
			entry := viewEntry{Owner: rec.state.Owner, Handoff: rec.state.Handoff.Handoff, Since: rec.state.Handoff.At}
			if last.Entry, err = sealJSON(keys, entryAAD(r.ID), entry); err != nil {
				return false, err
			}
		}
		var x txn
		key := s.keys.conversation(part, r, "s")
		if rec == nil {
			x.absent(whyVersion, key, "v")
		} else {
			x.equal(whyVersion, key, "v", string(rec.ver))
		}
		for _, row := range append(rows, last) {
			row.Tenant, row.Conversation = r.Tenant.Name(), r.ID
			if row.Feed, err = sealJSON(keys, []byte("feed"), item); err != nil {
				return false, err
			}
			b, err := json.Marshal(row)
			if err != nil {
				return false, fmt.Errorf("encoding relay row: %w", err)
			}
			x.xadd(s.keys.part(part, "x"), "*", b)
		}
		why, err := s.db.commit(ctx, &x)
		if err != nil {
			return false, err
		}
		if why == held {
			return true, s.relay(ctx, part)
		}
		s.cache.remove(r)
	}
	return false, fmt.Errorf("%w: it does not come to rest", store.ErrStale)
}
