package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store"
)

// settings are those of a server on which it depends whether what it acknowledged is lost.
type settings struct {
	version    string
	mode       string // standalone, cluster or sentinel
	policy     string // maxmemory-policy
	appendOnly bool
	fsync      string // appendfsync; empty when the server does not tell
	coverage   string // cluster-require-full-coverage; likewise
	replica    bool
}

// settings asks a server.
func (d *db) settings(ctx context.Context, c *goredis.Client) (settings, error) {
	var info *goredis.StringCmd
	if err := d.on(ctx, passing, c, func(p goredis.Pipeliner) { info = p.Info(ctx) }); err != nil {
		return settings{}, err
	}
	s := settingsOf(infoFields(info.Val()))
	d.configured(ctx, c, &s)
	return s, nil
}

func settingsOf(fields map[string]string) settings {
	return settings{
		version: fields["redis_version"], mode: fields["redis_mode"], policy: fields["maxmemory_policy"],
		appendOnly: fields["aof_enabled"] == "1", replica: fields["role"] == "slave",
	}
}

// configured adds the settings that INFO does not tell. A server may forbid to ask.
func (d *db) configured(ctx context.Context, c *goredis.Client, s *settings) {
	var fsync, coverage *goredis.MapStringStringCmd
	if err := d.deliver(ctx, passing, 0, c, func(p goredis.Pipeliner) {
		fsync, coverage = p.ConfigGet(ctx, "appendfsync"), p.ConfigGet(ctx, "cluster-require-full-coverage")
	}); err == nil {
		s.fsync, s.coverage = fsync.Val()["appendfsync"], coverage.Val()["cluster-require-full-coverage"]
	}
}

