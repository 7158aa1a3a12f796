package hostile

import (
	"bytes"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"turnout/adapters/adaptertest"
)

// proxy is a program that stands before two servers.
type proxy struct {
	name    string
	command func(file string) []string
	file    string // the name of its configuration
	config  string // %[1]s and %[2]s: where it listens, %[6]s and %[7]s: the ports of that; %[3]s and %[4]s: the servers behind; %[5]s: a folder of its own
}

// Each keeps connections to the servers open, passes bodies on as they come, and waits for a client that says no more for
// a short time only.
var proxies = []proxy{
	{"nginx", func(file string) []string {
		return []string{"nginx", "-p", filepath.Dir(file), "-c", file, "-e", "stderr", "-g", "daemon off;"}
	}, "nginx.conf", `
worker_processes 1;
pid %[5]s/nginx.pid;
events {}
http {
  access_log off;
  client_body_temp_path %[5]s/a; proxy_temp_path %[5]s/b; fastcgi_temp_path %[5]s/c; uwsgi_temp_path %[5]s/d; scgi_temp_path %[5]s/e;
  client_header_timeout 3s; client_body_timeout 3s; send_timeout 3s;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off; proxy_next_upstream off;
  upstream gateway { server %[3]s; keepalive 64; }
  upstream std { server %[4]s; keepalive 64; }
  server { listen %[1]s; location / { proxy_pass http://gateway; } }
  server { listen %[2]s; location / { proxy_pass http://std; } }
}
`},
	{"haproxy", func(file string) []string { return []string{"haproxy", "-f", file} }, "haproxy.cfg", `
defaults
  mode http
  http-reuse always
  retries 0
  timeout connect 20s
  timeout client 3s
  timeout http-request 3s
  timeout server 20s
listen gateway
  bind %[1]s
  server gateway %[3]s
listen std
  bind %[2]s
  server std %[4]s
`},
	{"caddy", func(file string) []string {
		return []string{"caddy", "run", "--config", file, "--adapter", "caddyfile"}
	}, "Caddyfile", `
{
  admin off
  auto_https off
  servers {
    timeouts {
      read_header 3s
      read_body 3s
      idle 3s
    }
  }
}
http://:%[6]s {
  bind 127.0.0.1
  reverse_proxy %[3]s {
    flush_interval -1
  }
}
http://:%[7]s {
  bind 127.0.0.1
  reverse_proxy %[4]s {
    flush_interval -1
  }
}
`},
}

// TestSmugglingThroughProxies plays the corpus through the proxies that stand before gateways: behind each of them the gateway
// never sees a request that net/http does not see there, nor another body.
func TestSmugglingThroughProxies(t *testing.T) {
	if os.Getenv("TURNOUT_PROXIES") == "" {
		t.Log("TURNOUT_PROXIES is not set: make test installs nginx, haproxy and caddy, and sets it")
		return
	}
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			w, ours := startMirror(t, "  read_timeout: 5s\n  idle_timeout: 20s")
			theirs := newSightings()
			std := httptest.NewUnstartedServer(theirs)
			std.Config.ReadTimeout = 5 * time.Second
			std.Start()
			defer std.Close()
			front := [2]string{freeAddr(t), freeAddr(t)}
			p.run(t, front, w.addr, std.Listener.Addr().String())

			cases := corpus()
			var wg sync.WaitGroup
			places := make(chan struct{}, 32)
			answered := make([]int, len(cases))
			for i, c := range cases {
				for side, addr := range front {
					places <- struct{}{}
					wg.Go(func() {
						statuses, _ := play(t, addr, c.bytesOf(fmt.Sprint(i)), false)
						if side == 0 {
							answered[i] = len(statuses)
						}
						<-places
					})
				}
			}
			wg.Wait()
			passed := 0
			for i, c := range cases {
				mine, other := ours.of(fmt.Sprint(i)), theirs.of(fmt.Sprint(i))
				if c.want == lastHere && len(other) == 0 {
					continue
				}
				if why := beyond(mine, other, answered[i]); why != "" {
					t.Errorf("%s: %s: %q, net/http behind the same: %q", c.name, why, mine, other)
				}
				if c.want == whole && len(mine) == len(other) && len(mine) > 1 {
					passed++
				}
			}
			if passed < 10 {
				t.Errorf("only %d of what is fine came through: the proxy does not work", passed)
			}
			t.Logf("%d of what is fine came through whole", passed)
		})
	}
}

// beyond is fault for servers that get their requests from a proxy, which answered so many. The proxy may go on after a
// refusal, on another connection: the last request is there in any case, and one that looks smuggled is none if the proxy
// has read the same bytes as two requests and passed each on as such, so that net/http sees it as well.
func beyond(ours, theirs []string, answered int) string {
	rest := theirs
	for _, s := range ours {
		i := slices.Index(rest, s)
		switch {
		case i >= 0:
			rest = rest[i+1:]
		case s != `GET next ""`:
			return "a request was seen that is not there"
		}
	}
	if len(ours) > max(answered, 1) { // to HTTP/0.9 an answer without a body is nothing at all
		return "more requests were seen than the proxy has passed on"
	}
	return ""
}

// run starts the proxy and returns when it takes connections.
func (p proxy) run(t *testing.T, front [2]string, gateway, std string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, p.file)
	if err := os.WriteFile(file, fmt.Appendf(nil, p.config, front[0], front[1], gateway, std, dir, port(front[0]), port(front[1])), 0o600); err != nil {
		t.Fatal(err)
	}
	args := p.command(file)
	var said bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v (make test installs it)", p.name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	for _, addr := range front {
		eventually(t, p.name+" listens", func() bool {
			select {
			case <-ended:
				t.Fatalf("%s ended: %s", p.name, said.String())
			default:
			}
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return false
			}
			c.Close()
			return true
		})
	}
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func freeAddr(t *testing.T) string { return adaptertest.FreeAddr(t) }
