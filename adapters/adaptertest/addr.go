package adaptertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
)

// FreeAddr returns a loopback address, "127.0.0.1:port", on which nobody listens. A program gets it after it was tried here,
// and again after each of its deaths. So it is none of the ports that the system gives to whoever asks for any, as outgoing
// connections do (32768 and up on Linux, 49152 elsewhere): one of those can be somebody's in the meantime.
func FreeAddr(t testing.TB) string {
	t.Helper()
	const first, ports = 15_000, 15_000
	for range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(ports)))
		switch {
		case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EACCES):
			continue
		case err != nil:
			t.Fatal(err)
		}
		addr := l.Addr().String()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return addr
	}
	t.Fatal("no free port on 127.0.0.1")
	return ""
}
