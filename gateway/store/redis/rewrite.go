package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store"
)

// rewritePoll is the pause between looks at a rewrite that is under way.
const rewritePoll = 20 * time.Millisecond

// rewrite has every server write its files anew, the replicas too, once they have what their primary has now. One that
// cannot be reached may come back with its old files: then it is not done.
func (s *Store) rewrite(ctx context.Context) error {
	primaries, err := s.db.everyServer(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(primaries))
	var wg sync.WaitGroup
	for i, p := range primaries {
		wg.Go(func() { errs[i] = s.rewriteShard(ctx, p) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// rewriteShard is rewrite for a primary and its replicas, one after the other.
func (s *Store) rewriteShard(ctx context.Context, primary server) error {
	if primary.down {
		return s.gap(primary.addr)
	}
	info, err := s.replication(ctx, primary.client)
	if err != nil {
		return fmt.Errorf("rewriting the files of the server at %s: %w", primary.addr, err)
	}
	offset, err := strconv.ParseInt(info["master_repl_offset"], 10, 64)
	if err != nil {
		return fmt.Errorf("rewriting the files of the server at %s: it does not say how far it is", primary.addr)
	}
	replicas := replicasIn(info)
	if len(replicas) < s.o.Wait {
		return fmt.Errorf("the files of %d replicas of the server at %s are to be rewritten, and it has %d now", s.o.Wait, primary.addr, len(replicas))
	}
	known := primary.replicas
	if len(s.o.Sentinels) > 0 {
		if known, err = s.watched(ctx); err != nil {
			return err
		}
	}
	for _, k := range known {
		if !slices.Contains(replicas, k.addr) {
			return s.gap(k.addr)
		}
	}
	if err := s.rewriteFiles(ctx, primary.client); err != nil {
		return fmt.Errorf("rewriting the files of the server at %s: %w", primary.addr, err)
	}
	// A replica may have replicas of its own.
	for ; len(replicas) > 0; replicas = replicas[1:] {
		more, err := s.rewriteReplica(ctx, replicas[0], offset)
		if err != nil {
			return fmt.Errorf("rewriting the files of the replica at %s: %w", replicas[0], err)
		}
		replicas = append(replicas, more...)
	}
	return nil
}

// gap is the error for a server that is known and not there.
func (s *Store) gap(addr string) error {
	how := "stop replicating to it"
	switch {
	case s.db.cluster != nil:
		how = "have every server forget it with CLUSTER FORGET"
	case len(s.o.Sentinels) > 0:
		how = "have the sentinels forget it with SENTINEL RESET"
	}
	return fmt.Errorf("the server at %s is not there to rewrite its files, which may hold what was erased: start it again, or destroy its files and %s", addr, how)
}

// rewriteReplica has a replica write its files anew when it is as far as offset, and returns the replicas that it has.
func (s *Store) rewriteReplica(ctx context.Context, addr string, offset int64) (more []string, err error) {
	c := s.db.open(addr)
	defer c.Close()
	for {
		info, err := s.replication(ctx, c)
		if err != nil {
			return nil, err
		}
		// One that has become a primary meanwhile has an offset of the same count.
		at, err := strconv.ParseInt(info["master_repl_offset"], 10, 64)
		if err != nil {
			return nil, errors.New("it does not say how far it is")
		}
		if info["role"] == "master" || at >= offset && info["master_sync_in_progress"] == "0" {
			more = replicasIn(info)
			break
		}
		if err := s.poll(ctx); err != nil {
			return nil, err
		}
	}
	return more, s.rewriteFiles(ctx, c)
}

// replication is what a server says of those that follow it and of whom it follows.
func (s *Store) replication(ctx context.Context, c *goredis.Client) (map[string]string, error) {
	return s.section(ctx, c, "replication")
}

func (s *Store) section(ctx context.Context, c *goredis.Client, name string) (map[string]string, error) {
	var info *goredis.StringCmd
	if err := s.db.on(ctx, passing, c, func(p goredis.Pipeliner) { info = p.Info(ctx, name) }); err != nil {
		return nil, err
	}
	return infoFields(info.Val()), nil
}

// replicasIn returns the addresses of the replicas that a server speaks of: "slave0:ip=10.0.0.2,port=6379,state=online,…".
func replicasIn(info map[string]string) (addrs []string) {
	for name, value := range info {
		if n, ok := strings.CutPrefix(name, "slave"); !ok || strings.Trim(n, "0123456789") != "" {
			continue
		}
		fields := map[string]string{}
		for _, field := range strings.Split(value, ",") {
			if k, v, ok := strings.Cut(field, "="); ok {
				fields[k] = v
			}
		}
		if fields["port"] != "" {
			addrs = append(addrs, net.JoinHostPort(fields["ip"], fields["port"]))
		}
	}
	slices.Sort(addrs)
	return addrs
}

// watched returns the replicas that the sentinels know, also those that are down.
func (s *Store) watched(ctx context.Context) (list []server, err error) {
	for _, addr := range s.o.Sentinels {
		c := goredis.NewSentinelClient(clientOptions(Options{TLS: s.o.TLS}, addr, nil))
		var replicas []map[string]string
		replicas, err = c.Replicas(ctx, s.o.Master).Result()
		_ = c.Close() // it was only to ask
		if err != nil {
			continue
		}
		for _, r := range replicas {
			list = append(list, server{addr: net.JoinHostPort(r["ip"], r["port"])})
		}
		return list, nil
	}
	return nil, fmt.Errorf("asking the sentinels for replicas: %w", err)
}

// rewriteFiles has a server write its files anew. A rewrite that was under way before does not count: it began with what is
// deleted now.
func (s *Store) rewriteFiles(ctx context.Context, c *goredis.Client) error {
	fields, err := s.settled(ctx, c)
	if err != nil {
		return err
	}
	if fields["aof_enabled"] == "1" {
		if err := s.background(ctx, c, func(p goredis.Pipeliner) { p.BgRewriteAOF(ctx) }); err != nil {
			return fmt.Errorf("its append-only file: %w", err)
		}
		if fields, err = s.settled(ctx, c); err != nil {
			return err
		}
		if fields["aof_last_bgrewrite_status"] != "ok" {
			return errors.New("it could not rewrite its append-only file")
		}
	}
	// Whether there is a snapshot nobody tells: one may be from before the server's start, and a replica keeps the one with
	// which it began. The next one takes its place.
	if err := s.background(ctx, c, func(p goredis.Pipeliner) { p.BgSave(ctx) }); err != nil {
		return fmt.Errorf("its snapshot: %w", err)
	}
	if fields, err = s.settled(ctx, c); err != nil {
		return err
	}
	if fields["rdb_last_bgsave_status"] != "ok" {
		return errors.New("it could not write its snapshot anew")
	}
	return nil
}

// background has a server begin to write in the background. One that has just begun by itself began late enough; one that
// writes something else goes on with ours after it.
func (s *Store) background(ctx context.Context, c *goredis.Client, what func(p goredis.Pipeliner)) error {
	for {
		err := s.db.on(ctx, passing, c, what)
		switch {
		case err == nil || !isAnswer(err) || errors.Is(err, store.ErrUnavailable):
			return err
		case strings.Contains(err.Error(), "already in progress"):
			return nil
		case !strings.Contains(err.Error(), "child process is active"):
			return err
		}
		if _, err := s.settled(ctx, c); err != nil {
			return err
		}
	}
}

// settled waits until a server writes nothing in the background and returns what it says of its files.
func (s *Store) settled(ctx context.Context, c *goredis.Client) (map[string]string, error) {
	for {
		f, err := s.section(ctx, c, "persistence")
		if err != nil {
			return nil, err
		}
		if f["aof_rewrite_in_progress"] != "1" && f["aof_rewrite_scheduled"] != "1" && f["rdb_bgsave_in_progress"] != "1" {
			return f, nil
		}
		if err := s.poll(ctx); err != nil {
			return nil, err
		}
	}
}

func (s *Store) poll(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.db.closed:
		return errClosed
	case <-time.After(rewritePoll):
		return nil
	}
}
