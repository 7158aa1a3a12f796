package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"turnout/gateway/store"
)

// About is what a store says of itself as a whole.
type About struct {
	// Name says for people where the store is. An interrupted copy is taken up again only from the source of that name.
	Name string
	// Root is the check value of its root key.
	Root []byte
	// Generations is in how many generations of Length message ids are kept, Newest the newest that it has begun.
	Generations int
	Length      time.Duration
	Newest      uint32
}

// Source is a store that is read whole.
type Source interface {
	About(ctx context.Context) (About, error)
	// Idle fails, naming who it is, when somebody else works on the store.
	Idle(ctx context.Context) error
	// Dump calls f with every item, in order: an item that follows another in the sequence never comes before it. It stops
	// at the first error, f's or one that says which item cannot be read.
	Dump(ctx context.Context, f func(Item) error) error
	Close() error
}

// Target is a store that is being made. Whoever opens it meanwhile is refused, also after the process that makes it has
// died, until Finish.
type Target interface {
	// Dump gives back what was put.
	Dump(ctx context.Context, f func(Item) error) error
	// Begin makes the store for what follows, or begins anew with one whose copy from the same source was interrupted. It
	// fails with seal.ErrRootKey before it has written anything when the root keys differ, and refuses a place where there
	// is anything else.
	Begin(ctx context.Context, from About) error
	// Put takes an item; Flush writes what was put so far. Items come in order.
	Put(ctx context.Context, i Item) error
	Flush(ctx context.Context) error
	// Check is that of store.Upkeep.
	Check(ctx context.Context) (store.Report, error)
	// Finish lets the store be opened. It is durable then.
	Finish(ctx context.Context) error
	Close() error
}

// Incomplete is the error with which a store refuses to be opened that a copy has begun to make.
type Incomplete struct {
	Name  string // of the store
	From  string // the source
	Begun time.Time
}

func (e *Incomplete) Error() string {
	return fmt.Sprintf("the store %s is the target of a copy from %s, begun %s, that is not complete: run turnout store copy again, or take away what is there",
		e.Name, e.From, e.Begun.UTC().Format(time.RFC3339))
}

// MostDifferences is how many differences a report tells.
const MostDifferences = 100

// Report is what came of a copy.
type Report struct {
	// Counts are the items of the source by kind.
	Counts map[Kind]int
	Events int
	// Differences say what the target holds otherwise than the source, at most MostDifferences of them; Different is how
	// many there are.
	Differences []string
	Different   int
	// Check is what a check of the target has found.
	Check store.Report
}

// Whole reports whether the target holds what the source does, and nothing is wrong with it.
func (r *Report) Whole() bool { return r.Different == 0 && r.Check.Count == 0 }

func (r *Report) differ(format string, args ...any) {
	if r.Different++; len(r.Differences) < MostDifferences {
		r.Differences = append(r.Differences, fmt.Sprintf(format, args...))
	}
}

// Stage is what a copy is at.
type Stage string

// The stages, in order.
const (
	Copying   Stage = "copying"
	Comparing Stage = "comparing"
	Checking  Stage = "checking"
)

// Progress is how far a copy has come.
type Progress struct {
	Stage         Stage
	Items         int
	Conversations int
}

// ErrInUse says that somebody works on a store that is to be copied.
var ErrInUse = errors.New("the store is in use")

// Copy makes target hold what source does. It compares the two and checks the target before it lets the target be opened:
// when the report is not Whole, it stays closed. A copy that ended early, however it did, is begun anew by the next one.
// progress, if it is not nil, is told of each item; now is the clock by which answers are over.
func Copy(ctx context.Context, source Source, target Target, now func() time.Time, progress func(Progress)) (Report, error) {
	rep := Report{Counts: map[Kind]int{}}
	p := Progress{Stage: Copying}
	tell := func() {
		if progress != nil {
			progress(p)
		}
	}
	about, err := source.About(ctx)
	if err != nil {
		return rep, fmt.Errorf("reading the source: %w", err)
	}
	if err := source.Idle(ctx); err != nil {
		return rep, err
	}
	if err := target.Begin(ctx, about); err != nil {
		return rep, err
	}
	if err := source.Dump(ctx, func(i Item) error {
		rep.Counts[i.Kind()]++
		p.Items++
		switch i := i.(type) {
		case Conversation:
			p.Conversations++
		case LogRow:
			rep.Events += len(i.Events)
		}
		tell()
		if err := target.Put(ctx, i); err != nil {
			return fmt.Errorf("writing %s: %w", Where(i), err)
		}
		return nil
	}); err != nil {
		return rep, err
	}
	if err := target.Flush(ctx); err != nil {
		return rep, fmt.Errorf("writing the target: %w", err)
	}
	p = Progress{Stage: Comparing}
	if err := compare(ctx, &rep, source, target, now, func(i Item) {
		p.Items++
		if i.Kind() == Conversations {
			p.Conversations++
		}
		tell()
	}); err != nil {
		return rep, fmt.Errorf("comparing: %w", err)
	}
	if rep.Different > 0 {
		return rep, nil
	}
	p = Progress{Stage: Checking}
	tell()
	if rep.Check, err = target.Check(ctx); err != nil {
		return rep, fmt.Errorf("checking the target: %w", err)
	}
	if !rep.Whole() {
		return rep, nil
	}
	// Who has come to work on the source meanwhile has made the copy an old one.
	if err := source.Idle(ctx); err != nil {
		return rep, err
	}
	if err := target.Finish(ctx); err != nil {
		return rep, fmt.Errorf("finishing the target: %w", err)
	}
	return rep, nil
}
