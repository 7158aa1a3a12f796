package redis

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/conversation"
	"turnout/gateway/store/redis/redistest"
	"turnout/gateway/store/seal"
)

// TestScrubbedEverywhere erases a conversation where replicas have it too: Scrub is done when no file of any server holds
// it. While a replica is gone that is known of, it is not done and says which one; when it is back it is.
func TestScrubbedEverywhere(t *testing.T) {
	settings := []string{"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0"}
	t.Run("replica", func(t *testing.T) {
		primary := redistest.Start(t, settings...)
		replica := redistest.Replica(t, primary, settings...)
		scrubbed(t, Options{Addr: primary.Addr(), Wait: 1}, primary, replica, nil)
	})
	t.Run("sentinels", func(t *testing.T) {
		primary := redistest.Start(t, settings...)
		replica := redistest.Replica(t, primary, settings...)
		o := Options{Sentinels: redistest.Sentinels(t, primary, 1), Master: "main", AllowUnsafe: true}
		scrubbed(t, o, primary, replica, func() {
			primary.Info("replication", func(info string) bool { return strings.Contains(info, "state=online") })
		})
	})
	t.Run("cluster", func(t *testing.T) {
		c := redistest.StartCluster(t, 1, 1, settings...)
		scrubbed(t, Options{Cluster: c.Addrs(), AllowUnsafe: true}, c.Servers[0], c.Servers[1], c.Settled)
	})
}

// scrubbed stops the replica in between where there is a way to wait until it follows again.
func scrubbed(t *testing.T, o Options, primary, replica *redistest.Server, following func()) {
	n := onCluster(t)
	o.Root, o.IDs, o.Now, o.Blobs, o.FS, o.WaitFor = bytes.Repeat([]byte{7}, seal.KeySize), n.ids, n.time, "/blobs", vfs.NewMem(), 4*time.Second
	s, err := Open(t.Context(), o)
	n.must(err)
	t.Cleanup(func() { n.must(s.Close()) })
	st := n.opening("x")
	n.commit(s, st)
	p, err := home(st.Ref)
	n.must(err)
	read := func(key, field string) []byte {
		t.Helper()
		v, err := primary.Client().HGet(t.Context(), key, field).Bytes()
		n.must(err)
		return v
	}
	sealed := [][]byte{read(s.keys.ofTenant(p, n.tenant, "k"), st.Ref.ID), read(s.keys.conversation(p, st.Ref, "s"), "st")}
	replica.Info("replication", func(info string) bool { // it has all of it
		now, err := primary.Client().Info(t.Context(), "replication").Result()
		n.must(err)
		return infoFields(info)["slave_repl_offset"] == infoFields(now)["master_repl_offset"]
	})
	// A snapshot has it too.
	n.must(s.background(t.Context(), replica.Client(), func(p goredis.Pipeliner) { p.BgSave(t.Context()) }))
	_, err = s.settled(t.Context(), replica.Client())
	n.must(err)
	n.commit(s, n.step(st.Ref, n.load(s, st.Ref), conversation.Actor{Kind: conversation.System}, conversation.Wipe{}))
	in := func(server *redistest.Server) (found int) {
		for _, b := range sealed {
			if holds(t, server.Dir(), b) {
				found++
			}
		}
		return found
	}
	if a, b := in(primary), in(replica); a != 2 || b != 2 {
		t.Errorf("before it is scrubbed the look sees %d and %d of 2", a, b)
	}
	if following != nil {
		replica.Kill()
		primary.Info("replication", func(info string) bool { return strings.Contains(info, "connected_slaves:0") })
		if err := s.Scrub(t.Context()); err == nil || !strings.Contains(err.Error(), replica.Addr()) {
			t.Errorf("without the replica: %v", err)
		}
		replica.Restart()
		following()
	}
	n.must(s.Scrub(t.Context()))
	if a, b := in(primary), in(replica); a != 0 || b != 0 {
		t.Errorf("after it is scrubbed files hold %d and %d of 2", a, b)
	}
	n.sound(s)
}

// FuzzReplicasIn: what a server says of its replicas is read, or passed over; an address that comes out is one.
func FuzzReplicasIn(f *testing.F) {
	f.Add("role:master\r\nconnected_slaves:2\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=1\r\nslave1:ip=::1,port=6380,state=wait_bgsave,offset=0,lag=0\r\n")
	f.Add("role:slave\r\nslave_repl_offset:14\r\nslave_priority:100\r\n")
	f.Add("slave0:ip=redis-2.internal,port=6379\nslave:\nslavex:ip=a,port=1\nslave9:port\nslave3:ip=,port=")
	f.Fuzz(func(t *testing.T, info string) {
		for _, addr := range replicasIn(infoFields(info)) {
			if _, port, err := net.SplitHostPort(addr); err == nil && port == "" {
				t.Errorf("%q is no address", addr)
			}
		}
	})
}

func TestReplicasIn(t *testing.T) {
	got := replicasIn(infoFields("role:master\r\nslave1:ip=::1,port=6380,state=online\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=14\r\nslave_repl_offset:14\r\n"))
	if want := []string{"10.0.0.2:6379", "[::1]:6380"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
