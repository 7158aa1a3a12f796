package transfer_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/embedded"
	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/seal"
	"turnout/gateway/store/storetest"
	"turnout/gateway/store/transfer"
)

var rootKey = bytes.Repeat([]byte{7}, seal.KeySize)

// folder makes places in the folders of a disk in memory.
func folder(_ *testing.T, c *storetest.Clock) storetest.Place {
	return folderOf(embedded.Options{
		Dir: fmt.Sprintf("/store-%d", stores.Add(1)), FS: vfs.NewMem(), Root: rootKey, IDs: id.NewSource(rand.Reader, c.Now), Now: c.Now,
		Reserve: -1, Ballast: -1,
	})
}

func folderOf(o embedded.Options) storetest.Place {
	return storetest.Place{
		Open:  func() (store.Store, error) { return opened(embedded.Open(o)) },
		Blobs: func(s store.Store) storetest.Blobs { return s.(*embedded.Store).Blobs() },
		Source: func(context.Context) (transfer.Source, error) {
			if _, err := o.FS.Stat(o.Dir); err != nil {
				return nil, err
			}
			return opened(embedded.Open(o))
		},
		Target: func(root []byte) transfer.Target {
			to := o
			to.Root = or(root)
			return embedded.NewTarget(to)
		},
	}
}

// opened makes no interface of a store that is none.
func opened(s *embedded.Store, err error) (*embedded.Store, error) { return s, err }

func or(root []byte) []byte {
	if root == nil {
		return rootKey
	}
	return root
}

var stores atomic.Int64

// server makes places under prefixes of a server.
func server(s *redistest.Server) func(t *testing.T, c *storetest.Clock) storetest.Place {
	return serverWith(func(o *redis.Options) { o.Addr = s.Addr() })
}

func serverWith(set func(*redis.Options)) func(t *testing.T, c *storetest.Clock) storetest.Place {
	return func(_ *testing.T, c *storetest.Clock) storetest.Place {
		o := redis.Options{
			Prefix: fmt.Sprintf("t*%d:", stores.Add(1)), Root: rootKey, IDs: id.NewSource(rand.Reader, c.Now), Now: c.Now,
			Blobs: "/blobs", FS: vfs.NewMem(),
			Dedupe: redis.Dedupe{Generations: 4, Length: 72 * time.Hour, Buckets: 1}, // to look through fewer
		}
		set(&o)
		return serverOf(o)
	}
}

func serverOf(o redis.Options) storetest.Place {
	return storetest.Place{
		Open: func() (store.Store, error) {
			s, err := redis.Open(context.Background(), o)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Blobs: func(s store.Store) storetest.Blobs { return s.(*redis.Store).Blobs() },
		Source: func(ctx context.Context) (transfer.Source, error) {
			s, err := redis.OpenSource(ctx, o)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Target: func(root []byte) transfer.Target {
			to := o
			to.Root = or(root)
			return redis.NewTarget(to)
		},
	}
}

func TestFolderToFolder(t *testing.T) { storetest.Copy(t, folder, folder) }

func TestFolderToServer(t *testing.T) {
	storetest.Copy(t, folder, server(redistest.Start(t, redistest.Durable()...)))
}

func TestServerToFolder(t *testing.T) {
	storetest.Copy(t, server(redistest.Start(t, redistest.Durable()...)), folder)
}

func TestServerToServer(t *testing.T) {
	s := redistest.Start(t, redistest.Durable()...)
	files := vfs.NewMem() // one place for the files of all
	shared := serverWith(func(o *redis.Options) { o.Addr, o.FS = s.Addr(), files })
	storetest.ThereAndBack(t, shared, shared)
}

func TestControl(t *testing.T) {
	storetest.CopyControl(t, folder, folder)
	if os.Getenv("TURNOUT_SCALE") == "full" {
		s := redistest.Start(t, redistest.Durable()...)
		storetest.CopyControl(t, folder, server(s))
		storetest.CopyControl(t, server(s), folder)
	}
}

// TestCluster moves a store to a Cluster and back.
func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t, 3, 0, redistest.Durable()...)
	storetest.ThereAndBack(t, folder, serverWith(func(o *redis.Options) { o.Addr, o.Cluster = "", c.Addrs() }))
}

