package story

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// disk is what a node's store lies on, with what can go wrong with it.
type disk interface {
	// String says what makes the faults.
	String() string
	// freeze holds every write up until thaw.
	freeze() error
	thaw() error
	// fill takes all space, free gives it back.
	fill() error
	free() error
	// die answers every write with an I/O error, replace is a sound disk with what was synced by then. No process has it open.
	die() error
	replace() error
}

// newDisk puts a disk under the store of a node that does not run: a file system of its own where one may be mounted, else
// faults from within the process.
func newDisk(n *node) disk {
	n.t.Helper()
	d, err := mountDisk(n)
	if err == nil {
		return d
	}
	n.t.Logf("no file system can be mounted here: %v", err)
	return injectDisk(n)
}

// mounted is an ext4 in a file, which is full, frozen or shut down as the kernel does it.
type mounted struct {
	image, at string
	ballast   []string
}

func mountDisk(n *node) (disk, error) {
	d := &mounted{image: filepath.Join(n.dir, "disk"), at: filepath.Join(n.dir, "data", "store")}
	if os.Geteuid() != 0 {
		return nil, errors.New("only root may")
	}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	// What is not written takes no space.
	if err := errors.Join(f.Truncate(8<<30), f.Close(), os.MkdirAll(d.at, 0o700)); err != nil {
		return nil, err
	}
	if err := command("mkfs.ext4", "-q", "-F", "-m", "0", "-N", "8192", d.image); err != nil {
		return nil, err
	}
	if err := d.mount(); err != nil {
		return nil, err
	}
	n.t.Cleanup(func() {
		_ = d.thaw()
		n.kill()
		if err := d.unmount(); err != nil {
			n.t.Error(err)
		}
	})
	if err := errors.Join(d.freeze(), d.thaw()); err != nil {
		return nil, err
	}
	return d, nil
}

// command runs one of the system's commands.
func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

func (d *mounted) String() string { return "an ext4 of its own" }

func (d *mounted) mount() error { return command("mount", "-o", "loop", d.image, d.at) }

// unmount waits for whoever looks into every new mount of the machine.
func (d *mounted) unmount() (err error) {
	for range 100 {
		if err = command("umount", d.at); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func (d *mounted) freeze() error { return command("fsfreeze", "-f", d.at) }

func (d *mounted) thaw() error { return command("fsfreeze", "-u", d.at) }

// fill takes what is there in ever smaller pieces; the node writes beside it.
func (d *mounted) fill() error {
	for size := 1 << 30; size >= 4<<10; {
		name := filepath.Join(d.at, fmt.Sprint("full-", len(d.ballast)))
		d.ballast = append(d.ballast, name)
		if command("fallocate", "-l", fmt.Sprint(size), name) != nil {
			size /= 2
		}
	}
	return nil
}

func (d *mounted) free() error {
	var errs []error
	for _, name := range d.ballast {
		if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
			errs = append(errs, err)
		}
	}
	d.ballast = nil
	return errors.Join(errs...)
}

// die shuts the file system down without writing its journal (EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH in Linux'
// fs/ext4/ext4.h): what was not synced is lost, as by a power cut.
func (d *mounted) die() error {
	const shutdown = 0x8004587d
	f, err := os.Open(d.at)
	if err != nil {
		return err
	}
	defer f.Close()
	how := uint32(2)
	if _, _, no := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&how))); no != 0 {
		return fmt.Errorf("shutting the file system down: %w", no)
	}
	return nil
}

func (d *mounted) replace() error { return errors.Join(d.unmount(), d.mount()) }

// faultDisk names, in the environment of a node's process, the file that says what is wrong with its disk.
const faultDisk = "TURNOUT_STORY_DISK"

// injected is a node that runs in this test's own program, with a file system that does what the file at mode says.
type injected struct{ mode string }

func injectDisk(n *node) disk {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	d := injected{filepath.Join(n.dir, "disk-mode")}
	n.instead = func() *exec.Cmd {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), faultDisk+"="+d.mode, faultConfig+"="+filepath.Join(n.dir, "turnout.yaml"))
		return cmd
	}
	return d
}

