package redis

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
	"turnout/gateway/store/form"
	"turnout/gateway/store/seal"
)

// Check implements store.Upkeep. It looks at one conversation after the other while nodes work on; one that moves on
// meanwhile is looked at again.
func (s *Store) Check(ctx context.Context) (store.Report, error) {
	return s.check(ctx, &checker{s: s, views: map[store.Tenant]map[string]place{}})
}

// Repair implements store.Upkeep. It works while nodes do, in steps that write only if the conversation has not moved.
func (s *Store) Repair(ctx context.Context) (store.Report, error) {
	return s.check(ctx, &checker{s: s, views: map[store.Tenant]map[string]place{}, mends: true})
}

func (s *Store) check(ctx context.Context, c *checker) (store.Report, error) {
	tenants, err := s.allTenants(ctx)
	if err != nil {
		return c.rep, err
	}
	if err := c.known(ctx); err != nil {
		return c.rep, err
	}
	if c.mends {
		if err := s.raiseRelays(ctx, &change{tenants: tenants}); err != nil {
			return c.rep, err
		}
	}
	lists, err := s.memberships(ctx)
	if err != nil {
		return c.rep, err
	}
	c.lists = lists
	for _, t := range tenants {
		if err := c.tenant(ctx, t); err != nil {
			return c.rep, err
		}
	}
	return c.rep, c.strangers(ctx)
}

// checker collects what is wrong.
type checker struct {
	s     *Store
	rep   store.Report
	lists lists
	// views is where the conversations with people stand by their own words.
	views map[store.Tenant]map[string]place
	// closed are the conversations of the tenant that are listed to be archived.
	closed map[string]bool
	// mends is set when what can be made anew is.
	mends bool
}

func (c *checker) fault(format string, args ...any) {
	c.rep.Fault(format, args...)
}

// lists are the members of the partitions' lists. What a conversation demands is taken out; what is left nobody demands.
type lists map[string]map[string]bool

var listNames = []string{"r", "t", "o", "q"}

