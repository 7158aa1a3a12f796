package redis

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/conversation"
	"turnout/gateway/fault"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/blob"
)

// Options say which Redis holds the store and how. One of Addr, Sentinels and Cluster, and Root, IDs and Now are required.
type Options struct {
	// Addr is "host:port" of the server. In its place Sentinels name the primary that they watch as Master: then the store
	// goes on with the one that takes over.
	Addr      string
	Sentinels []string
	Master    string
	// Cluster are servers of a Redis Cluster, "host:port" each, that tell of the others. One that answers is enough.
	Cluster []string
	// Username and Password sign in, where the server asks for it. TLS, when set, is how to connect.
	Username, Password string
	TLS                *tls.Config
	// SentinelUsername and SentinelPassword sign in to the sentinels, where they ask for it.
	SentinelUsername, SentinelPassword string
	DB                                 int // 0 on a Cluster, which has no other
	// Prefix begins every key, so that a server can hold more than one store; empty means "turnout:". It has no braces:
	// those around a part of a key say in which slot of a Cluster it lies.
	Prefix string

	// Wait is the number of replicas that must have a write before it is acknowledged, WaitFor how long they may take; 0
	// means 400 ms. It is shorter than the time after which a connection is given up.
	Wait    int
	WaitFor time.Duration
	// AllowUnsafe lets the store work on a server whose settings lose acknowledged messages. Health says so.
	AllowUnsafe bool

	// Blobs is the folder of attachments, FS its file system, nil for the disk. Files, when set, has them in the place of a
	// folder. All nodes need the same one.
	Blobs string
	FS    vfs.FS
	Files blob.Files

	// Root is the root key, 32 bytes.
	Root []byte
	// Rand gives keys and nonces; nil for crypto/rand. It must be safe for concurrent use.
	Rand io.Reader
	IDs  *id.Source
	// Now is the node's clock. Nodes of one store agree to within the margins of their leases: see Health.
	Now func() time.Time
	// MaxSkew is by how much the clocks of the node and of the server may differ before Health names it; 0: it is not looked
	// at. Leases are set by one node's clock and read by another's.
	MaxSkew time.Duration
	// Faults is called at commit.prepared, commit.durable and version.built.
	Faults fault.Injector
	Log    *slog.Logger // nil: none
	// Reconciled, unless it is nil, is told what came of it when a server wrote under another history: after a failover, or a
	// restart of the server. It must not block.
	Reconciled func(Reconciled)
	// Damaged, unless it is nil, is told of a conversation of which an archived part cannot be read. It must not block.
	Damaged func(r store.Ref, err error)

	// Events is what the node knows of the event encoding; 0 is what this build knows. WayBack is for how long every node
	// must have known a newer version before it is written, so that until then nodes that do not can come back; 0 means 24 h.
	Events  conversation.Format
	WayBack time.Duration

	// Dedupe is how long message ids are known. A store keeps the values that it was made with.
	Dedupe Dedupe
	// Cached is the number of conversations kept decoded; 0 means 8192.
	Cached int
	// Redeliver is after what time Due and Pending hand out again what nobody has settled; 0 means 5 s. Sweep is how often
	// they look at what other nodes have left; 0 means 1 s.
	Redeliver time.Duration
	Sweep     time.Duration
	// Beat is how often a node says that it lives; 0 means 5 s. It is believed for 20 s.
	Beat time.Duration
	// Patience is for how long an operation is tried while the server refuses it for a moment; 0 means 2 s.
	Patience time.Duration
}

// Dedupe sets the generations in which message ids are kept, and over how many hashes those of one partition and one
// generation are spread: one stays small up to 128 ids (hash-max-listpack-entries).
type Dedupe struct {
	Generations int           `json:"generations"`
	Length      time.Duration `json:"length"`
	Buckets     int           `json:"buckets"`
}

// minKnown is for how long a message id must stay known: the longest time over which a provider redelivers, and a day.
const minKnown = 8 * 24 * time.Hour

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Addr == "" && len(o.Sentinels) == 0 && len(o.Cluster) == 0:
		return o, errors.New("opening store: no address of a redis server")
	case len(o.Cluster) > 0 && (o.Addr != "" || len(o.Sentinels) > 0 || o.Master != "" || o.DB != 0):
		return o, errors.New("opening store: a cluster is named by addresses of its servers alone, and has one database")
	case strings.ContainsAny(o.Prefix, "{}"):
		return o, errors.New("opening store: braces in the prefix of the keys")
	case len(o.Sentinels) > 0 && (o.Addr != "" || o.Master == ""):
		return o, errors.New("opening store: sentinels need the name of the primary that they watch, and no address of a server")
	case o.IDs == nil || o.Now == nil:
		return o, errors.New("opening store: no source of ids or no clock")
	case o.Wait < 0:
		return o, fmt.Errorf("opening store: %d replicas to wait for", o.Wait)
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
		o.Dedupe = Dedupe{Generations: 4, Length: 72 * time.Hour, Buckets: 64}
	}
	if d := o.Dedupe; d.Generations < 2 || d.Length < time.Minute || time.Duration(d.Generations-1)*d.Length < minKnown || d.Buckets < 1 {
		return o, fmt.Errorf("opening store: %d dedupe generations of %v in %d buckets know an id for less than %v", d.Generations, d.Length, d.Buckets, minKnown)
	}
	defaultTo(&o.Prefix, "turnout:")
	defaultTo(&o.WaitFor, 400*time.Millisecond)
	defaultTo(&o.Cached, 8192)
	defaultTo(&o.Redeliver, 5*time.Second)
	defaultTo(&o.Sweep, time.Second)
	defaultTo(&o.Patience, 2*time.Second)
	defaultTo(&o.Beat, beatEvery)
	defaultTo(&o.WayBack, 24*time.Hour)
	return o, nil
}

func defaultTo[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
