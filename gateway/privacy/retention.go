package privacy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/report"
	"turnout/gateway/store"
)

// Policy is how long a tenant keeps what, from the close of a conversation on; 0 keeps it for good.
type Policy struct {
	// Attachments are the bytes of files.
	Attachments time.Duration
	// Messages are everything under a conversation's key: what was said, notes, profile, addresses, what decisions were
	// made on, files.
	Messages time.Duration
	// Figures are what is kept of a conversation when its messages go: times, counts, names of rules, queues and agents.
	Figures time.Duration
}

// none reports whether the policy keeps everything.
func (p Policy) none() bool { return p == Policy{} }

// shortest is the shortest time of a policy.
func (p Policy) shortest() (least time.Duration) {
	for _, d := range []time.Duration{p.Attachments, p.Messages, p.Figures} {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	return least
}

// every is how often retention is due.
const every = 24 * time.Hour

// Run is what a run of retention has destroyed, or would.
type Run struct {
	At     time.Time `json:"at"`
	DryRun bool      `json:"dry_run,omitempty"`
	// Conversations were looked at. Messages, Attachments and Figures are how many conversations lost these.
	Conversations int `json:"conversations"`
	Messages      int `json:"messages"`
	Attachments   int `json:"attachments"`
	Figures       int `json:"figures"`
	// Held were kept by a hold, Unfinished because they are open, must reach a person, or cannot be read, though their time
	// was over.
	Held       int `json:"held"`
	Unfinished int `json:"unfinished"`
}

// destroyed is the number of conversations that lost something.
func (r *Run) destroyed() int { return r.Messages + r.Attachments + r.Figures }

// LastRun returns the last run that ended, or store.ErrNotFound.
func (p *Privacy) LastRun(ctx context.Context, t store.Tenant) (run Run, err error) {
	rec, err := p.o.Store.Record(ctx, t, recordRetention, "last")
	if err != nil {
		return run, err
	}
	if err := json.Unmarshal(rec.Body, &run); err != nil {
		return run, fmt.Errorf("decoding the last run: %w", err)
	}
	return run, nil
}

// PolicyOf returns what is in force for a tenant.
func (p *Privacy) PolicyOf(t store.Tenant) Policy { return p.o.Policy(t) }

// DryRun says what a run of a tenant's policy would destroy now. It changes nothing.
func (p *Privacy) DryRun(ctx context.Context, t store.Tenant) (Run, error) {
	return p.retention(ctx, t, p.o.Policy(t), true)
}

// retain runs a tenant's policy when it is due.
func (p *Privacy) retain(ctx context.Context, t store.Tenant) error {
	policy := p.o.Policy(t)
	if policy.none() {
		return nil
	}
	rec, err := p.o.Store.Record(ctx, t, recordRetention, "last")
	var last Run
	switch {
	case errors.Is(err, store.ErrNotFound):
		rec = store.Record{Kind: recordRetention, ID: "last"}
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(rec.Body, &last); err != nil {
			return fmt.Errorf("decoding the last run: %w", err)
		}
	}
	if p.o.Now().Sub(last.At) < every {
		return nil
	}
	run, err := p.retention(ctx, t, policy, false)
	if err != nil {
		return fmt.Errorf("keeping in time: %w", err)
	}
	if run.destroyed() > 0 {
		if err := p.o.Store.Scrub(ctx); err != nil {
			return err
		}
	}
	if rec.Body, err = json.Marshal(run); err != nil {
		return err
	}
	entry := p.entry("retention.done", "", "system")
	if entry.Count = run.destroyed(); entry.Count == 0 {
		entry = nil // nothing was decided about anybody
	}
	if _, err := p.o.Store.PutRecord(ctx, t, rec, entry); err != nil {
		return err
	}
	p.figs.kept(run)
	p.o.Log.Info("retention", "tenant", t.Name(), "conversations", run.Conversations, "messages", run.Messages,
		"attachments", run.Attachments, "figures", run.Figures, "held", run.Held, "unfinished", run.Unfinished)
	return nil
}

// retention goes through all conversations of a tenant, a page at a time. What it has done is done: a run that was cut off
// begins anew and finds less.
func (p *Privacy) retention(ctx context.Context, t store.Tenant, policy Policy, dry bool) (run Run, err error) {
	run = Run{At: p.o.Now().UTC(), DryRun: dry}
	if policy.none() {
		return run, nil
	}
	for after := ""; ; {
		chains, err := p.o.Store.Chains(ctx, t, after, page)
		if err != nil {
			return run, err
		}
		holds, err := p.allHolds(ctx, t)
		if err != nil {
			return run, err
		}
		for _, conv := range chains {
			after = conv
			run.Conversations++
			// An id is made with its conversation: what is younger than anything that goes is not looked at.
			if made, err := id.Time(id.Conversation, conv); err != nil || run.At.Sub(made) < policy.shortest() {
				continue
			}
			if err := p.retainOne(ctx, store.Ref{Tenant: t, ID: conv}, policy, holds, &run); err != nil {
				return run, fmt.Errorf("conversation %s: %w", conv, err)
			}
			if err := ctx.Err(); err != nil {
				return run, err
			}
		}
		if len(chains) < page {
			return run, nil
		}
		if !dry { // whoever asked for an erasure does not wait until all others were looked at
			if err := p.erasures(ctx, t); err != nil {
				return run, err
			}
		}
	}
}

// retainOne destroys of one conversation what its time is over for.
func (p *Privacy) retainOne(ctx context.Context, r store.Ref, policy Policy, holds []Hold, run *Run) error {
	snap, err := p.o.Store.Load(ctx, r)
	if errors.Is(err, store.ErrErased) {
		return p.retainFigures(ctx, r, policy, run)
	}
	if err != nil {
		return err
	}
	s := snap.State
	age := func() time.Duration {
		return run.At.Sub(time.UnixMilli(max(s.ClosedAt, s.ActiveAt, s.OpenedAt)))
	}
	messages, files := over(age(), policy.Messages), over(age(), policy.Attachments)
	switch {
	case !messages && !files:
		return nil
	case !finished(s):
		run.Unfinished++
		return nil
	case holding(holds, s) != nil:
		run.Held++
		return nil
	case messages:
		if !run.DryRun {
			err := p.expire(ctx, r, policy, run.At)
			if errors.Is(err, store.ErrArchive) { // its figures cannot be kept: it waits until somebody mends it
				p.o.Log.Error("keeping in time: a conversation is left as it is", "conversation", r.ID, "err", err)
				run.Unfinished++
				return nil
			}
			if err != nil {
				return settled(err)
			}
		}
		run.Messages++
		return nil
	}
	n, err := p.detach(ctx, r, run)
	if err != nil {
		return settled(err)
	}
	if n > 0 {
		run.Attachments++
	}
	return nil
}

// settled is nil for what became of a conversation meanwhile: the next run looks at it again.
func settled(err error) error {
	if isObstacle(err) || errors.Is(err, errNotNow) || errors.Is(err, store.ErrErased) {
		return nil
	}
	return err
}

// errNotNow: the conversation has been opened again.
var errNotNow = errors.New("not now")

// finished reports whether nobody owes anybody anything in a conversation.
func finished(s *conversation.State) bool {
	return s.Owner.Kind == message.OwnerClosed && !s.MustReachHuman && !s.Working()
}

func over(age, kept time.Duration) bool { return kept > 0 && age >= kept }

// expire destroys a conversation and keeps its figures, if the policy does.
func (p *Privacy) expire(ctx context.Context, r store.Ref, policy Policy, now time.Time) error {
	err := p.wipe(ctx, r, "system", func(snap *store.Snapshot) ([]byte, error) {
		if s := snap.State; !finished(s) || !over(now.Sub(time.UnixMilli(s.ClosedAt)), policy.Messages) {
			return nil, errNotNow
		}
		if policy.Figures > 0 && policy.Figures <= policy.Messages {
			return nil, nil
		}
		events, err := p.whole(ctx, r)
		if err != nil {
			return nil, err
		}
		return json.Marshal(report.Summarize(events))
	})
	if err == nil {
		err = p.o.Faults.Hit(ctx, fault.RetentionExpired)
	}
	return err
}

// retainFigures takes away what was kept of an erased conversation when its time is over.
func (p *Privacy) retainFigures(ctx context.Context, r store.Ref, policy Policy, run *Run) error {
	if policy.Figures == 0 {
		return nil
	}
	stone, err := p.o.Store.Tombstone(ctx, r)
	if err != nil || stone.Keep == nil {
		return err
	}
	var kept report.Summary
	if err := json.Unmarshal(stone.Keep, &kept); err != nil {
		return fmt.Errorf("decoding what was kept: %w", err)
	}
	if !over(run.At.Sub(kept.ClosedAt), policy.Figures) {
		return nil
	}
	run.Figures++
	if run.DryRun {
		return nil
	}
	return p.o.Store.Forget(ctx, r)
}

// detach destroys the files of a conversation and returns how many there were.
func (p *Privacy) detach(ctx context.Context, r store.Ref, run *Run) (n int, err error) {
	for after := ""; ; {
		files, err := p.o.Store.Attachments(ctx, r, after, page)
		if err != nil {
			return n, err
		}
		var ids []string
		for _, a := range files {
			if after = a.ID; a.Blob != "" {
				ids = append(ids, a.ID)
			}
		}
		n += len(ids)
		if len(ids) > 0 && !run.DryRun {
			if err := p.detachSome(ctx, r, ids); err != nil {
				return n, err
			}
		}
		if len(files) < page {
			return n, nil
		}
	}
}

func (p *Privacy) detachSome(ctx context.Context, r store.Ref, ids []string) error {
	return p.destroyOf(ctx, r, actor("system"), func(holds []Hold, snap *store.Snapshot, _ *conversation.Draft, st *store.Step) error {
		if err := standing(holds, snap.State); err != nil {
			return err
		}
		if !finished(snap.State) {
			return errNotNow
		}
		st.Detach = ids
		return nil
	})
}

// whole reads a log to its end.
func (p *Privacy) whole(ctx context.Context, r store.Ref) (all []conversation.Event, err error) {
	for {
		events, err := p.o.Store.Log(ctx, r, uint64(len(all)), page)
		if err != nil {
			return nil, err
		}
		if all = append(all, events...); len(events) < page {
			return all, nil
		}
	}
}
