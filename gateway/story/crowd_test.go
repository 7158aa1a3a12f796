package story

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The crowd: many connections that do next to nothing, to one process.

// crowd is how many connections there are.
func crowd(usual int) int {
	if os.Getenv("TURNOUT_SCALE") == "full" {
		return 10_000
	}
	return usual
}

// maxSilent is what a silent WebSocket may take of the process, in bytes of heap and stacks: everything that turnout keeps for
// it is in there.
const maxSilent = 6 << 10

// change rewrites a part of a node's file.
func (n *node) change(name, old, new string) {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, name))
	if err != nil {
		n.t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		n.t.Fatalf("%s has no %q", name, old)
	}
	n.write(name, strings.Replace(string(b), old, new, 1))
}

const wide = "limits: {connections: 30000, connections_per_ip: %d, read_timeout: %s, messages_per_minute: {visitor: 1000000, address: 10000000, tenant: 10000000}, bot_calls_per_day: 100000000, allow_networks: [127.0.0.1/32]}"

// crowded is a node that lets a crowd in.
func crowded(t *testing.T, perIP int, read time.Duration) *node {
	t.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur < files.Max { // the node inherits it
		files.Cur = files.Max
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
			t.Fatal(err)
		}
	}
	n := newNode(t, newTestBot(t).URL, 20*time.Second)
	n.change("turnout.yaml", "limits: {allow_networks: [127.0.0.1/32]}", fmt.Sprintf(wide, perIP, read))
	n.change("shop.yaml", "burst: 1000000", "burst: 1000000, visitor_streams: 1000, channel_streams: 100000")
	n.start()
	return n
}

// figures are what a node says of itself.
type figures struct {
	heap, stacks, goroutines, files, rss int64
}

func (f figures) String() string {
	return fmt.Sprintf("heap %d KB, stacks %d KB, RSS %d KB, %d goroutines, %d files", f.heap>>10, f.stacks>>10, f.rss>>10, f.goroutines, f.files)
}

// figures collects garbage in the node, if asked to, and reads what is left.
func (n *node) figures(collect bool) (f figures, err error) {
	get := func(path string) (string, error) {
		resp, err := http.Get(n.ops + path)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	for range 3 { // stacks shrink by half with each
		if !collect {
			break
		}
		if _, err := get("/debug/pprof/heap?gc=1"); err != nil {
			return f, err
		}
	}
	text, err := get("/metrics")
	if err != nil {
		return f, err
	}
	for name, into := range map[string]*int64{
		"go_memstats_heap_alloc_bytes": &f.heap, "go_memstats_stack_inuse_bytes": &f.stacks, "go_goroutines": &f.goroutines,
		"process_open_fds": &f.files, "process_resident_memory_bytes": &f.rss,
	} {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
		if m == nil {
			return f, fmt.Errorf("the node does not tell %s", name)
		}
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return f, err
		}
		*into = int64(v)
	}
	return f, nil
}

func (n *node) rest(t *testing.T) figures {
	t.Helper()
	f, err := n.figures(true)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// wsFrame is a client's frame with a mask of zeros.
func wsFrame(text string) []byte {
	b := []byte{0x81}
	if len(text) < 126 {
		b = append(b, 0x80|byte(len(text)))
	} else {
		b = append(b, 0x80|126, byte(len(text)>>8), byte(len(text)))
	}
	return append(append(b, 0, 0, 0, 0), text...)
}

// silentSocket opens a visitor's WebSocket and reads until it is ready.
func silentSocket(addr, token string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, err = fmt.Fprintf(c, "GET /v1/web/shop.web/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n%s", wsFrame(`{"type":"hello","token":"`+token+`"}`))
	var seen []byte
	buf := make([]byte, 1024)
	for err == nil && !strings.Contains(string(seen), `"type":"ready"`) {
		var got int
		got, err = c.Read(buf)
		seen = append(seen, buf[:got]...)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("opening a socket: %w after %.100q", err, seen)
	}
	_ = c.SetDeadline(time.Time{})
	return c, nil
}

// A crowd of open chats in which nobody says anything: each takes little, and whoever does say something is served.
func TestCrowdOfSilentSockets(t *testing.T) {
	n := crowded(t, 30_000, 10*time.Second)
	ctx := longCtx(t, 8*time.Minute)
	many := crowd(2_000)
	const each = 500
	visitors := make([]*client, (many+each-1)/each)
	for i := range visitors {
		visitors[i] = n.visitor(ctx)
		if _, err := visitors[i].say(ctx, "first", "hello"); err != nil {
			t.Fatal(err)
		}
	}
	addr := strings.TrimPrefix(n.base, "http://")
	before := n.rest(t)
	conns := make([]net.Conn, many)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	for i := range conns {
		var err error
		if conns[i], err = silentSocket(addr, visitors[i/each].token); err != nil {
			t.Fatalf("socket %d: %v", i, err)
		}
	}
	full := n.rest(t)
	took := (full.heap + full.stacks - before.heap - before.stacks) / int64(many)
	t.Logf("%d silent sockets: %d bytes each (heap %d, stacks %d), RSS %d bytes each", many, took,
		(full.heap-before.heap)/int64(many), (full.stacks-before.stacks)/int64(many), (full.rss-before.rss)/int64(many))
	if took > maxSilent {
		t.Errorf("a silent socket takes %d bytes, more than %d", took, maxSilent)
	}
	// What is said reaches every socket of its customer.
	a, err := visitors[0].say(ctx, "second", "anybody?")
	if err != nil || len(a.Messages) != 1 {
		t.Fatalf("a customer among the crowd: %+v, %v", a, err)
	}
	for i, c := range conns[:each] {
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Minute))
		r := bufio.NewReader(c)
		var seen strings.Builder
		for !strings.Contains(seen.String(), "you said: anybody?") {
			b, err := r.ReadByte()
			if err != nil {
				t.Fatalf("socket %d: %v after %q", i, err, seen.String())
			}
			seen.WriteByte(b)
		}
	}
	for _, c := range conns {
		c.Close()
	}
	waitFor(t, ctx, func() bool {
		f := n.rest(t)
		return f.files < before.files+20 && f.goroutines < before.goroutines+20
	})
	n.stop()
}

