// Package redistest starts Redis servers for tests: real ones, on loopback, each in a folder of its own, stopped by their
// process.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Binary is the name of the server. TURNOUT_REDIS in the environment names another file.
const Binary = "redis-server"

// Find returns the file of the server. Where there is none the test ends: as a failure when TURNOUT_REDIS is set, as
// `make test` does, and as not run otherwise.
func Find(t testing.TB) string {
	t.Helper()
	name := os.Getenv("TURNOUT_REDIS")
	if name == "" {
		name = Binary
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("TURNOUT_REDIS") != "" {
			t.Fatalf("TURNOUT_REDIS is set and there is no server: %v", err)
		}
		t.Skip("there is no redis-server here; make test installs it and runs this test")
	}
	return path
}

// Server is a running server.
type Server struct {
	t    testing.TB
	bin  string
	dir  string
	port int
	bus  int // where the servers of a Cluster talk to each other
	args []string
	conf string // the content of a file of settings, for a sentinel; %d is its port
	cmd  *exec.Cmd
}

// Sentinels starts sentinels that watch a server under the name "main", and returns their addresses. They take a server
// for dead after a second.
func Sentinels(t testing.TB, of *Server, n int) (addrs []string) {
	t.Helper()
	var all []*Server
	for range n {
		s := &Server{t: t, bin: Find(t), dir: t.TempDir(), conf: "port %d\nbind 127.0.0.1\n" + fmt.Sprintf(
			"sentinel monitor main 127.0.0.1 %d %d\nsentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 10000\n", of.port, n/2+1)}
		s.start(0)
		t.Cleanup(s.Kill)
		all = append(all, s)
		addrs = append(addrs, s.Addr())
	}
	for _, s := range all { // each knows the replicas and the others
		s.Info("sentinel", func(info string) bool {
			return strings.Contains(info, fmt.Sprintf("sentinels=%d", n)) && !strings.Contains(info, "slaves=0")
		})
	}
	return addrs
}

// Durable are the settings under which nothing acknowledged is lost when the process dies.
func Durable() []string {
	return []string{"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"}
}

// Start starts a server with settings as on its command line. It is stopped at the end of the test.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := &Server{t: t, bin: Find(t), dir: t.TempDir(), args: settings}
	s.start(0)
	t.Cleanup(s.Kill)
	return s
}

// Replica starts a replica of a server and returns when it follows it.
func Replica(t testing.TB, of *Server, settings ...string) *Server {
	t.Helper()
	return follower(t, of, fmt.Sprint(of.port), settings)
}

// ReplicaOver is Replica for one that has only a wire to its server.
func ReplicaOver(t testing.TB, w *Wire, of *Server, settings ...string) *Server {
	t.Helper()
	return follower(t, of, w.port(), settings)
}

func follower(t testing.TB, of *Server, port string, settings []string) *Server {
	t.Helper()
	s := Start(t, append([]string{"--replicaof", "127.0.0.1 " + port}, settings...)...)
	s.Info("replication", func(info string) bool { return strings.Contains(info, "master_link_status:up") })
	of.Info("replication", func(info string) bool { return strings.Contains(info, fmt.Sprintf("port=%d,state=online", s.port)) })
	return s
}

// Info waits until a section of what the server says of itself is as wanted.
func (s *Server) Info(section string, want func(string) bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true})
	defer c.Close()
	for ctx.Err() == nil {
		if info, err := c.Info(ctx, section).Result(); err == nil && want(info) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("the server's %s is not as wanted within %v", section, startWithin)
}

// Addr returns the server's address.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Dir returns its folder.
func (s *Server) Dir() string { return s.dir }

// Pid returns its process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Kill ends the server without a word to it, as a crash of its process does.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()         // it was killed
	s.cmd = nil
}

