package hostile

import (
	"runtime"
	"strings"
)

// serving counts the goroutines that serve a connection: those that read a request, run its handler, or keep a socket or
// write to a stream. Workers that wait for the next connection are none.
func serving() int {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	count := 0
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		for _, frame := range []string{"fasthttp.(*Server).serveConn(", "fasthttp.hijackConnHandler(", "turnout/adapters/live."} {
			if strings.Contains(stack, frame) {
				count++
				break
			}
		}
	}
	return count
}
