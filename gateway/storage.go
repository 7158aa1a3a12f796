package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/archive"
	"turnout/gateway/audit"
	"turnout/gateway/config"
	"turnout/gateway/id"
	"turnout/gateway/privacy"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
)

// policies are how long each tenant keeps what, as it is now.
type policies struct {
	atomic.Pointer[map[string]privacy.Policy]
}

func (p *policies) of(t store.Tenant) privacy.Policy {
	if all := p.Load(); all != nil {
		return (*all)[t.Name()]
	}
	return privacy.Policy{}
}

// set takes the policies of a configuration. A tenant that is no longer served keeps everything: nobody says otherwise.
func (p *policies) set(cfg *config.Config) {
	all := map[string]privacy.Policy{}
	for _, t := range cfg.Tenants {
		all[t.Name] = privacy.Policy(t.Retention)
	}
	p.Store(&all)
}

// forget drops what the lookup of a tenant's own system has kept of a customer.
func (g *Gateway) forget(t store.Tenant, p *message.Profile) {
	if l := g.lookups()[t.Name()]; l != nil {
		l.Forget(p)
	}
}

// newArchiver builds what moves closed conversations out of the store's rows, where the store can.
func (g *Gateway) newArchiver(ids *id.Source) {
	s, ok := g.store.Store.(archive.Store)
	if !ok {
		return
	}
	a := archive.New(archive.Options{
		Store: s, After: g.cfg.Store.ArchiveAfter, IDs: ids, Now: g.now, Board: g.rules.board, Log: g.log.With("component", "archive"),
	})
	g.archive.Store(a)
}

// runArchive archives until ctx ends.
func (g *Gateway) runArchive(ctx context.Context) {
	if a := g.archive.Load(); a != nil {
		a.Run(ctx)
	}
}

// damaged is told by the store of a conversation of which an archived part cannot be read.
func (g *Gateway) damaged(r store.Ref, err error) {
	if a := g.archive.Load(); a != nil {
		a.Damaged(r, err)
		return
	}
	g.log.Error("reading an archived conversation", "tenant", r.Tenant.Name(), "conversation", r.ID, "err", err)
}

// StorageLine is a line about a backup, a restore or a check: how far it has come, or with Done what came of it.
type StorageLine struct {
	Done bool `json:"done,omitempty"`
	// At is the instant that a backup holds.
	At    *time.Time `json:"at,omitempty"`
	Files int        `json:"files,omitempty"`
	Bytes int64      `json:"bytes,omitempty"`
	// Erased is how many conversations a restore has erased again.
	Erased int `json:"erased,omitempty"`
	// Conversations, Events and Blobs are what a check has read; Faults what it has found, at most MostFaults, FaultCount
	// how many there are.
	Conversations int      `json:"conversations,omitempty"`
	Events        int      `json:"events,omitempty"`
	Blobs         int      `json:"blobs,omitempty"`
	FaultCount    int      `json:"fault_count,omitempty"`
	Faults        []string `json:"faults,omitempty"`
	// Mended is what a repair has made anew, MendedCount how many it was.
	MendedCount int      `json:"mended_count,omitempty"`
	Mended      []string `json:"mended,omitempty"`
}

func copiedLine(c embedded.Copied) StorageLine {
	l := StorageLine{Files: c.Files, Bytes: c.Bytes}
	if c.At > 0 {
		at := time.UnixMilli(c.At).UTC()
		l.At = &at
	}
	return l
}

func reportLine(r store.Report) StorageLine {
	return StorageLine{
		Done: true, Conversations: r.Conversations, Events: r.Events, Blobs: r.Blobs, Faults: r.Faults, FaultCount: max(r.Count, len(r.Faults)),
		Mended: r.Mended, MendedCount: max(r.MendedCount, len(r.Mended)),
	}
}

// sometimes lets a line through once a second.
func sometimes(line func(any) error) func(embedded.Copied) {
	var last time.Time
	return func(c embedded.Copied) {
		if now := time.Now(); now.Sub(last) >= time.Second {
			last = now
			_ = line(copiedLine(c)) // who does not listen any more ends the work by its context
		}
	}
}

// errNotOwn answers who wants a backup of a store that a server keeps.
var errNotOwn = errors.New("the store is kept by a Redis server: back it up by the server's own means")

