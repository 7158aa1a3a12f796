package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

// The queue view of a tenant, in one slot. The owners of the conversations are the truth; all but who is present and what
// is reserved follows from them.
const (
	deskFields   = "m"  // hash: gen, feed, wm<partition>, the last relay row applied, and its lineage (lineage.go)
	deskEntries  = "k"  // hash: conversation -> sealed entry
	deskFeed     = "f"  // stream of the last changes, id <n>-1
	deskReserved = "rs" // hash: operation -> agent, conversation, since
	deskQueues   = "qs" // set of the names of queues
	deskPresent  = "pr" // hash: agent -> until, capacity, sealed presence
	deskAgents   = "as" // set of the agents who have held a conversation
)

// queueLine is the list of a queue, sorted by place; agentHolds is the hash of the conversations that an agent has.
func queueLine(line, queue string) string { return line + ":" + queue }
func agentHolds(agent string) string      { return "h:" + agent }

// lineOf is the name of a list for a queue, or for all queues.
func lineOf(line, queue string) string {
	if queue == "" {
		return line
	}
	return queueLine(line, queue)
}

// Waiting implements store.Queues.
func (s *Store) Waiting(ctx context.Context, t store.Tenant, queue string, limit int) ([]store.Waiting, error) {
	out, err := s.line(ctx, t, lineWaiting, queue, limit)
	if err != nil || queue != "" || len(out) == 0 {
		return out, err
	}
	ranks := make([]*goredis.IntCmd, len(out))
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		for i := range out {
			ranks[i] = p.ZRank(ctx, s.keys.desk(t, queueLine(lineWaiting, out[i].Owner.Queue)), out[i].Ref.ID)
		}
	}); err != nil {
		return nil, err
	}
	for i, r := range ranks {
		out[i].Position = int(r.Val()) + 1
	}
	return out, nil
}

// Captured implements store.Queues.
func (s *Store) Captured(ctx context.Context, t store.Tenant, queue string, limit int) ([]store.Waiting, error) {
	out, err := s.line(ctx, t, lineAside, queue, limit)
	for i := range out {
		out[i].Position = 0 // they stand in no order of being taken
	}
	return out, err
}

// line returns the first of a list.
func (s *Store) line(ctx context.Context, t store.Tenant, line, queue string, limit int) ([]store.Waiting, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	keys, err := s.tenant(ctx, t)
	if keys == nil || err != nil || limit <= 0 {
		return nil, err
	}
	var list *goredis.StringSliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		list = p.ZRange(ctx, s.keys.desk(t, lineOf(line, queue)), 0, int64(limit)-1)
	}); err != nil {
		return nil, err
	}
	convs := list.Val()
	if len(convs) == 0 {
		return nil, nil
	}
	var entries *goredis.SliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		entries = p.HMGet(ctx, s.keys.desk(t, deskEntries), convs...)
	}); err != nil {
		return nil, err
	}
	out := make([]store.Waiting, 0, len(convs))
	for i, v := range entries.Val() {
		sealed, ok := v.(string)
		if !ok {
			continue // it left meanwhile
		}
		w, err := openEntry(keys, t, convs[i], sealed)
		if err != nil {
			return nil, err
		}
		w.Position = i + 1
		out = append(out, w)
	}
	return out, nil
}

func openEntry(keys *seal.Tenant, t store.Tenant, conv, sealed string) (store.Waiting, error) {
	var e viewEntry
	if err := openJSON(keys, entryAAD(conv), []byte(sealed), &e); err != nil {
		return store.Waiting{}, err
	}
	return store.Waiting{Ref: store.Ref{Tenant: t, ID: conv}, Owner: e.Owner, Handoff: e.Handoff, Since: e.Since}, nil
}

// Position implements store.Queues.
func (s *Store) Position(ctx context.Context, r store.Ref) (int, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	keys, err := s.tenant(ctx, r.Tenant)
	if keys == nil || err != nil {
		return 0, err
	}
	var entry *goredis.StringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		entry = p.HGet(ctx, s.keys.desk(r.Tenant, deskEntries), r.ID)
	}); err != nil || entry.Val() == "" {
		return 0, err
	}
	w, err := openEntry(keys, r.Tenant, r.ID, entry.Val())
	if err != nil {
		return 0, err
	}
	var rank *goredis.IntCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		rank = p.ZRank(ctx, s.keys.desk(r.Tenant, queueLine(lineWaiting, w.Owner.Queue)), r.ID)
	}); err != nil {
		return 0, err
	}
	if rank.Err() != nil { // goredis.Nil: it does not wait
		return 0, nil
	}
	return int(rank.Val()) + 1, nil
}

