package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// nearlyOver is how long before its time is over an answer may be gone: a store may leave that to a clock of its own.
const nearlyOver = time.Minute

// Dumper gives every item of a store in order.
type Dumper interface {
	Dump(ctx context.Context, f func(Item) error) error
}

// Compare tells by how much what b holds differs from what a does.
func Compare(ctx context.Context, a, b Dumper, now func() time.Time) (Report, error) {
	rep := Report{Counts: map[Kind]int{}}
	err := compare(ctx, &rep, a, b, now, func(i Item) {
		rep.Counts[i.Kind()]++
		if row, ok := i.(LogRow); ok {
			rep.Events += len(row.Events)
		}
	})
	return rep, err
}

// compare reads both stores side by side. seen is told of each item of a.
func compare(ctx context.Context, rep *Report, a, b Dumper, now func() time.Time, seen func(Item)) error {
	left, right := side{sums: map[group]sum{}, seen: seen}, side{sums: map[group]sum{}}
	nextA, stopA := iter.Pull(left.items(ctx, a))
	defer stopA()
	nextB, stopB := iter.Pull(right.items(ctx, b))
	defer stopB()
	// An answer goes by itself when its time is over.
	lost := func(i Item, format string) {
		if a, ok := i.(Answer); !ok || a.Answer.Until > now().Add(nearlyOver).UnixMilli() {
			rep.differ(format, Where(i))
		}
	}
	// Where both stores have their files in one place, the other's archive lies there too.
	added := func(i Item) {
		if i.Kind() != Blobs {
			lost(i, "%s is in the target only")
		}
	}
	x, moreA := nextA()
	y, moreB := nextB()
	for moreA || moreB {
		order := 0
		switch {
		case !moreA:
			order = 1
		case !moreB:
			order = -1
		default:
			order = placeOf(x).compare(placeOf(y))
		}
		if order <= 0 {
			seen(x)
		}
		switch {
		case order < 0:
			lost(x, "%s is missing from the target")
		case order > 0:
			added(y)
		default:
			if err := rep.items(x, y); err != nil {
				return err
			}
		}
		if order <= 0 {
			x, moreA = nextA()
		}
		if order >= 0 {
			y, moreB = nextB()
		}
	}
	if err := errors.Join(left.err, right.err); err != nil {
		return err
	}
	rep.sums(left.sums, right.sums)
	return nil
}

// items compares two items that have the same place.
func (r *Report) items(x, y Item) error {
	ok, err := equal(x, y)
	if a, is := x.(Blob); is && ok && err == nil {
		ok, err = sameBytes(a, y.(Blob))
	}
	if err == nil && !ok {
		r.differ("%s is another in the target", Where(x))
	}
	return err
}

func sameBytes(a, b Blob) (bool, error) {
	x, err := digest(a)
	if err != nil {
		return false, err
	}
	y, err := digest(b)
	return x == y, err
}

func digest(b Blob) (sum [sha256.Size]byte, err error) {
	f, err := b.Open()
	if err != nil {
		return sum, fmt.Errorf("reading %s: %w", Where(b), err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, fmt.Errorf("reading %s: %w", Where(b), err)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// side is one of two stores that are compared: its items in order are pulled, of the others sums are made.
type side struct {
	sums map[group]sum
	seen func(Item) // told of what is summed up; nil: nobody
	err  error
}

// group is the items without an order that are summed up together.
type group struct {
	tenant     string
	kind       Kind
	generation uint32
}

// sum stands for a set of items: how many, and the sum of their digests, which does not depend on their order.
type sum struct {
	count int
	of    [4]uint64
}

func (s sum) with(b []byte) sum {
	s.count++
	d := sha256.Sum256(b)
	for i := range s.of {
		s.of[i] += binary.BigEndian.Uint64(d[8*i:])
	}
	return s
}

// errStopped ends a dump whose reader has enough.
var errStopped = errors.New("nobody reads any more")

func (s *side) items(ctx context.Context, from Dumper) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		err := from.Dump(ctx, func(i Item) error {
			if placeOf(i).rank == rankNone {
				return s.add(i)
			}
			if !yield(i) {
				return errStopped
			}
			return nil
		})
		if !errors.Is(err, errStopped) {
			s.err = err
		}
	}
}

func (s *side) add(i Item) error {
	g := group{tenant: placeOf(i).tenant, kind: i.Kind()}
	if m, ok := i.(MessageID); ok {
		g.generation = m.Generation
	}
	b, err := encoded(i)
	if err != nil {
		return err
	}
	s.sums[g] = s.sums[g].with(b)
	if s.seen != nil {
		s.seen(i)
	}
	return nil
}

// sums compares what has no order.
func (r *Report) sums(a, b map[group]sum) {
	for g, x := range a {
		if y := b[g]; x != y {
			r.differ("%s: the source holds %d, the target %d, or others", g, x.count, y.count)
		}
	}
	for g, y := range b {
		if _, ok := a[g]; !ok {
			r.differ("%s: the source holds none, the target %d", g, y.count)
		}
	}
}

func (g group) String() string {
	if g.kind == MessageIDs {
		return fmt.Sprintf("%s of generation %d", g.kind, g.generation)
	}
	return fmt.Sprintf("%s of tenant %s", g.kind, g.tenant)
}