// backup copies the store of a running node.
func (g *Gateway) backup(ctx context.Context, to, by string, line func(any) error) error {
	if g.store.own == nil {
		return errNotOwn
	}
	entry := audit.Entry{At: g.now().UnixMilli(), Type: "backup.made", Op: id.NewSource(g.o.Rand, g.now).Token(), Actor: by}
	if err := g.store.Append(ctx, store.Operator, entry); err != nil {
		return err
	}
	done, err := g.store.own.Backup(ctx, to, sometimes(line))
	if err != nil {
		return err
	}
	last := copiedLine(done)
	last.Done = true
	g.log.Info("a backup was made", "files", done.Files, "bytes", done.Bytes)
	return line(last)
}

// errOwnRuns answers who wants to have the store mended that a running node has open.
var errOwnRuns = errors.New("the node runs, and has in memory what is to be mended: stop it, run this again, and start it")

// checkStore checks the store of a running node, or mends it.
func (g *Gateway) checkStore(ctx context.Context, repair bool, by string, line func(any) error) error {
	check := g.store.Check
	if repair {
		if g.store.own != nil {
			return errOwnRuns
		}
		check = g.store.Repair
	}
	report, err := check(ctx)
	if err != nil {
		return err
	}
	if report.MendedCount > 0 {
		g.log.Warn("the store was mended", "by", by, "places", report.MendedCount)
		entry := audit.Entry{At: g.now().UnixMilli(), Type: "store.repaired", Op: id.NewSource(g.o.Rand, g.now).Token(), Actor: by, Count: report.MendedCount}
		if err := g.store.Append(ctx, store.Operator, entry); err != nil {
			return err
		}
	}
	if report.Count == 0 { // somebody has looked at what was lost, and the rest is sound
		for _, a := range g.rules.board.Active() {
			if a.Name == alarmLost {
				g.rules.board.Clear(a.Name, a.Tenant, a.Subject)
			}
		}
	}
	return line(reportLine(report))
}

// storeOptions are those of the store of a node that does not run.
func storeOptions(o Options) (embedded.Options, error) {
	root, err := rootKey(o, o.Config)
	if err != nil {
		return embedded.Options{}, err
	}
	return embedded.Options{
		Dir: filepath.Join(o.Config.Data, "store"), FS: o.FS, Root: root, IDs: id.NewSource(o.Rand, o.Now), Now: o.Now,
		Log: o.Log.With("component", "store"), Reserve: -1, Ballast: -1,
	}, nil
}

// openEmbedded opens the store of a node that does not run; while one does, the error names its process.
func openEmbedded(o Options) (*embedded.Store, error) {
	so, err := storeOptions(o)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(so.Dir); err != nil { // opening would make one
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	return embedded.Open(so)
}

// Backup copies the store of a node that does not run into a new folder.
func Backup(ctx context.Context, o Options, to string, line func(StorageLine)) (last StorageLine, err error) {
	s, err := openEmbedded(o.withDefaults())
	if err != nil {
		return last, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	done, err := s.Backup(ctx, to, func(c embedded.Copied) { line(copiedLine(c)) })
	last = copiedLine(done)
	last.Done = err == nil
	return last, err
}

// Restore makes the store of a node from a backup; see embedded.Restore.
func Restore(ctx context.Context, o Options, from string, lists []string, line func(StorageLine)) (last StorageLine, err error) {
	so, err := storeOptions(o.withDefaults())
	if err != nil {
		return last, err
	}
	done, err := embedded.Restore(ctx, so, from, func(c embedded.Copied) { line(copiedLine(c)) }, lists...)
	last = copiedLine(done.Copied)
	last.Done, last.Erased = err == nil, done.Erased
	return last, err
}

// CheckStore reads everything in the store of a node that does not run, or in one that nodes share, and with repair mends what
// can be.
func CheckStore(ctx context.Context, o Options, repair bool) (last StorageLine, err error) {
	o = o.withDefaults()
	root, err := rootKey(o, o.Config)
	if err != nil {
		return last, err
	}
	s, err := openStore(ctx, o, o.Config, root, id.NewSource(o.Rand, o.Now), toRead, nil)
	if err != nil {
		return last, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	check := s.Check
	if repair {
		check = s.Repair
	}
	report, err := check(ctx)
	return reportLine(report), err
}

// CheckBackup reads a whole backup and compares it with what was written.
func CheckBackup(ctx context.Context, o Options, from string, line func(StorageLine)) (last StorageLine, err error) {
	so, err := storeOptions(o.withDefaults())
	if err != nil {
		return last, err
	}
	done, err := embedded.CheckBackup(ctx, so, from, func(c embedded.Copied) { line(copiedLine(c)) })
	last = copiedLine(done)
	last.Done = err == nil
	return last, err
}
