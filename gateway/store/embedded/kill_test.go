package embedded_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"turnout/gateway/store/embedded"
	"turnout/gateway/store/storetest"
)

// killDir names the store's folder to the process that is to be killed.
const killDir = "TURNOUT_TEST_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Fprintln(os.Stderr, victim(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// onDisk are the options of a store in a folder of this machine.
func onDisk(dir string) embedded.Options {
	o := options(vfs.Default, time.Now)
	o.Dir = dir
	return o
}

// victim puts a store under load and prints what it acknowledges, until it is killed.
func victim(dir string) error {
	s, err := embedded.Open(onDisk(dir))
	if err != nil {
		return err
	}
	load := storetest.NewLoad(time.Now)
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	load.OnAck = func(a storetest.Acked) {
		mu.Lock()
		defer mu.Unlock()
		if out.Encode(a) != nil {
			os.Exit(1)
		}
	}
	load.Run(context.Background(), s, 8, rand.Uint64())
	return fmt.Errorf("the load has ended")
}

func TestKill(t *testing.T) {
	kills := scaled(5, 50, 500)
	dir := t.TempDir()
	load := storetest.NewLoad(time.Now)
	rng := rand.New(rand.NewPCG(7, 7))
	for kill := range kills {
		killOne(t, dir, load, rng.IntN(300))
		if t.Failed() {
			t.Fatalf("kill %d of %d", kill+1, kills)
		}
	}
	t.Logf("%d kills, %d acknowledged messages, none lost", kills, len(load.Acked()))
}

// killOne starts a victim, kills it after it has acknowledged n messages, and looks at what it left.
func killOne(t *testing.T, dir string, load *storetest.Load, n int) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for read := 0; ; read++ {
		if read == n {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		line, err := lines.ReadBytes('\n') // what it had said before it died is in the pipe still
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var a storetest.Acked
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatalf("reading what was acknowledged: %v", err)
		}
		load.Add(a)
	}
	if err := cmd.Wait(); cmd.ProcessState.Exited() {
		t.Fatalf("the victim ended by itself: %v", err)
	}
	s := open(t, onDisk(dir))
	lost, faults, err := load.Lost(t.Context(), s, load.Acked())
	if err != nil {
		t.Fatal(err)
	}
	if lost != 0 {
		t.Errorf("%d acknowledged messages are lost", lost)
	}
	for _, f := range faults {
		t.Error(f)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
