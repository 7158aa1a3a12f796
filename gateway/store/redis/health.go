package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store"
)

// settings are those of a server on which it depends whether what it acknowledged is lost.
type settings struct {
	version    string
	policy     string // maxmemory-policy
	appendOnly bool
	fsync      string // appendfsync; empty when the server does not tell
	replica    bool
}

// settings asks the server. One that forbids CONFIG tells all but appendfsync in INFO.
func (d *db) settings(ctx context.Context) (settings, error) {
	var info *goredis.StringCmd
	if err := d.run(ctx, passing, func(p goredis.Pipeliner) { info = p.Info(ctx) }); err != nil {
		return settings{}, err
	}
	fields := infoFields(info.Val())
	s := settings{
		version: fields["redis_version"], policy: fields["maxmemory_policy"], appendOnly: fields["aof_enabled"] == "1",
		replica: fields["role"] == "slave",
	}
	var fsync *goredis.MapStringStringCmd
	if err := d.run(ctx, passing, func(p goredis.Pipeliner) { fsync = p.ConfigGet(ctx, "appendfsync") }); err == nil {
		s.fsync = fsync.Val()["appendfsync"]
	}
	return s, nil
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

// judge names the durability that the settings give, or says which of them loses acknowledged messages and how to mend it.
func (s settings) judge(wait int, allow bool) (level string, err error) {
	var wrong []string
	if major, err := strconv.Atoi(strings.Split(s.version, ".")[0]); err != nil || major < 7 {
		return "", fmt.Errorf("the server is redis %s; turnout needs 7.0 or newer", s.version)
	}
	if s.replica {
		return "", errors.New("the server is a replica; name the primary")
	}
	if s.policy != "noeviction" {
		wrong = append(wrong, fmt.Sprintf("maxmemory-policy is %s, which drops conversations when memory is short; set it to noeviction", s.policy))
	}
	fsync := s.fsync
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
	level = fmt.Sprintf("redis, wait=%d, aof=%s", wait, fsync)
	if len(wrong) == 0 {
		return level, nil
	}
	if allow {
		return level + ", unsafe: " + strings.Join(wrong, "; "), nil
	}
	return "", fmt.Errorf("the server is not safe for what must last: %s (or say store.allow_unsafe: true)", strings.Join(wrong, "; "))
}

// Health implements store.Upkeep.
func (s *Store) Health(ctx context.Context) store.Health {
	h := store.Health{Level: s.level, Fsync: time.Duration(s.commits.Load()), Free: math.MaxInt64}
	if err := s.enter(ctx); err != nil {
		h.Reason = err.Error()
		return h
	}
	var info *goredis.StringCmd
	var clock *goredis.TimeCmd
	// With WAIT behind it: replicas that are gone show here.
	began := s.o.Now()
	if err := s.db.run(ctx, reading, func(p goredis.Pipeliner) { info, clock = p.Info(ctx), p.Time(ctx) }); err != nil {
		h.Reason = reasonOf(err)
		return h
	}
	h.OK = true
	fields := infoFields(info.Val())
	used, _ := strconv.ParseInt(fields["used_memory"], 10, 64)
	most, _ := strconv.ParseInt(fields["maxmemory"], 10, 64)
	if most == 0 {
		most, _ = strconv.ParseInt(fields["total_system_memory"], 10, 64)
	}
	if most > 0 {
		h.Free = most - used
	}
	switch {
	case h.Free <= 0:
		h.OK, h.Reason = false, "the server's memory is full"
	case fields["aof_enabled"] == "1" && fields["aof_last_write_status"] == "err":
		h.OK, h.Reason = false, "the server cannot write its append-only file"
	}
	// The server's answer was made between the question and now.
	if at := clock.Val(); s.o.MaxSkew > 0 {
		if late, early := began.Sub(at), at.Sub(s.o.Now()); max(late, early) > s.o.MaxSkew {
			h.Level += fmt.Sprintf(", the clocks of this node and of the server differ by %v", max(late, early).Round(time.Millisecond))
		}
	}
	return h
}

// reasonOf is what an error says of the store's state, without an address.
func reasonOf(err error) string {
	var o *outcomeError
	if errors.As(err, &o) {
		err = o.fate
	}
	return err.Error()
}
