package embedded

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

// checkPage is how much of a list is held at a time.
const checkPage = 1024

// Check implements store.Upkeep. It looks at one conversation at a time, under its lock, while the store works on, and holds
// a page of what there is, however much that is.
func (s *Store) Check(ctx context.Context) (store.Report, error) {
	rep := &checking{}
	err := s.check(ctx, rep)
	return rep.Report, err
}

// Repair implements store.Upkeep. What this process has in memory of the rows that it mends it made of them when it began: it
// is for a store that is closed after it, and the next process begins with what was mended.
func (s *Store) Repair(ctx context.Context) (store.Report, error) {
	rep := &checking{mends: true}
	err := s.check(ctx, rep)
	return rep.Report, err
}

// checking is a check under way.
type checking struct {
	store.Report
	// mends is set when rows of indexes are made anew.
	mends bool
}

func (s *Store) check(ctx context.Context, rep *checking) error {
	for from := []byte{spaceTenant}; from != nil; {
		refs, next, err := s.conversationsFrom(ctx, from)
		if err != nil {
			return err
		}
		for _, r := range refs {
			if err := s.checkConversation(ctx, r, rep); err != nil {
				return err
			}
		}
		from = next
	}
	if err := s.checkIndexes(ctx, rep); err != nil {
		return err
	}
	if err := s.checkTenants(ctx, rep); err != nil {
		return err
	}
	return s.checkCheckpoints(ctx, rep)
}

// conversationsFrom returns a page of those that have any row, and where the next page begins, nil at the end.
func (s *Store) conversationsFrom(ctx context.Context, from []byte) (refs []store.Ref, next []byte, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer s.life.RUnlock()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceTenant}, UpperBound: []byte{spaceTenant + 1}})
	if err != nil {
		return nil, nil, s.readError(err)
	}
	for ok := it.SeekGE(from); ok; {
		if err = ctx.Err(); err != nil {
			break
		}
		name, rest, found := bytes.Cut(it.Key()[1:], []byte{0})
		t, bad := store.TenantOf(string(name))
		if !found || bad != nil || len(rest) == 0 {
			ok = it.Next()
			continue
		}
		if rest[0] != 'c' { // before or behind all conversations of the tenant
			if rest[0] < 'c' {
				ok = it.SeekGE(tenantKey(t.Name(), 'c'))
			} else {
				ok = it.SeekGE(tenantKey(t.Name(), 0xff))
			}
			continue
		}
		conv, _, _ := bytes.Cut(rest[1:], []byte{0})
		r := store.Ref{Tenant: t, ID: string(conv)}
		behind := after(conversationKey(r))
		if len(refs) == checkPage {
			next = bytes.Clone(it.Key())
			break
		}
		refs = append(refs, r)
		ok = it.SeekGE(behind)
	}
	if bad := it.Close(); bad != nil {
		err = errors.Join(err, s.readError(bad))
	}
	return refs, next, err
}

// checkConversation looks at one that is there, or at what an erasure has left of one, and then at its files.
func (s *Store) checkConversation(ctx context.Context, r store.Ref, rep *checking) error {
	if _, err := id.Partition(id.Conversation, r.ID); err != nil {
		rep.Fault("tenant %s: rows of a conversation that is none", r.Tenant.Name())
		return nil
	}
	if err := s.checkOne(ctx, r, rep); err != nil {
		return err
	}
	for last := ""; ; {
		files, err := s.Attachments(ctx, r, last, checkPage)
		if errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if err != nil {
			return nil // erased, or said already what is wrong
		}
		for _, a := range files {
			last = a.ID
			if err := s.checkBlob(ctx, r, a, rep); err != nil {
				return err
			}
		}
		if len(files) < checkPage {
			return nil
		}
	}
}

