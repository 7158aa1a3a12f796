package config

import "time"

func (l *loader) newProfile(r *resource) *Profile {
	p := &Profile{
		At: r.whole.Pos(), Name: r.Name, Adapter: "http", LateWait: 300 * time.Millisecond, FreshFor: 5 * time.Minute,
		StaleFor: 24 * time.Hour, Deadline: 2 * time.Second, Concurrency: 16, CacheEntries: 10_000, CacheBytes: 16 << 20,
		Breaker: Breaker{Failures: 5, Window: 30 * time.Second, OpenFor: 15 * time.Second},
		Config:  r.absent("config"), spec: r.Spec,
	}
	l.decode(r.Spec, p)
	check := func(ok bool, message string, path ...string) {
		if !ok {
			l.faults.add(r.Spec.find(path...), "%s %s", path[len(path)-1], message)
		}
	}
	check(p.LateWait >= 0 && p.LateWait <= 2*time.Second, `must lie between "0s" (never wait) and "2s"`, "late_wait")
	check(p.FreshFor >= time.Second && p.FreshFor <= 24*time.Hour, `must lie between "1s" and "24h"`, "fresh_for")
	check(p.StaleFor >= 0 && p.StaleFor <= 30*24*time.Hour, `must lie between "0s" (never use it) and "30d"`, "stale_for")
	check(p.Deadline >= 50*time.Millisecond && p.Deadline <= 30*time.Second, `must lie between "50ms" and "30s"`, "deadline")
	check(p.Concurrency >= 1 && p.Concurrency <= 1000, "must lie between 1 and 1000", "concurrency")
	check(p.CacheEntries >= 1 && p.CacheEntries <= 100_000, "must lie between 1 and 100000", "cache_entries")
	check(p.CacheBytes >= 64<<10 && p.CacheBytes <= 64<<20, `must lie between "64KiB" and "64MiB"`, "cache_bytes")
	check(p.Breaker.Failures >= 1, "must be 1 or more", "breaker", "failures")
	check(p.Breaker.Window >= time.Second, `must be "1s" or more`, "breaker", "window")
	check(p.Breaker.OpenFor >= time.Second, `must be "1s" or more`, "breaker", "open_for")
	return p
}
