package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	startTime = time.Minute
	stopTime  = 10 * time.Second
)

// process is a child. It gets its standard input from a pipe whose other end is held here, and its standard error goes
// to a file.
type process struct {
	name  string
	log   string // the file
	cmd   *exec.Cmd
	stdin io.Closer
	line  chan string   // the first line of its standard output
	ended chan struct{} // closed when it has ended
}

func startProcess(name, log, program string, args ...string) (_ *process, err error) {
	p := &process{name: name, log: log, line: make(chan string, 1), ended: make(chan struct{})}
	file, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer file.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Stderr = file
	p.cmd.SysProcAttr = childAttributes()
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		r := bufio.NewReader(out)
		if line, err := r.ReadString('\n'); err == nil {
			p.line <- line
		}
		// All of the output must be read before Wait. What is not read here is of no interest.
		_, _ = io.Copy(io.Discard, r)
		_ = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// firstLine waits until the process says where it listens.
func (p *process) firstLine(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	select {
	case line := <-p.line:
		return line, nil
	case <-p.ended:
		return "", p.failed()
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for %s: %w", p.name, ctx.Err())
	}
}

// failed tells what the process said before it ended.
func (p *process) failed() error {
	const most = 2000
	said, err := os.ReadFile(p.log)
	if err != nil {
		said = []byte("(its log cannot be read)")
	}
	if len(said) > most {
		said = said[len(said)-most:]
	}
	return fmt.Errorf("%s has ended:\n%s", p.name, said)
}

// stop asks the process to end, and makes it after a while.
func (p *process) stop() {
	p.stdin.Close()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.kill()
		return
	}
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.kill()
	}
}

// kill ends the process as a power cut would, as far as the process can tell.
func (p *process) kill() {
	p.stdin.Close()
	// An error means that it has ended already.
	_ = p.cmd.Process.Kill()
	<-p.ended
}