// checkBlob reads a file to its end.
func (s *Store) checkBlob(ctx context.Context, r store.Ref, a store.Attachment, rep *checking) error {
	if b, err := hex.DecodeString(a.Blob); err != nil || len(b) != sha256.Size {
		return nil // its bytes are somewhere else, or gone
	}
	rep.Blobs++
	body, err := s.blobs.Open(ctx, r, a.Blob)
	if err == nil {
		_, err = io.Copy(io.Discard, &untilDone{ctx, body})
		err = errors.Join(err, body.Close())
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil:
		return errors.Join(err, ctx.Err())
	}
	if now, gone := s.Attachment(ctx, r, a.ID); gone != nil || now.Blob != a.Blob {
		return nil // it was destroyed meanwhile
	}
	if errors.Is(err, store.ErrNotFound) {
		err = errors.New("the file is missing")
	}
	rep.Fault("conversation %s: attachment %s: %v", r.ID, a.ID, err)
	return nil
}

// checkErased looks at what an erasure leaves. The caller holds the partition's lock.
func (s *Store) checkErased(r store.Ref, t *tenant, rep *checking) error {
	_, err := s.tombstone(r, t)
	switch {
	case errors.Is(err, store.ErrNotFound):
		rep.Fault("conversation %s: it has rows, but no state", r.ID)
		return nil
	case errors.Is(err, store.ErrUnavailable):
		return err
	case err != nil:
		rep.Fault("conversation %s: %v", r.ID, err)
		return nil
	}
	if key, err := s.get(dataKeyKey(r)); err != nil || key != nil {
		if err == nil {
			rep.Fault("conversation %s: it was erased, and its key is there", r.ID)
		}
		return err
	}
	entries, err := s.chain(r, 0, 1<<31)
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if err == nil {
		_, err = audit.Verify(r.ID, audit.Head{}, entries)
	}
	if err != nil {
		rep.Fault("conversation %s: audit: %v", r.ID, err)
	}
	return nil
}

// checkOne compares everything of one conversation with its log.
func (s *Store) checkOne(ctx context.Context, r store.Ref, rep *checking) error {
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return err
	}
	defer s.unlockRead(p)
	fault := func(format string, args ...any) {
		rep.Fault("conversation %s: %s", r.ID, fmt.Sprintf(format, args...))
	}
	t, err := s.tenant(r.Tenant)
	if t == nil || err != nil {
		fault("its tenant's keys do not open")
		return nil
	}
	key := kindKey(conversationKey(r), kindState)
	row, err := s.get(key)
	if err != nil {
		return err
	}
	if row == nil {
		return s.checkErased(r, t, rep)
	}
	rep.Conversations++
	content, err := s.content(r, t)
	if err != nil || content == nil {
		fault("its data key does not open")
		return nil
	}
	rec, err := decodeRecord(r, key, row, content) // not the cache's: the disk is what is checked
	if err != nil {
		fault("state row: %v", err)
		return nil
	}
	var folded conversation.State
	events, err := s.checkLog(rec, &folded)
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if err != nil {
		fault("log: %v", err)
		return nil
	}
	rep.Events += len(events)
	if a, b := asJSON(&folded), asJSON(rec.state); !bytes.Equal(a, b) {
		fault("the fold of the log is not the state")
	}
	if err := s.checkChain(rec, events, fault); err != nil {
		return err
	}
	return s.checkRows(rec, t, rep, fault)
}

// checkLog folds the log and returns its events.
func (s *Store) checkLog(rec *record, folded *conversation.State) (events []audit.Event, err error) {
	log, err := s.readLog(rec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.close()) }()
	row, err := log.at(1)
	for more := true; more && err == nil; row, more, err = log.after(row) {
		if row.seen != folded.VSeq {
			return nil, fmt.Errorf("the row of event %d follows visible sequence %d, not %d", row.first, row.seen, folded.VSeq)
		}
		if err := row.events(rec.key, func(seq, vseq uint64, b []byte) (bool, error) {
			e, err := decodeLogged(seq, b)
			if err != nil {
				return false, err
			}
			if e.VSeq != vseq {
				return false, fmt.Errorf("event %d carries visible sequence %d, not %d", seq, vseq, e.VSeq)
			}
			events = append(events, audit.Event{Event: &e, Encoded: b})
			return true, folded.Fold(e)
		}); err != nil {
			return nil, err
		}
		if row.upTo != folded.VSeq {
			return nil, fmt.Errorf("the row of event %d leads to visible sequence %d, not %d", row.first, row.upTo, folded.VSeq)
		}
	}
	return events, err
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}

