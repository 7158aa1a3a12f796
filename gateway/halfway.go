package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"turnout/gateway/alarm"
	"turnout/gateway/config"
	"turnout/gateway/resource"
	"turnout/gateway/store"
)

// A change of the configuration is a version per tenant and one of its rules, and no store writes those of several tenants
// in one step. So that a change is in force whole or not at all: what is in force on the node is replaced only when
// everything is durable, and what had been written of a change that failed is taken back, by a further version that says
// what is in force. If the store takes not even that, the node keeps in mind what has to be taken back: an alarm says so,
// it is tried again every second, and the next change begins with it. Only a node that is started before that begins with
// what the store has.

// halfway is what was, or may have been, written of a change that failed.
type halfway struct {
	sets  map[string]rewritten // by tenant
	rules map[string]rejudged  // by tenant
}

// rewritten is a set that took the place of another one.
type rewritten struct{ before, after resource.Version }

// rejudged is the version of the rules that was in force before others. byFiles: those are of files, and may be a version of
// their own.
type rejudged struct {
	before  int
	byFiles bool
}

func newHalfway() *halfway {
	return &halfway{sets: map[string]rewritten{}, rules: map[string]rejudged{}}
}

// alarmHalfway says that a change could not be taken back.
const alarmHalfway = "config.halfway"

// takeBackTime bounds taking back: who asked for the change may be gone.
const takeBackTime = 10 * time.Second

// failed takes back what was written of a change that ended with err, and returns err with what came of that. The caller
// holds changing.
func (g *Gateway) failed(ctx context.Context, h *halfway, err error) error {
	if len(h.sets)+len(h.rules) == 0 {
		return err
	}
	g.halfway = h
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTime)
	defer cancel()
	if back := g.takeBack(ctx); back != nil {
		return fmt.Errorf("%w; part of the change may be in the store and could not be taken back (%w): that is tried again every second, and a restart before it succeeds puts it into force", err, back)
	}
	return err
}

// takeBackEvery is how often it is tried again to take back what could not be.
const takeBackEvery = time.Second

// settle takes back what could not be taken back at once, until ctx ends.
func (g *Gateway) settle(ctx context.Context) {
	tick := time.NewTicker(takeBackEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		g.changing.Lock()
		if !g.stopped {
			_ = g.takeBack(ctx) // the alarm says it
		}
		g.changing.Unlock()
	}
}

// takeBack makes what is in force the newest that the store has, where a change that failed has left something else. The
// caller holds changing.
func (g *Gateway) takeBack(ctx context.Context) (err error) {
	h := g.halfway
	if h == nil {
		return nil
	}
	defer func() {
		if err == nil {
			g.halfway = nil
			g.rules.board.Clear(alarmHalfway, "", "")
			return
		}
		tenants := map[string]bool{}
		for name := range h.sets {
			tenants[name] = true
		}
		for name := range h.rules {
			tenants[name] = true
		}
		g.rules.board.Raise(alarm.Alarm{Name: alarmHalfway, Reason: fmt.Sprintf(
			"A change of the configuration failed when part of it was in the store (%s), and the store did not let it be taken back. What was in force goes on. It is tried again every second: mend the store; a restart before that puts the part into force.",
			strings.Join(slices.Sorted(maps.Keys(tenants)), ", "))})
	}()
	for _, name := range slices.Sorted(maps.Keys(h.sets)) {
		if err := g.takeBackSet(ctx, name, h.sets[name]); err != nil {
			return fmt.Errorf("taking back the configuration of tenant %s: %w", name, err)
		}
		delete(h.sets, name)
	}
	for _, name := range slices.Sorted(maps.Keys(h.rules)) {
		if err := g.takeBackRules(ctx, name, h.rules[name]); err != nil {
			return fmt.Errorf("taking back the rules of tenant %s: %w", name, err)
		}
		delete(h.rules, name)
	}
	return nil
}

func (g *Gateway) takeBackSet(ctx context.Context, name string, r rewritten) error {
	t, err := store.NewTenant(name)
	if err != nil {
		return err
	}
	now, err := resource.Current(ctx, g.store, t)
	if err != nil {
		return err
	}
	if now.N != r.after.N || now.Digest != r.after.Digest || now.At != r.after.At || now.By != r.after.By {
		return nil // it was not written, or somebody else has published since
	}
	_, err = resource.Restore(ctx, g.store, t, now, r.before.Set, r.before.Digest, g.o.Now().UnixMilli())
	return err
}

func (g *Gateway) takeBackRules(ctx context.Context, name string, r rejudged) error {
	i := slices.IndexFunc(g.running.cfg.Tenants, func(t *config.Tenant) bool { return t.Name == name })
	if i < 0 { // the change would have made the tenant
		g.rules.keep(g.running.cfg.Tenants)
		return nil
	}
	t := g.running.cfg.Tenants[i]
	handle := g.running.tenants[name].Handle
	if book, ok := g.rules.Book(handle); ok && t.RulesPublished && r.byFiles {
		if err := book.Reinstate(ctx, r.before); err != nil {
			return err
		}
	}
	_, err := g.rules.configure(ctx, handle, t)
	return err
}