func (s *Store) memberships(ctx context.Context) (lists, error) {
	all := lists{}
	for _, name := range listNames {
		all[name] = map[string]bool{}
		keep := func(_ int, c *goredis.StringSliceCmd) error {
			for _, m := range c.Val() {
				all[name][m] = true
			}
			return nil
		}
		ask := func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
			if name == "q" {
				return p.SMembers(ctx, s.keys.part(part, name))
			}
			return p.ZRange(ctx, s.keys.part(part, name), 0, -1)
		}
		if err := eachPart(ctx, s, ask, keep); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// tenant checks everything of a tenant.
func (c *checker) tenant(ctx context.Context, t store.Tenant) error {
	s := c.s
	keys, err := s.tenant(ctx, t)
	if err != nil || keys == nil {
		c.fault("tenant %s: its keys do not open", t.Name())
		return nil
	}
	if err := c.own(ctx, t); err != nil {
		return err
	}
	paths := map[string]bool{}
	for _, kind := range []string{"p", "i"} {
		if err := eachPart(ctx, s, func(p goredis.Pipeliner, part int) *goredis.StringSliceCmd {
			if kind == "i" {
				return p.HVals(ctx, s.keys.ofTenant(part, t, "i"))
			}
			return p.ZRange(ctx, s.keys.ofTenant(part, t, "p"), 0, -1)
		}, func(part int, cmd *goredis.StringSliceCmd) error {
			for _, v := range cmd.Val() {
				if kind == "p" {
					paths[v] = true
				} else if err := c.identity(ctx, store.Ref{Tenant: t, ID: v}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := c.resting(ctx, t); err != nil {
		return err
	}
	heads := map[string]audit.Head{}
	last, err := c.checkpoints(ctx, t, heads)
	if err != nil {
		return err
	}
	for after := ""; ; {
		page, err := s.Chains(ctx, t, after, askedAtOnce)
		if err != nil {
			return err
		}
		for _, conv := range page {
			if err := c.conversation(ctx, store.Ref{Tenant: t, ID: conv}, keys, paths, heads, last); err != nil {
				return err
			}
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1]
	}
	for m := range paths {
		if err := c.strangePath(ctx, t, keys, m); err != nil {
			return err
		}
	}
	return c.view(ctx, t, keys)
}

func (c *checker) identity(ctx context.Context, r store.Ref) error {
	p, err := home(r)
	if err != nil {
		c.fault("tenant %s: an identity leads to what is no conversation", r.Tenant.Name())
		return nil
	}
	var cmd *goredis.IntCmd
	if err := c.s.db.run(ctx, reading, func(pipe goredis.Pipeliner) { cmd = pipe.Exists(ctx, c.s.keys.conversation(p, r, "s")) }); err != nil {
		return err
	}
	if cmd.Val() == 0 {
		c.fault("tenant %s: an identity leads to conversation %s, which is not there", r.Tenant.Name(), r.ID)
	}
	return nil
}

// conversation compares everything of one conversation with its log.
func (c *checker) conversation(ctx context.Context, r store.Ref, t *seal.Tenant, paths map[string]bool, heads map[string]audit.Head, newest uint64) error {
	s := c.s
	fault := func(format string, args ...any) { c.fault("conversation %s: "+format, append([]any{r.ID}, args...)...) }
	c.rep.Conversations++
	s.cache.remove(r) // the server is what is checked
	rec, err := s.load(ctx, r)
	if rec == nil && err == nil {
		if err := s.gone(ctx, r); errors.Is(err, store.ErrErased) {
			return c.erased(ctx, r)
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if err != nil || rec == nil {
		fault("state row: %v", err)
		return nil
	}
	var folded conversation.State
	events, err := c.log(ctx, rec, &folded)
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return err
	case errors.Is(err, errLog):
		if now, again := s.load(ctx, r); again != nil || now == nil || now.shelf.to() != rec.shelf.to() {
			return c.again(ctx, r, t, paths, heads, newest) // it was archived, or erased, meanwhile
		}
		fallthrough
	case err != nil:
		fault("log: %v", err)
		return c.demanded(ctx, rec, t, paths, fault)
	}
	if folded.Seq > rec.state.Seq {
		return c.again(ctx, r, t, paths, heads, newest) // it has moved on meanwhile
	}
	c.rep.Events += len(events)
	if a, b := asJSON(&folded), asJSON(rec.state); !bytes.Equal(a, b) {
		fault("the fold of the log is not the state")
	}
	if err := c.chain(ctx, rec, events, heads[r.ID], newest, fault); err != nil {
		return err
	}
	if err := c.rests(ctx, rec, fault); err != nil {
		return err
	}
	return c.demanded(ctx, rec, t, paths, fault)
}

// again checks a conversation once more: it is counted once.
func (c *checker) again(ctx context.Context, r store.Ref, t *seal.Tenant, paths map[string]bool, heads map[string]audit.Head, newest uint64) error {
	c.rep.Conversations--
	return c.conversation(ctx, r, t, paths, heads, newest)
}

// erased verifies the chain of a conversation of which nothing else is left.
func (c *checker) erased(ctx context.Context, r store.Ref) error {
	entries, err := c.s.Entries(ctx, r.Tenant, r.ID, 0, 1<<31)
	if errors.Is(err, store.ErrArchive) {
		c.fault("conversation %s: audit: %v", r.ID, err)
		return nil
	}
	if err != nil {
		return err
	}
	head, err := audit.Verify(r.ID, audit.Head{}, entries)
	if err != nil {
		c.fault("conversation %s: audit: %v", r.ID, err)
		return nil
	}
	ends, err := c.s.headsOf(ctx, r.Tenant, []string{r.ID})
	if err != nil {
		return err
	}
	if head.N > 0 && (len(ends) != 1 || ends[0].Head != head) {
		c.fault("conversation %s: its audit chain does not end at entry %d", r.ID, head.N)
	}
	return nil
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}

// log folds the log and returns its events.
func (c *checker) log(ctx context.Context, rec *record, folded *conversation.State) (events []audit.Event, err error) {
	log, err := c.s.readLog(rec)
	if err != nil {
		return nil, err
	}
	err = log.from(ctx, 1, func(row logRow) (bool, error) {
		if row.first != folded.Seq+1 || row.seen != folded.VSeq {
			return false, fmt.Errorf("the row of event %d follows event %d and visible sequence %d, not %d", row.first, folded.Seq, row.seen, folded.VSeq)
		}
		if err := log.events(row, func(seq, vseq uint64, b []byte) (bool, error) {
			e, err := c.s.decodeLogged(seq, b)
			if err != nil {
				return false, err
			}
			if e.VSeq != vseq {
				return false, fmt.Errorf("event %d carries visible sequence %d, not %d", seq, vseq, e.VSeq)
			}
			events = append(events, audit.Event{Event: &e, Encoded: b})
			return true, folded.Fold(e)
		}); err != nil {
			return false, err
		}
		if row.upTo != folded.VSeq {
			return false, fmt.Errorf("the row of event %d leads to visible sequence %d, not %d", row.first, row.upTo, folded.VSeq)
		}
		return true, nil
	})
	return events, err
}

// chain looks that the chain verifies, that it has exactly the entries that the log demands, and that what has grown since
// the last checkpoint is marked for the next one.
func (c *checker) chain(ctx context.Context, rec *record, events []audit.Event, covered audit.Head, newest uint64, fault func(string, ...any)) error {
	entries, err := c.s.Entries(ctx, rec.ref.Tenant, rec.ref.ID, 0, 1<<31)
	if errors.Is(err, store.ErrArchive) {
		fault("audit: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	head, err := audit.Verify(rec.ref.ID, audit.Head{}, entries)
	if err != nil {
		fault("audit: %v", err)
		return nil
	}
	if head != rec.head {
		fault("the audit chain ends at %d, the state says %d", head.N, rec.head.N)
	}
	links, err := audit.Next(rec.ref.ID, audit.Head{}, events, rec.key.MAC)
	if err != nil {
		return err
	}
	if len(links) != len(entries) {
		fault("%d audit entries for %d decisions", len(entries), len(links))
		return nil
	}
	for i := range links {
		if !bytes.Equal(links[i].Bytes, entries[i]) {
			fault("audit entry %d is not that of its event", i+1)
			return nil
		}
	}
	p, err := home(rec.ref)
	if err != nil || head == covered {
		return err
	}
	var marked *goredis.BoolCmd
	if err := c.s.db.run(ctx, reading, func(pipe goredis.Pipeliner) {
		marked = pipe.SIsMember(ctx, c.s.keys.ofTenant(p, rec.ref.Tenant, "m"), rec.ref.ID)
	}); err != nil || marked.Val() {
		return err
	}
	if more, err := c.s.Checkpoints(ctx, rec.ref.Tenant, newest, 1); err != nil || len(more) > 0 {
		return err // it was sealed meanwhile
	}
	if c.mends {
		c.rep.Mend("conversation %s: its chain is marked for the next checkpoint", rec.ref.ID)
		return c.s.mark(ctx, rec.ref.Tenant, rec.ref.ID)
	}
	fault("its chain has grown to entry %d, and no checkpoint will cover that", head.N)
	return nil
}

// demanded looks that everything that a state demands stands in the lists, and that all sealed rows open.
func (c *checker) demanded(ctx context.Context, rec *record, t *seal.Tenant, all map[string]bool, fault func(string, ...any)) error {
	state, r := rec.state, rec.ref
	wants := c.s.entries(rec, t)
	for _, e := range wants {
		if e.list == "p" {
			delete(all, e.member)
		} else {
			delete(c.lists[e.list], e.member)
		}
	}
	if len(wants) > 0 {
		if err := c.listed(ctx, r, t); err != nil {
			return err
		}
	}
	if state.Open() {
		if c.views[r.Tenant] == nil {
			c.views[r.Tenant] = map[string]place{}
		}
		c.views[r.Tenant][r.ID] = placeOf(state)
	}
	p, err := home(r)
	if err != nil {
		return err
	}
	key := c.s.keys.conversation(p, r, "f")
	var files *goredis.MapStringStringCmd
	if err := c.s.db.run(ctx, reading, func(pipe goredis.Pipeliner) { files = pipe.HGetAll(ctx, key) }); err != nil {
		return err
	}
	for name, row := range files.Val() {
		var a store.Attachment
		if err := openJSON(rec.key, aad(key, []byte(name)), []byte(row), &a); err != nil {
			fault("attachment: %v", err)
		}
	}
	return nil
}

// own verifies a tenant's own chain.
func (c *checker) own(ctx context.Context, t store.Tenant) error {
	entries, err := c.s.Entries(ctx, t, "", 0, 1<<31)
	if err != nil {
		return err
	}
	fields, err := c.s.ownFields(ctx, t)
	if err != nil {
		return err
	}
	head, err := audit.Verify(t.Name(), audit.Head{}, entries)
	switch {
	case err != nil:
		c.fault("tenant %s: audit: %v", t.Name(), err)
	case fields[ownHead] == "" && head.N == 0:
	case fields[ownHead] != string(encodeHead(head)):
		c.fault("tenant %s: its audit chain does not end at entry %d", t.Name(), head.N)
	}
	return nil
}

// checkpoints looks that the checkpoints of a tenant follow each other and vouch for the chains as they stand; it fills in
// up to where they cover each chain and returns the number of the newest. Who signed them is for those to see who have a key.
func (c *checker) checkpoints(ctx context.Context, t store.Tenant, heads map[string]audit.Head) (uint64, error) {
	var last audit.Checkpoint
	var hash [32]byte
	for {
		list, err := c.s.Checkpoints(ctx, t, last.Number, 16)
		if errors.Is(err, errRow) || errors.Is(err, form.ErrCheckpoint) {
			c.fault("tenant %s: checkpoints after %d: %v", t.Name(), last.Number, err)
			return last.Number, nil
		}
		if err != nil {
			return 0, err
		}
		if len(list) == 0 {
			break
		}
		for _, sealed := range list {
			p, err := audit.ReadCheckpoint(sealed.Note)
			if err != nil || p.Number != last.Number+1 || p.Previous != hash || p.Tenant != t.Name() {
				c.fault("tenant %s: checkpoint %d: it does not follow the one before", t.Name(), last.Number+1)
				return last.Number, nil
			}
			if root, err := audit.Root(sealed.Heads); err != nil || root != p.Root || p.Heads != len(sealed.Heads) {
				c.fault("tenant %s: checkpoint %d: its root is not that of its heads", t.Name(), p.Number)
			}
			for _, h := range sealed.Heads {
				heads[h.Chain] = h.Head
			}
			last, hash = p, p.Hash()
		}
	}
	for chain, h := range heads {
		name := chain
		if name == t.Name() {
			name = ""
		}
		entries, err := c.s.Entries(ctx, t, name, h.N-1, 1)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrArchive) {
			return 0, err
		}
		if len(entries) != 1 || sha256.Sum256(entries[0]) != h.Hash {
			c.fault("tenant %s: chain %s: entry %d is not the one that a checkpoint vouches for", t.Name(), chain, h.N)
		}
	}
	return last.Number, nil
}

// view compares a tenant's queue view with where its conversations say that they stand. Relay rows are applied first.
func (c *checker) view(ctx context.Context, t store.Tenant, keys *seal.Tenant) error {
	open := slices.Sorted(maps.Keys(c.views[t]))
	wrong, err := c.s.mendView(ctx, t, keys, open, func(int) bool { return true }, c.mends)
	for _, conv := range wrong {
		if c.mends {
			c.rep.Mend("conversation %s: it stands in the queue view again as it says itself", conv)
		} else {
			c.fault("conversation %s: the queue view has it elsewhere than it says itself", conv)
		}
	}
	return err
}
