package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// slotCount is the number of slots of a Cluster.
const slotCount = 16384

// NodeTimeout is after what silence the servers of a Cluster take one of them for dead. It is shorter than in production,
// and long enough that a busy machine does not lose one by mistake.
const NodeTimeout = 3 * time.Second

// Cluster is a running Redis Cluster.
type Cluster struct {
	t        testing.TB
	settings []string
	// Servers are all of it, first those that were the primaries at its start.
	Servers []*Server
}

// StartCluster starts primaries that share the slots evenly, and so many replicas of each, with settings as on their
// command lines. It returns when every server knows of all slots and every replica follows. They are stopped at the end of
// the test.
func StartCluster(t testing.TB, primaries, replicas int, settings ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t, settings: settings}
	for range primaries * (1 + replicas) {
		c.Servers = append(c.Servers, c.server())
	}
	for i, s := range c.Servers[:primaries] {
		from, to := i*slotCount/primaries, (i+1)*slotCount/primaries-1
		c.do(s, "CLUSTER", "ADDSLOTSRANGE", from, to)
		// Each begins with an epoch of its own: else they settle between themselves whose slots are whose.
		c.do(s, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	for i, s := range c.Servers { // each meets each: gossip takes longer
		for _, other := range c.Servers[:i] {
			c.do(s, "CLUSTER", "MEET", "127.0.0.1", other.port, other.bus)
		}
	}
	for _, s := range c.Servers {
		c.until(s, "to know the others", func(nodes []ClusterNode) bool { return len(nodes) == len(c.Servers) })
	}
	for i, s := range c.Servers[primaries:] {
		c.do(s, "CLUSTER", "REPLICATE", c.ID(c.Servers[i%primaries]))
	}
	c.Settled()
	return c
}

// server starts a server whose port leaves room for that of the cluster's own connections.
func (c *Cluster) server() *Server {
	c.t.Helper()
	settings := append([]string{
		"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", fmt.Sprint(NodeTimeout.Milliseconds()),
		"--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0",
	}, c.settings...)
	for range attempts {
		bus, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			c.t.Fatal(err)
		}
		port := bus.Addr().(*net.TCPAddr).Port
		_ = bus.Close() // it is only to be free
		s := &Server{t: c.t, bin: Find(c.t), dir: c.t.TempDir(), bus: port, args: append([]string{"--cluster-port", fmt.Sprint(port)}, settings...)}
		if s.try(0) {
			c.t.Cleanup(s.Kill)
			return s
		}
	}
	c.t.Fatal("no server of the cluster starts")
	return nil
}

// Add starts one more server, a primary without slots, and returns when all know it.
func (c *Cluster) Add() *Server {
	c.t.Helper()
	s := c.server()
	c.do(s, "CLUSTER", "MEET", "127.0.0.1", c.Servers[0].port, c.Servers[0].bus)
	c.Servers = append(c.Servers, s)
	for _, other := range c.Servers {
		c.until(other, "to know the new one", func(nodes []ClusterNode) bool { return len(nodes) == len(c.Servers) })
	}
	return s
}

// Replicate makes a server a replica of a primary, and returns when it follows.
func (c *Cluster) Replicate(s, of *Server) {
	c.t.Helper()
	c.do(s, "CLUSTER", "REPLICATE", c.ID(of))
	c.Settled()
}