// Depth implements store.Queues.
func (s *Store) Depth(ctx context.Context, t store.Tenant) (map[string]int, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	var names *goredis.StringSliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { names = p.SMembers(ctx, s.keys.desk(t, deskQueues)) }); err != nil {
		return nil, err
	}
	depth := map[string]int{}
	queues := names.Val()
	if len(queues) == 0 {
		return depth, nil
	}
	counts := make([]*goredis.IntCmd, len(queues))
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		for i, q := range queues {
			counts[i] = p.ZCard(ctx, s.keys.desk(t, queueLine(lineWaiting, q)))
		}
	}); err != nil {
		return nil, err
	}
	for i, c := range counts {
		if c.Val() > 0 {
			depth[queues[i]] = int(c.Val())
		}
	}
	return depth, nil
}

// Feed implements store.Queues. A position names the life of the view that gave it, and a number in it.
func (s *Store) Feed(ctx context.Context, t store.Tenant, after string, limit int) (items []store.FeedItem, next string, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, "", err
	}
	keys, err := s.makeTenant(ctx, t)
	if err != nil {
		return nil, "", err
	}
	life, last, err := s.feedEnd(ctx, t)
	if err != nil {
		return nil, "", err
	}
	position := func(n uint64) string { return life + "." + strconv.FormatUint(n, 10) }
	if after == "" {
		return nil, position(last), nil
	}
	of, number, _ := strings.Cut(after, ".")
	n, err := strconv.ParseUint(number, 10, 52)
	if err != nil || of != life || n > last {
		return nil, "", store.ErrGap
	}
	if n == last || limit <= 0 {
		return nil, after, nil
	}
	var cmd *goredis.XMessageSliceCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		cmd = p.XRangeN(ctx, s.keys.desk(t, deskFeed), entryID(n+1), "+", int64(limit))
	}); err != nil {
		return nil, "", err
	}
	for _, m := range cmd.Val() {
		if m.ID != entryID(n+1) {
			return nil, "", store.ErrGap // what came between is not kept any more
		}
		var it store.FeedItem
		raw, _ := m.Values["e"].(string)
		if err := openJSON(keys, []byte("feed"), []byte(raw), &it); err != nil {
			return nil, "", err
		}
		items = append(items, it)
		n++
	}
	if len(items) == 0 {
		return nil, "", store.ErrGap
	}
	return items, position(n), nil
}

// feedEnd returns the name of the view's life and the number of its last change. A view that has none yet gets a name.
func (s *Store) feedEnd(ctx context.Context, t store.Tenant) (life string, last uint64, err error) {
	var cmd *goredis.SliceCmd
	key := s.keys.desk(t, deskFields)
	ask := func(p goredis.Pipeliner) { cmd = p.HMGet(ctx, key, "gen", "feed") }
	if err := s.db.run(ctx, reading, ask); err != nil {
		return "", 0, err
	}
	if cmd.Val()[0] == nil {
		var x txn
		x.absent(whyOther, key, "gen")
		x.hset(key, "gen", s.o.IDs.Token())
		if _, err := s.db.commit(ctx, &x); err != nil {
			return "", 0, err
		}
		if err := s.db.run(ctx, reading, ask); err != nil {
			return "", 0, err
		}
	}
	life, _ = cmd.Val()[0].(string)
	if number, ok := cmd.Val()[1].(string); ok {
		if last, err = strconv.ParseUint(number, 10, 64); err != nil {
			return "", 0, fmt.Errorf("reading the feed: %w", errRow)
		}
	}
	return life, last, nil
}

// SetPresence implements store.Queues.
func (s *Store) SetPresence(ctx context.Context, t store.Tenant, p store.Presence) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	keys, err := s.makeTenant(ctx, t)
	if err != nil {
		return err
	}
	key := s.keys.desk(t, deskPresent)
	var x txn
	if p.Until <= s.now() {
		x.hdel(key, p.Agent)
	} else {
		p.Load = 0
		sealed, err := sealJSON(keys, aad("presence ", []byte(p.Agent)), p)
		if err != nil {
			return err
		}
		clear := fmt.Sprintf("%d %d ", p.Until, max(0, p.Capacity))
		x.hset(key, p.Agent, append([]byte(clear), sealed...))
	}
	_, err = s.db.commit(ctx, &x)
	return err
}

// Present implements store.Queues.
func (s *Store) Present(ctx context.Context, t store.Tenant) (out []store.Presence, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	keys, err := s.tenant(ctx, t)
	if keys == nil || err != nil {
		return nil, err
	}
	var present, reserved *goredis.MapStringStringCmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		present = p.HGetAll(ctx, s.keys.desk(t, deskPresent))
		reserved = p.HGetAll(ctx, s.keys.desk(t, deskReserved))
	}); err != nil {
		return nil, err
	}
	now := s.now()
	for agent, row := range present.Val() {
		parts := strings.SplitN(row, " ", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("reading who is present: %w", errRow)
		}
		var p store.Presence
		if err := openJSON(keys, aad("presence ", []byte(agent)), []byte(parts[2]), &p); err != nil {
			return nil, err
		}
		if p.Until > now {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b store.Presence) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Agent, b.Agent))
	})
	if len(out) == 0 {
		return nil, nil
	}
	held := make([]*goredis.StringSliceCmd, len(out))
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) {
		for i := range out {
			held[i] = p.HKeys(ctx, s.keys.desk(t, agentHolds(out[i].Agent)))
		}
	}); err != nil {
		return nil, err
	}
	for i := range out {
		has := map[string]bool{}
		for _, conv := range held[i].Val() {
			has[conv] = true
		}
		for _, row := range reserved.Val() {
			if r, ok := parseReservation(row); ok && r.agent == out[i].Agent {
				has[r.conv] = true
			}
		}
		out[i].Load = len(has)
	}
	return out, nil
}

