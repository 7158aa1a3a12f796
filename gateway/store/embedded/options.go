package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/fault"
	"turnout/gateway/id"
)

// Options say how a store is opened. Dir, Root, IDs and Now are required.
type Options struct {
	// Dir is the store's folder; it is made when it does not exist.
	Dir string
	// FS is the file system, nil for the disk. Every file of the store goes through it.
	FS vfs.FS
	// Root is the root key, 32 bytes.
	Root []byte
	// Rand gives keys and nonces; nil for crypto/rand. It must be safe for concurrent use.
	Rand io.Reader
	IDs  *id.Source
	Now  func() time.Time
	// Faults is called at commit.prepared and commit.durable.
	Faults fault.Injector
	Log    *slog.Logger // nil: none

	// Reserve is the number of bytes that must stay free on the disk: under it writes are refused with ErrFull. 0 means
	// 256 MiB, below 0 none. Ballast is a file given back to the disk when it is full in spite of that, so that there is
	// room to recover in; 0 means 64 MiB, below 0 none.
	Reserve int64
	Ballast int64

	// Dedupe is how long message ids are known. A store keeps the values that it was made with.
	Dedupe Dedupe

	// Cached is the number of conversations kept decoded; 0 means 8192.
	Cached int
	// Redeliver is after what time Due and Pending hand out again what nobody has settled; 0 means 5 s.
	Redeliver time.Duration

	// Backoff is the first pause before a failed store is opened again, doubled up to a hundredfold; 0 means 50 ms.
	Backoff time.Duration
	// Fatal is told of a fault after which this process must not use the folder any more: a failed fsync leaves the
	// kernel's cache and the disk in disagreement, and no later read can be trusted. It should end the process. The store
	// refuses everything from then on. Nil: it only refuses.
	Fatal func(error)

	// UnsafeNoSync gives up durability: commits are acknowledged before they are on the disk. It is the control that
	// shows that a crash suite can fail.
	UnsafeNoSync bool
	// UnsafeNoCompact and UnsafeNoRecycle leave a part of Scrub out: they are the controls that show that a search of the
	// files can find what was erased.
	UnsafeNoCompact bool
	UnsafeNoRecycle bool

	erased string    // the list of erasures; that of Dir, unless the store is being restored
	copy   *copyMark // the copy that makes the store; nil: none does
}

// Dedupe sets the generations in which message ids are kept: an id is known for at least (Generations-1) x Length, which
// must be 8 days or more.
type Dedupe struct {
	Generations int           `json:"generations"`
	Length      time.Duration `json:"length"`
}

// minKnown is for how long a message id must stay known: the longest time over which a provider redelivers, and a day.
const minKnown = 8 * 24 * time.Hour

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Dir == "":
		return o, errors.New("opening store: no folder")
	case o.IDs == nil || o.Now == nil:
		return o, errors.New("opening store: no source of ids or no clock")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dedupe == (Dedupe{}) {
		o.Dedupe = Dedupe{Generations: 4, Length: 72 * time.Hour}
	}
	if d := o.Dedupe; d.Generations < 2 || d.Length < time.Minute || time.Duration(d.Generations-1)*d.Length < minKnown {
		return o, fmt.Errorf("opening store: %d dedupe generations of %v know an id for less than %v", d.Generations, d.Length, minKnown)
	}
	defaultTo(&o.erased, ErasedList(o.Dir))
	defaultTo(&o.Reserve, 256<<20)
	defaultTo(&o.Ballast, 64<<20)
	defaultTo(&o.Cached, 8192)
	defaultTo(&o.Redeliver, 5*time.Second)
	defaultTo(&o.Backoff, 50*time.Millisecond)
	return o, nil
}

func defaultTo[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
