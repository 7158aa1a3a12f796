package redis_test

import (
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store/redis"
	"turnout/gateway/store/redis/redistest"
)

// TestSentinelPassword: a sentinel that asks for a password gets its own, which is not the server's.
func TestSentinelPassword(t *testing.T) {
	primary := redistest.Start(t, redistest.Durable()...)
	redistest.Replica(t, primary, redistest.Durable()...)
	o := options(primary, time.Now)
	o.Addr, o.Sentinels, o.Master = "", redistest.Sentinels(t, primary, 1), "main"
	sentinel := goredis.NewClient(&goredis.Options{Addr: o.Sentinels[0], Protocol: 2, DisableIdentity: true})
	defer sentinel.Close()
	if err := sentinel.Do(t.Context(), "ACL", "SETUSER", "default", "resetpass", ">secret").Err(); err != nil {
		t.Fatal(err)
	}
	without := o
	without.Patience = 10 * time.Millisecond
	if s, err := redis.Open(t.Context(), without); err == nil {
		_ = s.Close()
		t.Error("opened without the sentinel's password")
	}
	o.SentinelUsername, o.SentinelPassword, o.Wait, o.WaitFor = "default", "secret", 1, time.Second
	if h := open(t, o).Health(t.Context()); !h.OK {
		t.Errorf("health: %+v", h)
	}
}
