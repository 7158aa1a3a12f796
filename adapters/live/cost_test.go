package live_test

import (
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	fast "github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

// maxIdle is what a silent socket may take of the process, in bytes of heap and stacks, together with the file that the
// test holds as its client. What a channel keeps for it comes on top; the whole is measured in gateway/story.
const maxIdle = 5 << 10

// silentSockets is how many are open at a time; each takes two files of this process.
func silentSockets() int {
	if os.Getenv("TURNOUT_SCALE") == "full" {
		return 4_000
	}
	return 1_000
}

// TestWhatASilentSocketCosts holds what a socket takes against its limit. The control is the form in which the library hands
// sockets out, with the smallest buffers: if that were within the limit, this package would not be needed.
func TestWhatASilentSocketCosts(t *testing.T) {
	s := serve(t, func(s *server) { s.closed = make(chan int, silentSockets()) })
	ours := measure(t, s)
	for range silentSockets() {
		<-s.closed
	}
	natural := &server{}
	upgrader := &fast.FastHTTPUpgrader{
		ReadBufferSize: 1024, WriteBufferSize: 2048, CheckOrigin: func(*fasthttp.RequestCtx) bool { return true },
	}
	natural.listen(t, func(ctx *fasthttp.RequestCtx) {
		_ = upgrader.Upgrade(ctx, func(c *fast.Conn) {
			defer c.NetConn().Close()
			for {
				kind, text, err := c.ReadMessage()
				if err != nil || c.WriteMessage(kind, text) != nil {
					return
				}
			}
		})
	})
	control := measure(t, natural)
	t.Logf("%d sockets: %d bytes each, %d in the library's form", silentSockets(), ours, control)
	if ours > maxIdle {
		t.Errorf("a silent socket takes %d bytes, more than %d", ours, maxIdle)
	}
	if control <= maxIdle {
		t.Errorf("the library's form takes %d bytes, no more than %d: the limit says nothing", control, maxIdle)
	}
}

// measure opens many sockets, has each say something once, and returns what each takes then.
func measure(t *testing.T, s *server) int64 {
	t.Helper()
	n := silentSockets()
	clients := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	before := inUse()
	for i := range n {
		c, r := s.raw(t, frame(0x81, "hello, this is the first message"))
		if first, _ := next(t, r); first != 0x81 {
			t.Fatalf("socket %d was not answered", i)
		}
		clients = append(clients, c)
	}
	return (inUse() - before) / int64(n)
}

// inUse is the memory in use for heap and stacks, once it has come to rest: stacks shrink by half with each collection.
func inUse() int64 {
	for range 4 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