// A crowd that gives its requests a byte at a time: each is hung up on in its time, those over the bound of one address at
// once, and meanwhile a customer from elsewhere is served.
func TestCrowdThatDrips(t *testing.T) {
	many := crowd(1_000)
	perIP := many * 9 / 10
	n := crowded(t, perIP, 4*time.Second)
	ctx := longCtx(t, 8*time.Minute)
	customer := n.visitor(ctx)
	if _, err := customer.say(ctx, "first", "hello"); err != nil {
		t.Fatal(err)
	}
	before := n.rest(t)
	addr := strings.TrimPrefix(n.base, "http://")
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	starts := []string{
		"GET /v1/web/shop.web/session HTTP/1.1\r\nHost: x\r\nX-Slow: ", "POST /v1/web/shop.web/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n",
		"POST /v1/web/shop.web/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n30000\r\n", "G",
	}
	var open []net.Conn
	for i := range many {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, starts[i%len(starts)])
		open = append(open, c)
	}
	most, refused := figures{}, 0
	start := time.Now()
	for said := 0; len(open) > 0; said++ {
		if ctx.Err() != nil {
			t.Fatalf("%d connections are still open", len(open))
		}
		var over int
		open, over = drip(open)
		refused += over
		a, err := customer.say(ctx, fmt.Sprint("m", said), "hello")
		if err != nil || len(a.Messages) != 1 {
			t.Fatalf("a customer beside the crowd: %+v, %v", a, err)
		}
		f, err := n.figures(false)
		if err != nil {
			t.Fatal(err)
		}
		if f.rss > most.rss {
			most = f
		}
	}
	t.Logf("%d connections that drip, %d let in, %d refused, gone after %s: %s at most; before: %s", many, perIP, refused, time.Since(start).Round(time.Second), most, before)
	if refused < many-perIP {
		t.Errorf("%d connections over the bound of one address were refused, want %d", refused, many-perIP)
	}
	// Each may hold its head and what the server keeps for a request.
	if held := (most.rss - before.rss) / int64(many); held > 64<<10 {
		t.Errorf("a connection that drips holds %d bytes", held)
	}
	waitFor(t, ctx, func() bool { // the server keeps its workers for a while
		f := n.rest(t)
		return f.heap < before.heap+16<<20 && f.files < before.files+20 && f.goroutines < before.goroutines+50
	})
	n.stop()
}

// drip gives each connection a byte and returns those that the server has not ended, and how many it refused.
func drip(open []net.Conn) (left []net.Conn, refused int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	places := make(chan struct{}, 64)
	for _, c := range open {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			var buf [512]byte
			_ = c.SetDeadline(time.Now().Add(5 * time.Millisecond))
			_, werr := c.Write([]byte("a"))
			got, rerr := c.Read(buf[:])
			var late net.Error
			mu.Lock()
			defer mu.Unlock()
			if werr == nil && errors.As(rerr, &late) && late.Timeout() {
				left = append(left, c)
				return
			}
			if strings.HasPrefix(string(buf[:got]), "HTTP/1.1 429 ") {
				refused++
			}
			c.Close()
		})
	}
	wg.Wait()
	return left, refused
}
