package local_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"turnout/gateway/api/local"
)

func TestListen(t *testing.T) {
	for name, dir := range map[string]string{"short": "d", "longer than an address": strings.Repeat("long-", 40)} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), dir, "turnout.sock")
			ln, err := local.Listen(file)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Lstat(file)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != os.ModeSocket|0o600 {
				t.Errorf("mode %v", info.Mode())
			}
			talk(t, ln, file)
			if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
				t.Errorf("the folder holds %v, %v", left, err)
			}
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(file); !os.IsNotExist(err) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func talk(t *testing.T, ln net.Listener, file string) {
	t.Helper()
	uids := make(chan int, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			close(uids)
			return
		}
		uid, _ := local.Peer(conn.(*net.UnixConn))
		uids <- uid
		_, _ = io.WriteString(conn, "hello")
		conn.Close()
	}()
	conn, err := local.Dial(context.Background(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if b, err := io.ReadAll(conn); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	if uid := <-uids; uid != os.Getuid() {
		t.Errorf("the peer is user %d, want %d", uid, os.Getuid())
	}
}

// A process that was killed leaves its socket behind; what is not a socket is somebody's.
func TestListenWhereSomethingIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "turnout.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: file, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if _, err := local.Dial(context.Background(), file); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a socket that nobody serves: %v", err)
	}
	ln, err := local.Listen(file)
	if err != nil {
		t.Fatal(err)
	}
	talk(t, ln, file)
	ln.Close()

	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Listen(file); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("the file: %q, %v", b, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", file); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Listen(file); err == nil {
		t.Error("a link was replaced")
	}
}