// Addrs returns the addresses of all servers.
func (c *Cluster) Addrs() (addrs []string) {
	for _, s := range c.Servers {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// ClusterNode is a server as another one sees it.
type ClusterNode struct {
	ID      string
	Addr    string
	Primary string // the id of its primary, for a replica
	Down    bool   // it is taken for dead, or may be
	Linked  bool
	Slots   []string // "0-5460"; for a primary
}

// Nodes returns the servers as one of them sees them, itself first.
func (c *Cluster) Nodes(s *Server) ([]ClusterNode, error) {
	if s.cmd == nil {
		return nil, errors.New("the server was killed")
	}
	client := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	defer client.Close()
	text, err := client.ClusterNodes(context.Background()).Result()
	if err != nil {
		return nil, err
	}
	var nodes []ClusterNode
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		addr, _, _ := strings.Cut(f[1], "@")
		n := ClusterNode{ID: f[0], Addr: addr, Down: strings.Contains(f[2], "fail"), Linked: f[7] == "connected", Slots: f[8:]}
		if f[3] != "-" {
			n.Primary = f[3]
		}
		if strings.Contains(f[2], "handshake") {
			continue
		}
		if strings.Contains(f[2], "myself") {
			nodes = append([]ClusterNode{n}, nodes...)
		} else {
			nodes = append(nodes, n)
		}
	}
	return nodes, nil
}

// ID returns the name of a server in the cluster.
func (c *Cluster) ID(s *Server) string {
	c.t.Helper()
	nodes, err := c.Nodes(s)
	if err != nil || len(nodes) == 0 {
		c.t.Fatalf("asking a server of the cluster who it is: %v", err)
	}
	return nodes[0].ID
}

// Primaries returns the servers that have slots now, as one that lives sees it.
func (c *Cluster) Primaries() (list []*Server) {
	c.t.Helper()
	for _, s := range c.Servers {
		nodes, err := c.Nodes(s)
		if err != nil {
			continue
		}
		for _, n := range nodes {
			if n.Primary == "" && len(n.Slots) > 0 {
				list = append(list, c.at(n.Addr))
			}
		}
		return list
	}
	c.t.Fatal("no server of the cluster answers")
	return nil
}

func (c *Cluster) at(addr string) *Server {
	c.t.Helper()
	for _, s := range c.Servers {
		if s.Addr() == addr {
			return s
		}
	}
	c.t.Fatalf("no server of the cluster is at %s", addr)
	return nil
}

// ReplicasOf returns the replicas of a primary, as it sees it.
func (c *Cluster) ReplicasOf(primary *Server) (list []*Server) {
	c.t.Helper()
	nodes, err := c.Nodes(primary)
	if err != nil || len(nodes) == 0 {
		c.t.Fatalf("asking a primary for its replicas: %v", err)
	}
	for _, n := range nodes {
		if n.Primary == nodes[0].ID {
			list = append(list, c.at(n.Addr))
		}
	}
	return list
}

// Owner returns the primary that has a slot, as one that lives sees it.
func (c *Cluster) Owner(slot int) *Server {
	c.t.Helper()
	for _, s := range c.Servers {
		nodes, err := c.Nodes(s)
		if err != nil {
			continue
		}
		for _, n := range nodes {
			for _, slots := range n.Slots {
				var from, to int
				if k, err := fmt.Sscanf(slots, "%d-%d", &from, &to); err != nil && k == 1 {
					to = from
				} else if err != nil {
					continue // a slot that moves
				}
				if from <= slot && slot <= to {
					return c.at(n.Addr)
				}
			}
		}
		return nil
	}
	return nil
}

// Settled waits until every server that runs sees all that run, nobody who is down has slots, and each replica has what its
// primary has.
func (c *Cluster) Settled() {
	c.t.Helper()
	running := 0
	for _, s := range c.Servers {
		if s.cmd != nil {
			running++
		}
	}
	for _, s := range c.Servers {
		if s.cmd == nil {
			continue
		}
		c.until(s, "to see a settled cluster", func(nodes []ClusterNode) bool {
			up, covered := 0, 0
			for _, n := range nodes {
				if !n.Down && (n.Linked || n.Addr == s.Addr()) {
					up++
				} else if len(n.Slots) > 0 {
					return false
				}
				for _, slots := range n.Slots {
					var from, to int
					if k, err := fmt.Sscanf(slots, "%d-%d", &from, &to); err != nil && k == 1 {
						to = from
					} else if err != nil {
						return false
					}
					covered += to - from + 1
				}
			}
			return up == running && covered == slotCount
		})
		c.until(s, "to serve", func([]ClusterNode) bool { return c.serves(s) })
		s.Info("replication", func(info string) bool {
			return strings.Contains(info, "role:master") || strings.Contains(info, "master_link_status:up")
		})
	}
	for _, p := range c.Primaries() {
		for _, r := range c.ReplicasOf(p) {
			if r.cmd != nil {
				p.Info("replication", func(info string) bool { return strings.Contains(info, fmt.Sprintf("port=%d,state=online", r.port)) })
			}
		}
	}
}

// serves reports whether a server takes the cluster for one that works.
func (c *Cluster) serves(s *Server) bool {
	info, _ := c.do(s, "CLUSTER", "INFO").(string)
	return strings.Contains(info, "cluster_state:ok")
}

// Move gives a slot to another primary, key by key, as an operator's tool does. While it moves, both refuse what they
// cannot do.
func (c *Cluster) Move(slot int, from, to *Server) {
	c.t.Helper()
	target, source := c.ID(to), c.ID(from)
	c.do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", source)
	c.do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", target)
	for {
		v := c.do(from, "CLUSTER", "GETKEYSINSLOT", slot, 16)
		keys, _ := v.([]any)
		if len(keys) == 0 {
			break
		}
		c.do(from, append([]any{"MIGRATE", "127.0.0.1", to.port, "", 0, 20_000, "KEYS"}, keys...)...)
	}
	c.do(to, "CLUSTER", "SETSLOT", slot, "NODE", target)
	c.do(from, "CLUSTER", "SETSLOT", slot, "NODE", target)
	for _, p := range c.Primaries() {
		if p != from && p != to {
			c.do(p, "CLUSTER", "SETSLOT", slot, "NODE", target)
		}
	}
}

// Kill kills every server of the cluster.
func (c *Cluster) Kill() {
	var wg sync.WaitGroup
	for _, s := range c.Servers {
		wg.Go(s.Kill)
	}
	wg.Wait()
}

func (c *Cluster) do(s *Server, args ...any) any {
	c.t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1, ReadTimeout: startWithin})
	defer client.Close()
	v, err := client.Do(context.Background(), args...).Result()
	if err != nil {
		c.t.Fatalf("%v %v: %v", args[0], args[1], err)
	}
	return v
}

func (c *Cluster) until(s *Server, what string, want func([]ClusterNode) bool) {
	c.t.Helper()
	until := time.Now().Add(startWithin)
	for time.Now().Before(until) {
		if nodes, err := c.Nodes(s); err == nil && want(nodes) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	nodes, err := c.Nodes(s)
	c.t.Fatalf("waited %v for a server %s; it sees %+v, %v", startWithin, what, nodes, err)
}