// messages is how many a load leaves in a store that is copied.
func messages() int {
	if os.Getenv("TURNOUT_SCALE") == "full" {
		return 10_000
	}
	return 400
}

// TestLoadMoves lets a load work on a store in three places, one after the other: whatever it does, nothing that was ever
// acknowledged is lost on the way.
func TestLoadMoves(t *testing.T) {
	s := redistest.Start(t, redistest.Durable()...)
	clock := storetest.NewClock()
	load := storetest.NewLoad(clock.Now)
	places := []storetest.Place{folder(t, clock), server(s)(t, clock), folder(t, clock)}
	for i, p := range places {
		if i > 0 {
			if err := move(t, places[i-1], p, clock.Now); err != nil {
				t.Fatal(err)
			}
		}
		st, err := p.Open()
		if err != nil {
			t.Fatal(err)
		}
		if lost, faults, err := load.Lost(t.Context(), st, load.Acked()); err != nil || lost > 0 || len(faults) > 0 {
			t.Errorf("place %d: %d of %d messages are lost, %q, %v", i, lost, len(load.Acked()), faults, err)
		}
		ctx, enough := context.WithCancel(t.Context())
		until := len(load.Acked()) + messages()
		load.OnAck = func(storetest.Acked) {
			if len(load.Acked()) >= until {
				enough()
			}
		}
		load.Run(ctx, st, 4, uint64(i))
		enough()
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d messages", len(load.Acked()))
}

// move copies what is in one place to another.
func move(t *testing.T, from, to storetest.Place, now func() time.Time) error {
	src, err := from.Source(t.Context())
	if err != nil {
		return err
	}
	target := to.Target(nil)
	rep, err := transfer.Copy(t.Context(), src, target, now, nil)
	if err == nil && !rep.Whole() {
		err = errors.New(strings.Join(append(rep.Differences, rep.Check.Faults...), "; "))
	}
	return errors.Join(err, target.Close(), src.Close())
}

// TestDamagedServer damages one row of a store after the other: a copy says which one, or carries over what nobody can tell
// from what was meant, and never lets half a store be opened.
func TestDamagedServer(t *testing.T) {
	ctx := t.Context()
	s := redistest.Start(t, redistest.Durable()...)
	o := redis.Options{
		Addr: s.Addr(), Prefix: "source:", Root: rootKey, IDs: id.NewSource(rand.Reader, time.Now), Now: time.Now, Blobs: "/blobs", FS: vfs.NewMem(),
		Dedupe: redis.Dedupe{Generations: 4, Length: 72 * time.Hour, Buckets: 1},
	}
	st, err := redis.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Furnish(t, st)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true})
	defer c.Close()
	keys, err := c.Keys(ctx, "source:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	tried := 0
	for _, key := range keys {
		for _, d := range damages(t, c, key) {
			tried++
			d.do()
			err := copied(t, o)
			switch {
			case d.plain && err == nil: // nobody can tell it from another value
			case err == nil:
				t.Errorf("%s was damaged, and the copy says nothing", d.what)
			case !d.plain && !strings.Contains(err.Error(), "acme") && !strings.Contains(err.Error(), "c_"):
				t.Errorf("%s was damaged, and the copy does not say where: %v", d.what, err)
			}
			d.undo()
		}
	}
	if err := copied(t, o); err != nil || tried < 25 {
		t.Errorf("%d damages, and when all are mended: %v", tried, err)
	}
}

// damage is one change to what a server holds.
type damage struct {
	what     string
	plain    bool // the value is in the clear and says nothing that anything else says
	do, undo func()
}