func (d injected) String() string { return "a file system within the process" }

// set replaces the file in one step: a process reads it at every write.
func (d injected) set(mode string) error {
	return errors.Join(os.WriteFile(d.mode+".new", []byte(mode), 0o600), os.Rename(d.mode+".new", d.mode))
}

func (d injected) freeze() error  { return d.set("frozen") }
func (d injected) thaw() error    { return d.set("") }
func (d injected) fill() error    { return d.set("full") }
func (d injected) free() error    { return d.set("") }
func (d injected) die() error     { return d.set("dead") }
func (d injected) replace() error { return d.set("") }

// badDisk is the file system of the process of an injected disk.
type badDisk struct {
	vfs.FS
	mode string
}

func newBadDisk(mode string) vfs.FS {
	d := &badDisk{mode: mode}
	d.FS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(d.fault))
	return d
}

func (d *badDisk) now() string {
	b, err := os.ReadFile(d.mode)
	if err != nil {
		return ""
	}
	return string(b)
}

func (d *badDisk) fault(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
		return nil
	}
	for d.now() == "frozen" {
		time.Sleep(5 * time.Millisecond)
	}
	grows := op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileWriteAt || op.Kind == errorfs.OpFilePreallocate
	switch mode := d.now(); {
	case mode == "dead":
		return &os.PathError{Op: "write", Path: op.Path, Err: syscall.EIO}
	case mode == "full" && grows:
		return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
	}
	return nil
}

func (d *badDisk) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	if d.now() == "full" {
		return vfs.DiskUsage{}, nil
	}
	return d.FS.GetDiskUsage(path)
}

// A disk that is slow, full or broken, under the store of a process: the customer waits, or is told in a way that can be
// read, and what was acknowledged is there. Nobody but a supervisor has to do anything.
func TestBadDisks(t *testing.T) {
	for name, under := range map[string]func(*node) disk{"this machine's": newDisk, "injected": injectDisk} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, newTestBot(t).URL, 5*time.Second)
			d := under(n)
			t.Logf("the disk is %s", d)
			n.start()
			ctx := longCtx(t, 3*time.Minute)
			p := newProber(t, ctx, n, "ana")

			if err := d.freeze(); err != nil {
				t.Fatal(err)
			}
			acked := make(chan time.Time, 1)
			go func() {
				p.talk(ctx)
				acked <- time.Now()
			}()
			pause(ctx, 300*time.Millisecond)
			thawed := time.Now()
			if err := d.thaw(); err != nil {
				t.Fatal(err)
			}
			if at := <-acked; at.Before(thawed) {
				t.Errorf("acknowledged %s before the disk could be written", thawed.Sub(at))
			}

			if err := d.fill(); err != nil {
				t.Fatal(err)
			}
			p.refused(ctx)
			if err := d.free(); err != nil {
				t.Fatal(err)
			}
			p.talk(ctx)

			if err := d.die(); err != nil {
				t.Fatal(err)
			}
			supervised(ctx, n, d, p)
			p.talk(ctx)
			p.check(ctx)
			n.kill()
		})
	}
}

// fatalExit is how a process ends that must not trust its disk any more.
const fatalExit = 70

// supervised is what the supervisor of a process does whose disk has died: it waits for its end and starts another. What is
// written until then is not acknowledged.
func supervised(ctx context.Context, n *node, d disk, p *prober) {
	n.t.Helper()
	attempt, cancel := context.WithCancel(ctx)
	defer cancel()
	said := make(chan struct{})
	go func() {
		defer close(said)
		if _, err := p.web.say(attempt, "dead-disk", "to a dead disk"); err != nil {
			n.t.Errorf("a message to a dead disk: %v", err)
		}
	}()
	select {
	case <-n.done:
	case <-ctx.Done():
		n.t.Fatal("the process goes on with a disk that does not take anything")
	}
	if code := n.cmd.ProcessState.ExitCode(); code != fatalExit {
		n.t.Errorf("the process ended with %d, want %d", code, fatalExit)
	}
	n.cmd = nil
	if err := d.replace(); err != nil {
		n.t.Fatal(err)
	}
	n.start()
	select {
	case <-said:
	case <-ctx.Done():
		n.t.Fatal("a message was not accepted by the next process")
	}
	p.said["dead-disk"] = "to a dead disk"
}

