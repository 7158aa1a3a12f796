package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// server is a Redis server of the run, and a connection to look at it.
type server struct {
	*process
	addr   string
	client *goredis.Client
}

// startServer runs a server in dir, on a port that was free a moment ago, as a replica of another if of names one.
func (b *bench) startServer(ctx context.Context, program, dir, of string) (*server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of a server: %w", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	_, port, _ := net.SplitHostPort(addr)
	args := []string{
		"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
		"--maxmemory-policy", "noeviction", "--repl-diskless-sync-delay", "0",
	}
	if of != "" {
		host, primary, _ := net.SplitHostPort(of)
		args = append(args, "--replicaof", host+" "+primary)
	}
	p, err := startProcess("redis-server", filepath.Join(dir, "redis.log"), program, args...)
	if err != nil {
		return nil, err
	}
	b.keep(p)
	if err := p.reachable(ctx, addr); err != nil {
		return nil, err
	}
	return &server{process: p, addr: addr, client: goredis.NewClient(&goredis.Options{Addr: addr, DisableIdentity: true})}, nil
}

// close ends the connection that looks; the process ends with the run.
func (s *server) close() { _ = s.client.Close() }

// info returns the fields of a section.
func (s *server) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := s.client.Info(ctx, section).Result()
	if err != nil {
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

func (s *server) field(ctx context.Context, section, name string) (string, error) {
	fields, err := s.info(ctx, section)
	return fields[name], err
}

// synced waits until the replica has everything.
func (s *server) synced(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		replica, err := s.field(ctx, "replication", "slave0")
		if err != nil {
			return err
		}
		if strings.Contains(replica, "state=online") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for a replica: %w", ctx.Err())
		case <-retry.C:
		}
	}
}

// counters are what the server counts of its connections and commands.
func (s *server) counters(ctx context.Context) (map[string]float64, error) {
	counts := map[string]float64{}
	stats, err := s.info(ctx, "stats")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"total_reads_processed", "total_net_input_bytes", "total_net_output_bytes", "total_net_repl_output_bytes"} {
		if counts[name], err = strconv.ParseFloat(stats[name], 64); err != nil {
			return nil, fmt.Errorf("asking the server: it does not tell %s", name)
		}
	}
	commands, err := s.info(ctx, "commandstats")
	if err != nil {
		return nil, err
	}
	for name, value := range commands { // cmdstat_evalsha:calls=1,usec=…
		calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		n, err := strconv.ParseFloat(calls, 64)
		if err != nil {
			return nil, fmt.Errorf("asking the server: the calls of %s are not understood", name)
		}
		counts["calls:"+strings.TrimPrefix(name, "cmdstat_")] = n
	}
	return counts, nil
}

// used is the memory that the server uses, without what it holds for replicas.
func (s *server) used(ctx context.Context) (int64, error) {
	memory, err := s.info(ctx, "memory")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(memory["used_memory"], 10, 64)
	backlog, _ := strconv.ParseInt(memory["mem_replication_backlog"], 10, 64)
	buffers, _ := strconv.ParseInt(memory["mem_clients_slaves"], 10, 64)
	aof, _ := strconv.ParseInt(memory["mem_aof_buffer"], 10, 64)
	clients, _ := strconv.ParseInt(memory["mem_clients_normal"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("asking the server: it does not tell its memory")
	}
	return n - backlog - buffers - aof - clients, nil
}

// What the store keeps of message ids: hashes of one partition and one of its buckets, with a keyed hash of 10 bytes for
// each id, and behind it a number and the 16 bytes of a conversation's id.
const (
	idHashes = 1024 * 64
	idBytes  = 10
	idRow    = 17
)

// perID writes rows like those of message ids, as many hashes as the store has for one generation, and returns the bytes of
// memory of one.
func (s *server) perID(ctx context.Context, count int) (float64, error) {
	before, err := s.used(ctx)
	if err != nil {
		return 0, err
	}
	r := rand.New(rand.NewPCG(1, 1))
	const batch = 1000
	for done := 0; done < count; done += batch {
		pipe := s.client.Pipeline()
		for i := done; i < min(done+batch, count); i++ {
			id, row := make([]byte, idBytes), make([]byte, idRow)
			binary.BigEndian.PutUint64(id, r.Uint64())
			binary.BigEndian.PutUint64(row, r.Uint64())
			pipe.HSet(ctx, fmt.Sprintf("bench:{p%04d}d:1:%d", i%1024, i/1024%64), id, row)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return 0, fmt.Errorf("writing ids: %w", err)
		}
	}
	after, err := s.used(ctx)
	return float64(after-before) / float64(count), err
}