// damages are those of one key: each value of a hash, the string, and each entry of a stream.
func damages(t *testing.T, c *goredis.Client, key string) (list []damage) {
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	flipped := func(v string) string {
		b := []byte(v)
		b[len(b)/2] ^= 1
		return string(b)
	}
	if strings.Contains(key, "{q:") {
		return nil // a queue view, which is made anew
	}
	short := key[strings.Index(key, "}")+1:]
	kind, err := c.Type(ctx, key).Result()
	must(err)
	switch kind {
	case "hash":
		all, err := c.HGetAll(ctx, key).Result()
		must(err)
		for field, v := range all {
			if short == "m" || short == "g" || short == "n" || field == "ov" || field == "lt" || field == "lx" || field == "at" || field == "ax" || short == "j" {
				continue // the store's own, and what only running nodes know
			}
			set := func(v string) func() { return func() { must(c.HSet(ctx, key, field, v).Err()) } }
			plain := strings.HasPrefix(short, "d:") || field == "v" || short == "s" && (field == "w" || field == "n") || strings.HasSuffix(short, "/i")
			list = append(list, damage{fmt.Sprintf("field %q of %s", field, short), plain, set(flipped(v)), set(v)})
		}
	case "stream":
		all, err := c.XRange(ctx, key, "-", "+").Result()
		must(err)
		write := func(at int, with func(string) string) {
			must(c.Del(ctx, key).Err())
			for i, m := range all {
				v := m.Values["e"].(string)
				if i == at {
					v = with(v)
				}
				must(c.XAdd(ctx, &goredis.XAddArgs{Stream: key, ID: m.ID, Values: []string{"e", v}}).Err())
			}
		}
		if short == "x" {
			return nil // on the way to a queue view
		}
		for i := range all {
			// Of a checkpoint only those can judge a signature who have a key.
			list = append(list, damage{fmt.Sprintf("entry %d of %s", i, short), short == "k",
				func() { write(i, flipped) }, func() { write(-1, nil) }})
		}
	}
	return list
}

// copied copies a store to a new folder, and returns what the copy says. When it is not whole the folder must not open.
func copied(t *testing.T, from redis.Options) error {
	t.Helper()
	to := embedded.Options{Dir: "/store", FS: vfs.NewMem(), Root: rootKey, IDs: from.IDs, Now: from.Now, Reserve: -1, Ballast: -1}
	src, err := redis.OpenSource(t.Context(), from)
	if err != nil {
		return err
	}
	target := embedded.NewTarget(to)
	rep, err := transfer.Copy(t.Context(), src, target, from.Now, nil)
	if bad := errors.Join(target.Close(), src.Close()); bad != nil {
		t.Fatal(bad)
	}
	if err == nil && !rep.Whole() {
		err = errors.New(strings.Join(append(rep.Differences, rep.Check.Faults...), "; "))
	}
	s, bad := embedded.Open(to)
	var incomplete *transfer.Incomplete
	if (err == nil) != (bad == nil) || bad != nil && !errors.As(bad, &incomplete) {
		t.Errorf("the copy says %v, and opening %v", err, bad)
	}
	if bad == nil {
		if bad := s.Close(); bad != nil {
			t.Fatal(bad)
		}
	}
	return err
}

// TestServerInUse: who uses a server keeps it from being copied, and who copies it keeps nodes away.
func TestServerInUse(t *testing.T) {
	ctx := t.Context()
	s := redistest.Start(t, redistest.Durable()...)
	o := redis.Options{Addr: s.Addr(), Root: rootKey, IDs: id.NewSource(rand.Reader, time.Now), Now: time.Now, Blobs: "/blobs", FS: vfs.NewMem()}
	node, err := redis.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := redis.OpenSource(ctx, o); !errors.Is(err, transfer.ErrInUse) || !strings.Contains(err.Error(), "node ") {
		t.Errorf("a node lives: %v", err)
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	src, err := redis.OpenSource(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := redis.Open(ctx, o); !errors.Is(err, transfer.ErrInUse) || !strings.Contains(err.Error(), "being copied") {
		t.Errorf("while it is copied: %v", err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	if node, err = redis.Open(ctx, o); err != nil {
		t.Fatal(err)
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
}