// Stop ends the server in order: what it has it keeps, whatever its settings.
func (s *Server) Stop() {
	s.t.Helper()
	if s.cmd == nil {
		return
	}
	ended := make(chan error, 1)
	go func(cmd *exec.Cmd) { ended <- cmd.Wait() }(s.cmd)
	until := time.After(startWithin)
	for {
		// While it writes its first append-only file a server does not hear of it.
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case err := <-ended:
			if s.cmd = nil; err != nil {
				s.t.Fatalf("stopping the server: %v", err)
			}
			return
		case <-until:
			_ = s.cmd.Process.Kill()
			<-ended
			s.cmd = nil
			s.t.Fatalf("the server does not stop within %v", startWithin)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Restart starts a killed server again, in its folder and on its port. A replica is a replica again until Promote.
func (s *Server) Restart() {
	s.t.Helper()
	s.start(s.port)
}

// Follow starts a killed server again as a replica of another, and returns when it follows it.
func (s *Server) Follow(of *Server) {
	s.t.Helper()
	if i := slices.Index(s.args, "--replicaof"); i >= 0 {
		s.args = slices.Delete(slices.Clone(s.args), i, i+2)
	}
	s.args = append([]string{"--replicaof", "127.0.0.1 " + fmt.Sprint(of.port)}, s.args...)
	s.start(s.port)
	s.Info("replication", func(info string) bool { return strings.Contains(info, "master_link_status:up") })
}

// Primary reports whether the server answers as a primary.
func (s *Server) Primary() bool {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	defer c.Close()
	role, err := c.Do(ctx, "ROLE").Slice()
	return err == nil && len(role) > 0 && role[0] == "master"
}

// Promote makes a replica a primary.
func (s *Server) Promote() {
	s.t.Helper()
	if err := s.Client().Do(context.Background(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		s.t.Fatal(err)
	}
}

// Keep keeps what a stopped server has on its disk, and returns what puts that back while it is stopped again.
func (s *Server) Keep() (restore func()) {
	s.t.Helper()
	kept := filepath.Join(s.t.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(s.dir)); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		s.t.Helper()
		if err := os.RemoveAll(s.dir); err != nil {
			s.t.Fatal(err)
		}
		if err := os.CopyFS(s.dir, os.DirFS(kept)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Client returns a client of the server, closed with the test.
func (s *Server) Client() *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true})
	s.t.Cleanup(func() { _ = c.Close() }) // the server may be gone
	return c
}

// attempts is how often a port is chosen: another process may take it before the server does.
const attempts = 5

func (s *Server) start(port int) {
	s.t.Helper()
	for range attempts {
		if s.try(port) {
			return
		}
	}
	out, _ := os.ReadFile(filepath.Join(s.dir, "server.log"))
	s.t.Fatalf("the server does not start; it says:\n%s", out)
}

func (s *Server) try(port int) bool {
	s.t.Helper()
	if port == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.t.Fatal(err)
		}
		port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			s.t.Fatal(err)
		}
	}
	s.port = port
	args := append([]string{
		"--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", s.dir, "--save", "", "--daemonize", "no",
		"--logfile", filepath.Join(s.dir, "server.log"), "--loglevel", "notice",
	}, s.args...)
	if s.conf != "" {
		file := filepath.Join(s.dir, "sentinel.conf")
		if err := os.WriteFile(file, fmt.Appendf(nil, s.conf, port), 0o600); err != nil {
			s.t.Fatal(err)
		}
		args = []string{file, "--sentinel", "--dir", s.dir, "--logfile", filepath.Join(s.dir, "server.log")}
	}
	s.cmd = exec.Command(s.bin, args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("starting %s: %v", s.bin, err)
	}
	if s.ready() {
		return true
	}
	s.Kill()
	return false
}

// startWithin is how long a server may take to load what it has on disk.
const startWithin = 60 * time.Second

// ready waits until the server answers as itself: on its port may sit another one.
func (s *Server) ready() bool {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	defer c.Close()
	for ctx.Err() == nil {
		if s.cmd.Process == nil || ended(s.cmd.Process.Pid) {
			return false
		}
		info, err := c.Info(ctx, "server").Result()
		if err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.Pid())) && c.Ping(ctx).Err() == nil {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// ended reports whether a child has ended and only waits to be waited for.
func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return os.IsNotExist(err) && dirExists("/proc/self")
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}

func dirExists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
