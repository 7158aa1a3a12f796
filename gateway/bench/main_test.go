package bench

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// TestMain lets the test program be its own peers, as turnout is, and a gateway that ends at once.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "bench-peer":
			args := append(os.Args[2:], "", "")
			if err := Peer(context.Background(), args[0], args[1], args[2], os.Stdin, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		case "serve":
			fmt.Fprintln(os.Stderr, "this is no gateway")
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