// checkChain looks that the chain verifies and that it has exactly the entries that the log demands.
func (s *Store) checkChain(rec *record, events []audit.Event, fault func(string, ...any)) error {
	entries, err := s.chain(rec.ref, 0, 1<<31)
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if err != nil {
		fault("audit: %v", err)
		return nil
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
	return nil
}

// checkRows looks that everything that a state demands stands in the indexes, and that all sealed rows open.
func (s *Store) checkRows(rec *record, t *tenant, rep *checking, fault func(string, ...any)) error {
	want := map[string]string{}
	for _, o := range obligations(nil, rec.state) {
		want[string(indexKey(o.kind, o.ms, rec.ref, o.name))] = "obligation " + string(rune(o.kind))
	}
	if rec.state.Working() {
		want[string(indexKey(dueWork, 0, rec.ref, ""))] = "obligation " + string(rune(dueWork))
	}
	for _, p := range paths(nil, rec.state) {
		want[string(pathKey(t, p, rec.ref.ID))] = "access path " + string(rune(p.kind))
	}
	if head, ok, err := s.head(rec); err != nil {
		fault("outbox: %v", err)
	} else if ok {
		want[string(indexKey(dueOutbox, head.Row.Due, rec.ref, rec.state.From.Channel))] = "outbox"
	}
	for key, what := range want {
		_, closer, err := s.db.Get([]byte(key))
		switch {
		case errors.Is(err, pebble.ErrNotFound) && rep.mends:
			// No commit of the partition runs while it is held for reading.
			if err := s.db.Set([]byte(key), nil, pebble.Sync); err != nil {
				return s.readError(err)
			}
			rep.Mend("conversation %s: it was put into the index again: %s", rec.ref.ID, what)
			continue
		case err != nil:
			fault("it is missing from the index: %s", what)
			continue
		}
		if err := closer.Close(); err != nil {
			return s.readError(err)
		}
	}
	prefix := kindKey(conversationKey(rec.ref), kindAttachment)
	return s.each(prefix, after(prefix), func(k, v []byte) (bool, error) {
		var a store.Attachment
		if err := openSealed(rec.key, k, v, &a); err != nil {
			fault("attachment: %v", err)
		}
		return true, nil
	})
}

// demanded is a row of an index and the conversation that it is of.
type demanded struct {
	key []byte
	ref store.Ref
}

// checkIndexes looks that nothing stands in the indexes that no state demands.
func (s *Store) checkIndexes(ctx context.Context, rep *checking) error {
	if err := s.checkSpace(ctx, spaceIndex, rep, func(k []byte) (demanded, bool) {
		_, _, r, _, ok := parseIndexKey(k)
		if !ok {
			rep.Fault("the index of obligations holds a row that is none")
		}
		return demanded{bytes.Clone(k), r}, ok
	}); err != nil {
		return err
	}
	return s.checkSpace(ctx, spaceTenant, rep, func(k []byte) (demanded, bool) {
		name, rest, ok := bytes.Cut(k[1:], []byte{0})
		t, bad := store.NewTenant(string(name))
		if !ok || bad != nil || len(rest) <= idLen || rest[0] != 'p' {
			return demanded{}, false
		}
		return demanded{bytes.Clone(k), store.Ref{Tenant: t, ID: string(rest[len(rest)-idLen:])}}, true
	})
}

// checkSpace looks at the rows of a space that pick picks, a page at a time.
func (s *Store) checkSpace(ctx context.Context, space byte, rep *checking, pick func(k []byte) (demanded, bool)) error {
	for from := []byte{space}; from != nil; {
		var rows []demanded
		var next []byte
		if err := s.enter(ctx); err != nil {
			return err
		}
		err := s.each(from, []byte{space + 1}, func(k, _ []byte) (bool, error) {
			if len(rows) == checkPage {
				next = bytes.Clone(k)
				return false, nil
			}
			if d, ok := pick(k); ok {
				rows = append(rows, d)
			}
			return true, ctx.Err()
		})
		s.life.RUnlock()
		if err != nil {
			return err
		}
		for _, d := range rows {
			if err := s.checkDemanded(ctx, d.key, d.ref, rep); err != nil {
				return err
			}
		}
		from = next
	}
	return nil
}

// checkDemanded reports a row of an index that its conversation does not demand.
func (s *Store) checkDemanded(ctx context.Context, key []byte, r store.Ref, rep *checking) error {
	p, err := s.lockRead(ctx, r)
	if err != nil {
		return err
	}
	defer s.unlockRead(p)
	if row, err := s.get(key); err != nil {
		return err
	} else if row == nil {
		return nil // a commit took it away since
	}
	rec, err := s.record(r)
	if err != nil {
		return err
	}
	if rec != nil {
		t, err := s.tenant(r.Tenant)
		if err != nil {
			return err
		}
		// A row of work may outlast the work, but not unknown to the store.
		if p.work.has(r) && bytes.Equal(key, indexKey(dueWork, 0, r, "")) {
			return nil
		}
		for _, o := range obligations(nil, rec.state) {
			if bytes.Equal(key, indexKey(o.kind, o.ms, r, o.name)) {
				return nil
			}
		}
		for _, p := range paths(nil, rec.state) {
			if bytes.Equal(key, pathKey(t, p, r.ID)) {
				return nil
			}
		}
		head, ok, err := s.head(rec)
		if err != nil {
			return err
		}
		if ok && bytes.Equal(key, indexKey(dueOutbox, head.Row.Due, r, rec.state.From.Channel)) {
			return nil
		}
	}
	if rep.mends {
		if err := s.db.Delete(key, pebble.Sync); err != nil {
			return s.readError(err)
		}
		rep.Mend("conversation %s: a row of an index that it does not demand was taken away", r.ID)
		return nil
	}
	rep.Fault("conversation %s: a row of an index that it does not demand", r.ID)
	return nil
}

// checkTenants verifies the tenants' own chains and that every identity leads to a conversation.
func (s *Store) checkTenants(ctx context.Context, rep *checking) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.life.RUnlock()
	var names []string
	if err := s.each([]byte{spaceKey, 't'}, []byte{spaceKey, 't' + 1}, func(k, _ []byte) (bool, error) {
		names = append(names, string(k[2:]))
		return true, nil
	}); err != nil {
		return err
	}
	for _, name := range names {
		t, err := store.TenantOf(name)
		if err != nil {
			rep.Fault("a tenant's name is none")
			continue
		}
		if err := s.checkTenant(t, rep); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) checkTenant(t store.Tenant, rep *checking) error {
	keys, err := s.tenant(t)
	if err != nil {
		rep.Fault("tenant %s: %v", t.Name(), err)
		return nil
	}
	keys.chain.RLock()
	defer keys.chain.RUnlock()
	prefix := tenantKey(t.Name(), 'u')
	row, err := s.get(tenantKey(t.Name(), 'h'))
	if err != nil {
		return err
	}
	var head audit.Head
	for more := true; more && err == nil; {
		entries, bad := s.entries(be64(prefix, head.N+1), after(prefix), checkPage)
		if bad != nil {
			return bad
		}
		more = len(entries) == checkPage
		head, err = audit.Verify(t.Name(), head, entries)
	}
	switch {
	case err != nil:
		rep.Fault("tenant %s: audit: %v", t.Name(), err)
	case row == nil && head.N == 0:
	case !bytes.Equal(row, encodeHead(head)):
		rep.Fault("tenant %s: its audit chain does not end at entry %d", t.Name(), head.N)
	}
	prefix = tenantKey(t.Name(), 'i')
	return s.each(prefix, after(prefix), func(k, v []byte) (bool, error) {
		r := store.Ref{Tenant: t, ID: string(v)}
		if _, err := id.Partition(id.Conversation, r.ID); err == nil {
			if state, err := s.get(kindKey(conversationKey(r), kindState)); err != nil || state != nil {
				return true, err
			}
		}
		rep.Fault("tenant %s: identity %s leads nowhere", t.Name(), hex.EncodeToString(k[len(prefix):]))
		return true, nil
	})
}