func infoFields(info string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// judge says how a server syncs its file, and which of its settings lose acknowledged messages and how to mend them. It
// fails for a server that can hold no store.
func (s settings) judge(clustered bool, wait int) (fsync string, wrong []string, err error) {
	major, err := strconv.Atoi(strings.Split(s.version, ".")[0])
	switch {
	case s.mode == "sentinel":
		return "", nil, errors.New("the server is a sentinel; list it under sentinels")
	case err != nil || major < 7:
		return "", nil, fmt.Errorf("the server is redis %s; turnout needs 7.0 or newer", s.version)
	case s.mode == "cluster" && !clustered:
		return "", nil, errors.New("the server belongs to a Cluster; list servers of it under cluster in the place of an address")
	case s.replica:
		return "", nil, errors.New("the server is a replica; name the primary")
	}
	if s.policy != "noeviction" {
		wrong = append(wrong, fmt.Sprintf("maxmemory-policy is %s, which drops conversations when memory is short; set it to noeviction", s.policy))
	}
	fsync = s.fsync
	switch {
	case !s.appendOnly:
		fsync = "off"
		wrong = append(wrong, "appendonly is no, so a restart of the server loses what was acknowledged; set appendonly yes")
	case fsync == "":
		fsync = "unknown"
	}
	if s.appendOnly && fsync != "always" && wait == 0 {
		wrong = append(wrong, fmt.Sprintf("appendfsync is %s and no replica is waited for, so a crash of its machine loses up to a second of what was acknowledged; "+
			"set appendfsync always, or let turnout wait for replicas (store.wait)", fsync))
	}
	return fsync, wrong, nil
}

// syncs are the ways in which a server syncs its append-only file, the one that keeps least first.
var syncs = []string{"off", "no", "unknown", "everysec", "always"}

// level names the durability of a store on servers. Of several the one that keeps least decides.
func (d *db) level(servers []server, states []settings, allow bool) (string, error) {
	least, unsafe, coverage := len(syncs)-1, []string(nil), ""
	for _, s := range states {
		fsync, wrong, err := s.judge(d.cluster != nil, d.wait)
		if err != nil {
			return "", err
		}
		least = min(least, max(0, slices.Index(syncs, fsync)))
		for _, w := range wrong {
			if !slices.Contains(unsafe, w) {
				unsafe = append(unsafe, w)
			}
		}
		if s.coverage == "yes" {
			coverage = ", cluster-require-full-coverage=yes"
		}
	}
	if d.wait == 0 && (d.watched || d.cluster != nil && slices.ContainsFunc(servers, func(s server) bool { return len(s.replicas) > 0 })) {
		unsafe = append(unsafe, "no replica is waited for, so a failover loses what had not reached the one that takes over; set store.wait: 1")
	}
	level := fmt.Sprintf("redis, wait=%d, aof=%s", d.wait, syncs[least])
	if d.cluster != nil {
		level = fmt.Sprintf("redis cluster, primaries=%d, replicas=%d, wait=%d, aof=%s%s", len(servers), fewestReplicas(servers), d.wait, syncs[least], coverage)
	}
	if len(unsafe) == 0 {
		return level, nil
	}
	if allow {
		return level + ", unsafe: " + strings.Join(unsafe, "; "), nil
	}
	return "", fmt.Errorf("the server is not safe for what must last: %s (or say store.allow_unsafe: true)", strings.Join(unsafe, "; "))
}

func fewestReplicas(servers []server) int {
	fewest := math.MaxInt
	for _, s := range servers {
		up := 0
		for _, r := range s.replicas {
			if !r.down {
				up++
			}
		}
		fewest = min(fewest, up)
	}
	return fewest
}

// examine asks every primary for its settings and names the durability that they give. On a Cluster one that does not
// answer may be looked at later, when it does: see Health.
func (s *Store) examine(ctx context.Context) (level string, err error) {
	servers, err := s.db.servers(ctx)
	if err != nil {
		return "", err
	}
	var states []settings
	for _, server := range servers {
		state, bad := s.db.settings(ctx, server.client)
		if bad != nil {
			err = bad
			if s.db.cluster != nil {
				s.o.Log.Warn("a primary of the cluster does not answer", "slots", server.slots, "err", bad)
			}
			continue
		}
		states = append(states, state)
	}
	if len(states) == 0 {
		return "", err
	}
	return s.db.level(servers, states, s.o.AllowUnsafe)
}

// standing is how a primary stands.
type standing struct {
	settings settings
	free     int64  // bytes of memory left
	wrong    string // why it takes no writes
	skew     time.Duration
	answered bool
}

// Health implements store.Upkeep. A Cluster of which some primaries take writes is OK: what lies on the others is refused
// and all else goes on. Reason names them.
func (s *Store) Health(ctx context.Context) store.Health {
	h := store.Health{Level: s.level, Fsync: time.Duration(s.commits.Load()), Free: math.MaxInt64}
	if err := s.enter(ctx); err != nil {
		h.Reason = err.Error()
		return h
	}
	servers, err := s.db.servers(ctx)
	if err != nil {
		h.Reason = reasonOf(err)
		return h
	}
	stands := make([]standing, len(servers))
	var wg sync.WaitGroup
	for i, server := range servers {
		wg.Go(func() { stands[i] = s.stands(ctx, server) })
	}
	wg.Wait()
	var states []settings
	var reasons []string
	var skew time.Duration
	for i, st := range stands {
		if st.answered {
			states = append(states, st.settings)
			h.Free = min(h.Free, st.free)
		}
		skew = max(skew, st.skew)
		switch {
		case st.wrong == "":
			h.OK = true
		case s.db.cluster != nil:
			reasons = append(reasons, "the primary of slots "+servers[i].slots+": "+st.wrong)
		default:
			reasons = append(reasons, st.wrong)
		}
	}
	h.Reason = strings.Join(reasons, "; ")
	if level, err := s.db.level(servers, states, s.o.AllowUnsafe); len(states) > 0 && err != nil {
		h.OK, h.Reason = false, err.Error() // what took over from a primary may be set otherwise
	} else if len(states) > 0 {
		h.Level = level
	}
	if s.lineage.lost.Load() {
		h.Level += ", history was lost since this node began: see its log"
	}
	if s.o.MaxSkew > 0 && skew > s.o.MaxSkew {
		h.Level += fmt.Sprintf(", the clocks of this node and of the server differ by %v", skew.Round(time.Millisecond))
	}
	if v := s.format.writes(s.o.Events); v < s.o.Events.Newest() {
		h.Level += fmt.Sprintf(", events are still written as version %d of %d", v, s.o.Events.Newest())
	}
	return h
}

// stands asks a primary how it stands.
func (s *Store) stands(ctx context.Context, server server) (st standing) {
	var info *goredis.StringCmd
	var clock *goredis.TimeCmd
	// With WAIT behind it: replicas that are gone show here.
	began := s.o.Now()
	err := s.db.on(ctx, reading, server.client, func(p goredis.Pipeliner) { info, clock = p.Info(ctx), p.Time(ctx) })
	ended := s.o.Now()
	if err != nil {
		st.wrong = reasonOf(err)
	}
	fields := infoFields(info.Val())
	if st.answered = fields["redis_version"] != ""; !st.answered {
		return st
	}
	st.settings, st.free = settingsOf(fields), math.MaxInt64
	s.db.configured(ctx, server.client, &st.settings)
	used, _ := strconv.ParseInt(fields["used_memory"], 10, 64)
	most, _ := strconv.ParseInt(fields["maxmemory"], 10, 64)
	if most == 0 {
		most, _ = strconv.ParseInt(fields["total_system_memory"], 10, 64)
	}
	if most > 0 {
		st.free = most - used
	}
	switch {
	case st.wrong != "":
	case st.free <= 0:
		st.wrong = "the server's memory is full"
	case fields["aof_enabled"] == "1" && fields["aof_last_write_status"] == "err":
		st.wrong = "the server cannot write its append-only file"
	case s.db.cluster != nil && st.settings.replica:
		st.wrong = "it is a replica now, and its slots are elsewhere"
	}
	// The server's answer was made between the question and now.
	if at := clock.Val(); err == nil {
		st.skew = max(began.Sub(at), at.Sub(ended))
	}
	return st
}

// reasonOf is what an error says of the store's state, without an address.
func reasonOf(err error) string {
	var o *outcomeError
	var few tooFew
	if errors.As(err, &few) {
		return "writes are refused: " + few.Error()
	}
	if errors.As(err, &o) {
		err = o.fate
	}
	return err.Error()
}
