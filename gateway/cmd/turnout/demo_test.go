package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// demoProcess is `turnout serve` and what it printed.
type demoProcess struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, log bytes.Buffer
	url      string
	password string
	done     chan struct{}
}

func serveDemo(t *testing.T, dir string) *demoProcess {
	t.Helper()
	p := &demoProcess{t: t, cmd: turnout(t, dir, "serve", "--debug"), done: make(chan struct{})}
	p.cmd.Stderr = &p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(io.TeeReader(out, &p.out))
	for lines.Scan() && !strings.Contains(lines.Text(), "Ctrl-C") {
	}
	go func() {
		defer close(p.done)
		for lines.Scan() {
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(p.kill)
	m := regexp.MustCompile(`(http://[\d.:]+)/console/ sign in as +robin +with +(\S+)`).FindStringSubmatch(p.out.String())
	if m == nil {
		p.kill()
		t.Fatalf("the demo does not say how to sign in:\n%s%s", p.out.String(), p.log.String())
	}
	p.url, p.password = m[1], m[2]
	return p
}

// kill is kill -9.
func (p *demoProcess) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *demoProcess) login(password string) int {
	p.t.Helper()
	res, err := http.Post(p.url+"/v1/agent/login", "application/json", strings.NewReader(fmt.Sprintf(`{"login":"robin","password":%q}`, password)))
	if err != nil {
		p.t.Fatal(err)
	}
	res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	return res.StatusCode
}

// The passwords of the demo: on standard output alone, for one sign-in, for one process.
func TestDemoPasswords(t *testing.T) {
	dir := t.TempDir()
	first := serveDemo(t, dir)
	if code := first.login(first.password); code != 200 {
		t.Errorf("the printed password: status %d", code)
	}
	if code := first.login(first.password); code != 401 {
		t.Errorf("a second time: status %d", code)
	}
	first.kill()
	second := serveDemo(t, dir)
	if second.password == first.password || second.login(first.password) != 401 {
		t.Error("the first start's password works in the second")
	}
	if code := second.login(second.password); code != 200 {
		t.Errorf("the second start's password: status %d", code)
	}
	second.kill()
	for _, p := range []*demoProcess{first, second} {
		if strings.Contains(p.log.String(), p.password) || p.log.Len() == 0 {
			t.Errorf("the log, at its most talkative, holds the password, or nothing:\n%s", p.log.String())
		}
		if n := strings.Count(p.out.String(), p.password); n != 1 {
			t.Errorf("standard output has the password %d times", n)
		}
	}
}

func TestDemoFlags(t *testing.T) {
	dir := layOut(t, nil)
	for says, args := range map[string][]string{
		"are for the demo":       {"serve", "--config", "turnout.yaml", "--folder", "x"},
		"for this machine alone": {"serve", "--folder", "x", "--listen", "0.0.0.0:80"},
		"holds something else":   {"serve", "--folder", "data"},
	} {
		if _, stderr, ok := run(t, dir, args...); ok || !strings.Contains(stderr, says) {
			t.Errorf("%v: %q, want %q", args, stderr, says)
		}
	}
}
