package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// start starts the bot and then every side, so that all are there, idle, while one is loaded.
func (b *bench) start(ctx context.Context) error {
	echo, bot, err := b.startPeer(ctx, kindEcho)
	if err != nil {
		return err
	}
	b.echo, b.bot = echo, bot
	for _, name := range b.Peers {
		s := &side{name: name}
		var p *process
		switch name {
		case Gateway:
			if err := writeGateway(b.dir, bot); err != nil {
				return err
			}
			p, s.addr, err = startGateway(ctx, b.Turnout, b.dir)
			b.gateway = p
		case Nginx:
			program, there := findNginx()
			if !there {
				b.leaveOut(Nginx, "it is not installed")
				continue
			}
			p, s.addr, err = b.startNginx(ctx, program, bot)
		default:
			p, s.addr, err = b.startPeer(ctx, name, bot, b.dir)
		}
		if err != nil {
			return fmt.Errorf("starting %s: %w", name, err)
		}
		b.keep(p)
		s.pid = p.pid()
		b.sides = append(b.sides, s)
	}
	if len(b.sides) == 0 {
		return errors.New("there is nothing to measure")
	}
	return nil
}

func (b *bench) leaveOut(name, reason string) {
	b.report.LeftOut = append(b.report.LeftOut, LeftOut{Name: name, Reason: reason})
	b.say("LEFT OUT: %s, because %s", name, reason)
}

func (b *bench) keep(p *process) {
	if !slices.Contains(b.processes, p) {
		b.processes = append(b.processes, p)
	}
}

// startPeer runs this program's own bot or proxy.
func (b *bench) startPeer(ctx context.Context, kind string, args ...string) (*process, string, error) {
	p, err := startProcess(kind, filepath.Join(b.dir, kind+".log"), b.Turnout, append([]string{"bench-peer", kind}, args...)...)
	if err != nil {
		return nil, "", err
	}
	b.keep(p)
	line, err := p.firstLine(ctx)
	if err != nil {
		return nil, "", err
	}
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), readyPrefix)
	if !ok {
		return nil, "", fmt.Errorf("%s does not say where it listens", kind)
	}
	return p, addr, nil
}

// startNginx runs nginx on a port that was free a moment ago: it cannot be given a listener, nor choose a port itself.
func (b *bench) startNginx(ctx context.Context, program, upstream string) (*process, string, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("finding a free port: %w", err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, "", fmt.Errorf("finding a free port: %w", err)
	}
	file := filepath.Join(b.dir, "nginx.conf")
	dir, err := filepath.Abs(b.dir)
	if err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(file, []byte(nginxConfig(dir, addr, upstream)), 0o600); err != nil {
		return nil, "", fmt.Errorf("writing nginx's configuration: %w", err)
	}
	p, err := startProcess(Nginx, filepath.Join(b.dir, "nginx.log"), program, "-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf"))
	if err != nil {
		return nil, "", err
	}
	b.keep(p)
	return p, addr, p.reachable(ctx, addr)
}

// reachable waits until somebody listens at addr.
func (p *process) reachable(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var d net.Dialer
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.ended:
			return p.failed()
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", p.name, ctx.Err())
		case <-retry.C:
		}
	}
}

// stop ends everything that was started, the last first.
func (b *bench) stop() {
	for _, p := range slices.Backward(b.processes) {
		p.stop()
	}
}
