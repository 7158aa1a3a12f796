package redis_test

import (
	"fmt"
	"testing"
	"time"

	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
)

// clusterOptions are those of a new store on a Cluster.
func clusterOptions(c *redistest.Cluster, now func() time.Time) redis.Options {
	o := options(c.Servers[0], now)
	o.Addr, o.Cluster = "", c.Addrs()
	o.Prefix = fmt.Sprintf("test%d:", stores.Add(1))
	return o
}

// TestSuiteOnCluster is the whole suite on a Cluster of three primaries that waits for a replica of each.
func TestSuiteOnCluster(t *testing.T) {
	c := redistest.StartCluster(t, 3, 1, redistest.Durable()...)
	suite(t, func(now func() time.Time) redis.Options {
		o := clusterOptions(c, now)
		o.Wait, o.WaitFor = 1, 2*time.Second
		return o
	})
}
