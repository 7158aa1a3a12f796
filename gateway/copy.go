package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"turnout/gateway/id"
	"turnout/gateway/store/embedded"
	"turnout/gateway/store/redis"
	"turnout/gateway/store/transfer"
)

// CopyLine is how far a copy of a store has come, or with Done what came of it.
type CopyLine struct {
	Done bool `json:"done,omitempty"`
	// Stage is copying, comparing or checking.
	Stage         string `json:"stage,omitempty"`
	Items         int    `json:"items"`
	Conversations int    `json:"conversations"`
	Events        int    `json:"events"`
	// Kinds are the items by kind. Whole says that the target holds what the source does and is in order: only then can it be
	// opened.
	Kinds map[transfer.Kind]int `json:"kinds,omitempty"`
	Whole bool                  `json:"whole"`
	// Differences say what the target holds otherwise, Faults what a check of it has found: at most so many of them, and the
	// counts say how many there are.
	Differences     []string `json:"differences,omitempty"`
	DifferenceCount int      `json:"difference_count"`
	Faults          []string `json:"faults,omitempty"`
	FaultCount      int      `json:"fault_count"`
}

// CopyStore makes the store that one configuration names hold what that of another does, while no node works on either; see
// transfer.Copy. line, if it is not nil, is told once a second.
func CopyStore(ctx context.Context, from, to Options, line func(CopyLine)) (last CopyLine, err error) {
	from, to = from.withDefaults(), to.withDefaults()
	source, err := copySource(ctx, from)
	if err != nil {
		return last, fmt.Errorf("source: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := copyTarget(to)
	if err != nil {
		return last, fmt.Errorf("target: %w", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	var told time.Time
	rep, err := transfer.Copy(ctx, source, target, to.Now, func(p transfer.Progress) {
		if now := time.Now(); line != nil && now.Sub(told) >= time.Second {
			told = now
			line(CopyLine{Stage: string(p.Stage), Items: p.Items, Conversations: p.Conversations})
		}
	})
	last = CopyLine{
		Done: err == nil, Whole: err == nil && rep.Whole(), Kinds: rep.Counts, Conversations: rep.Counts[transfer.Conversations], Events: rep.Events,
		Differences: rep.Differences, DifferenceCount: rep.Different, Faults: rep.Check.Faults, FaultCount: max(rep.Check.Count, len(rep.Check.Faults)),
	}
	for _, n := range rep.Counts {
		last.Items += n
	}
	return last, err
}

// copySource opens a store to be read. It makes none.
func copySource(ctx context.Context, o Options) (transfer.Source, error) {
	if o.Config.Store.Kind == "redis" {
		ro, err := copyRedis(o)
		if err != nil {
			return nil, err
		}
		s, err := redis.OpenSource(ctx, ro)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := openEmbedded(o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func copyTarget(o Options) (transfer.Target, error) {
	if o.Config.Store.Kind == "redis" {
		ro, err := copyRedis(o)
		if err != nil {
			return nil, err
		}
		return redis.NewTarget(ro), nil
	}
	eo, err := storeOptions(o)
	if err != nil {
		return nil, err
	}
	eo.Reserve = o.Config.Store.ReserveBytes // what is copied must not fill the disk
	if err := os.MkdirAll(o.Config.Data, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	return embedded.NewTarget(eo), nil
}

func copyRedis(o Options) (redis.Options, error) {
	root, err := rootKey(o, o.Config)
	if err != nil {
		return redis.Options{}, err
	}
	return nodeRedisOptions(o, o.Config, root, id.NewSource(o.Rand, o.Now))
}
