package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store"
)

// server is one of the servers that hold the store.
type server struct {
	addr     string // or what sentinels call it
	client   *goredis.Client
	slots    string   // those of a primary of a Cluster: "0-5460"; empty for one that has none
	down     bool     // the others take it for dead
	replicas []server // of a primary, without a client
}

// servers returns the primaries that hold data, with the replicas that are known of each.
func (d *db) servers(ctx context.Context) ([]server, error) {
	all, err := d.everyServer(ctx)
	if err != nil || d.cluster == nil {
		return all, err
	}
	var list []server
	for _, s := range all {
		if s.slots != "" {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return nil, &outcomeError{store.ErrUnavailable, errors.New("no server of the cluster has slots")}
	}
	return list, nil
}

// everyServer is servers, and those of a Cluster that have no slots now: their files may hold what was there.
func (d *db) everyServer(ctx context.Context) ([]server, error) {
	if d.cluster == nil {
		return []server{{addr: d.name, client: d.single}}, nil
	}
	var err error
	// Whom the client asks is chance, and may be the one that is dead.
	for range asksForServers {
		var shards []goredis.ClusterShard
		if shards, err = d.cluster.client.ClusterShards(ctx).Result(); err == nil {
			return d.cluster.servers(shards)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, &outcomeError{store.ErrUnavailable, err}
}

const asksForServers = 8

// servers reads what a server says of its cluster.
func (c *cluster) servers(shards []goredis.ClusterShard) (list []server, err error) {
	for _, shard := range shards {
		var primary server
		var replicas []server
		for _, n := range shard.Nodes {
			port := n.Port
			if c.tls && n.TLSPort != 0 {
				port = n.TLSPort
			}
			host := n.Endpoint
			if host == "" || host == "?" {
				host = n.IP
			}
			s := server{addr: net.JoinHostPort(host, strconv.FormatInt(port, 10)), down: strings.HasPrefix(n.Health, "fail")}
			if n.Role != "master" || primary.addr != "" {
				replicas = append(replicas, s)
				continue
			}
			primary = s
		}
		if primary.addr == "" { // replicas of one that is forgotten
			list = append(list, replicas...)
			continue
		}
		var slots []string
		for _, r := range shard.Slots {
			slots = append(slots, fmt.Sprintf("%d-%d", r.Start, r.End))
		}
		primary.slots, primary.replicas = strings.Join(slots, ","), replicas
		list = append(list, primary)
	}
	for i := range list {
		if list[i].client, err = c.at(list[i].addr); err != nil {
			return nil, err
		}
	}
	return list, nil
}