// reservation is a place that an agent keeps for a conversation while the claim is being committed.
type reservation struct {
	agent, conv string
	at          int64
}

func parseReservation(row string) (r reservation, ok bool) {
	parts := strings.Split(row, "\n")
	if len(parts) != 3 {
		return r, false
	}
	at, err := strconv.ParseInt(parts[2], 10, 64)
	return reservation{parts[0], parts[1], at}, err == nil
}

// Reserve implements store.Queues.
func (s *Store) Reserve(ctx context.Context, t store.Tenant, agent, conv string, op store.Token) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if agent == "" || conv == "" || op == "" || strings.ContainsRune(agent+conv, '\n') {
		return fmt.Errorf("%w: a reservation needs an agent, a conversation and an operation", errUnsound)
	}
	keys := []string{s.keys.desk(t, deskPresent), s.keys.desk(t, agentHolds(agent)), s.keys.desk(t, deskReserved)}
	var cmd *goredis.Cmd
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { // the operation makes it harmless to repeat
		cmd = p.EvalSha(ctx, s.db.scripts.reserve.Hash(), keys, agent, conv, string(op), s.now())
	}); err != nil {
		return err
	}
	switch answer, err := cmd.Text(); {
	case err != nil:
		return fmt.Errorf("reserving: %w", err)
	case answer == "ok":
		return nil
	case answer == "full":
		return store.ErrCapacity
	default:
		return store.ErrStale
	}
}

// Cancel implements store.Queues.
func (s *Store) Cancel(ctx context.Context, t store.Tenant, op store.Token) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	return s.db.run(ctx, reading, func(p goredis.Pipeliner) { p.HDel(ctx, s.keys.desk(t, deskReserved), string(op)) })
}

const (
	// reservedFor is after what time a reservation is resolved whose claim was neither committed nor cancelled, ms.
	reservedFor = 10_000
	// resolveEvery is how often that is looked for, ms.
	resolveEvery = 5_000
)

// resolve ends the reservations whose caller is gone. A claim that was not committed is made impossible first, however late
// it comes: the conversation gets another version, and so its comparison fails. Only then is the place free again.
func (s *Store) resolve(ctx context.Context, now int64) error {
	if last := s.resolved.Load(); now >= last && now-last < resolveEvery {
		return nil
	}
	s.resolved.Store(now)
	tenants, err := s.allTenants(ctx)
	if err != nil || len(tenants) == 0 {
		return err
	}
	cmds := make([]*goredis.MapStringStringCmd, len(tenants))
	if err := s.db.run(ctx, use{reads: true, partial: true}, func(p goredis.Pipeliner) {
		for i, t := range tenants {
			cmds[i] = p.HGetAll(ctx, s.keys.desk(t, deskReserved))
		}
	}); err != nil {
		return err
	}
	var failed error // the last: what is left is looked at again, and holds up no other
	for i, c := range cmds {
		if err := c.Err(); err != nil {
			failed = err
			continue
		}
		for op, row := range c.Val() {
			r, ok := parseReservation(row)
			if ok && now-r.at < reservedFor {
				continue
			}
			err := s.void(ctx, store.Ref{Tenant: tenants[i], ID: r.conv}, store.Token(op))
			if err == nil {
				err = s.Cancel(ctx, tenants[i], store.Token(op))
			}
			if err != nil {
				failed = err
			}
		}
	}
	return failed
}

// void sees to it that the claim of an operation has an outcome: it was committed, and then the view knows of it when void
// returns, or it never will be.
func (s *Store) void(ctx context.Context, r store.Ref, op store.Token) error {
	p, err := id.Partition(id.Conversation, r.ID)
	if err != nil {
		return nil // a claim of what is no conversation cannot be committed
	}
	for range maxTries {
		rec, err := s.load(ctx, r)
		if err != nil || rec == nil {
			return err
		}
		if rec.ops.has(op) {
			return s.relay(ctx, p)
		}
		key := s.keys.conversation(p, r, "s")
		var t txn
		t.equal(whyVersion, key, "v", string(rec.ver))
		t.hset(key, "v", s.o.IDs.Token())
		why, err := s.db.commit(ctx, &t)
		if err != nil || why == held {
			return err
		}
	}
	return store.ErrStale
}