// prober is a customer who has a person before them, and that person: what they say shows whether a node can write.
type prober struct {
	customer
	web   *client
	agent *client
	path  string // of the conversation, to the agent
	n     int
	t     *testing.T
}

func newProber(t *testing.T, ctx context.Context, n *node, agent string) *prober {
	t.Helper()
	web := n.visitor(ctx)
	p := &prober{t: t, web: web, customer: customer{client: web, said: map[string]string{"agent": "agent"}}, agent: n.agent(agent)}
	a, err := web.say(ctx, "agent", "agent")
	if err != nil {
		t.Fatal(err)
	}
	p.path = "/v1/agent/conversations/" + a.Conversation
	waitFor(t, ctx, func() bool {
		var ok struct{}
		if err := p.agent.do(ctx, "/v1/agent/presence", "", map[string]any{}, &ok); err != nil {
			t.Fatal(err)
		}
		return p.agent.do(ctx, p.path+"/claim", "probe", map[string]any{}, &ok) == nil
	})
	return p
}

// talk lets both say something, as soon as that can be written.
func (p *prober) talk(ctx context.Context) {
	p.n++
	id := fmt.Sprint("probe-", p.n)
	if _, err := p.web.say(ctx, id, "probe "+id); err != nil {
		p.t.Errorf("the customer's %s: %v", id, err)
		return
	}
	p.said[id] = "probe " + id
	var ok struct{}
	if err := p.agent.do(ctx, p.path+"/reply", id, map[string]any{"text": "reply " + id}, &ok); err != nil {
		p.t.Errorf("the agent's %s: %v", id, err)
	}
}

// refused waits until nothing can be written any more, and then looks that all say so in the same way: 503, to be read by a
// program, with a time to come back.
func (p *prober) refused(ctx context.Context) {
	p.t.Helper()
	waitFor(p.t, ctx, func() bool {
		p.n++
		id := fmt.Sprint("probe-", p.n)
		var a answer
		err := p.web.once(ctx, "/v1/web/shop.web/messages", "", map[string]any{"id": id, "text": "probe " + id}, &a)
		if err == nil {
			p.said[id] = "probe " + id
			return false
		}
		return full503(err) == ""
	})
	// These do not repeat what the customer has just done: a write that was refused has not been done.
	for what, try := range map[string]func() error{
		"the customer": func() error {
			return p.web.once(ctx, "/v1/web/shop.web/messages", "", map[string]any{"id": "probe-refused", "text": "never"}, &answer{})
		},
		"the agent": func() error {
			return p.agent.once(ctx, p.path+"/reply", fmt.Sprint("refused-", p.n), map[string]any{"text": "never"}, &struct{}{})
		},
		"a note": func() error {
			return p.agent.once(ctx, p.path+"/note", fmt.Sprint("note-", p.n), map[string]any{"text": "never"}, &struct{}{})
		},
	} {
		if why := full503(try()); why != "" {
			p.t.Errorf("on a full disk %s: %s", what, why)
		}
	}
}

// full503 says what is wrong with the answer to a write that cannot be done; "" if nothing is.
func full503(err error) string {
	var refused *errStatus
	switch {
	case !errors.As(err, &refused):
		return fmt.Sprintf("%v, want status 503", err)
	case refused.status != http.StatusServiceUnavailable || !strings.Contains(refused.body, `"store_unavailable"`):
		return fmt.Sprintf("%v, want 503 store_unavailable", err)
	}
	return refused.unreadable()
}

// check holds what both said against what is there.
func (p *prober) check(ctx context.Context) {
	p.t.Helper()
	log, err := p.whole(ctx, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	_, faults := judgeLog(p.said, log)
	for _, v := range log {
		if text(v) == "never" {
			faults = append(faults, fmt.Sprintf("event %d was refused, and is there", v.VSeq))
		}
	}
	for _, what := range faults {
		p.t.Errorf("the prober: %s", what)
	}
}
