// Package demo is what `turnout serve` runs without a configuration: a sample shop with the chat on it, a bot that knows
// three things, rules, queues and two people who sign in with passwords that work once. All of it is on loopback.
//
// The demo is an ordinary node. Open lays out an ordinary configuration in a folder and returns what the node does not
// have of itself: the shop's pages, the one-time passwords, and the bot, a server of its own that the webhook adapter
// calls like any other. Nothing else of the program knows that it is a demo.
//
//	FOLDER/shop.yaml, rules.yaml       written if they are not there: they belong to whoever tries the demo
//	FOLDER/turnout.yaml, node.yaml     written at each start, because they hold addresses
//	FOLDER/data                        the store and the keys, which are made at the first start
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"turnout/adapters"
	"turnout/gateway/api"
)

// Folder is where the demo is if nobody says otherwise, in the working directory.
const Folder = "turnout-demo"

// firstPort is the one that the demo has if it is free.
const firstPort = 8080

// Options say where a demo is. Rand is required.
type Options struct {
	// Dir is the folder of the demo. It is made if it is not there.
	Dir string
	// Listen is the address of shop, chat and console, a loopback one. Empty: the port of last time or else 8080, or the
	// next one that is free.
	Listen string
	Rand   io.Reader
}

// Demo is a laid-out demo whose bot answers. Close ends it.
type Demo struct {
	dir    string
	lock   io.Closer
	listen string
	ops    string
	bot    *http.Server
	ended  chan struct{} // closed when the bot no longer serves
	people []person
}

// Open makes the demo ready: a node that is given Config, OneTime and Routes is the demo. Errors say what to do: the folder
// is another process's or is no demo's, the address is taken or is not loopback.
func Open(o Options) (_ *Demo, err error) {
	d := &Demo{dir: o.Dir, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	was, err := d.take()
	if err != nil {
		return nil, err
	}
	bot, err := d.addresses(o.Listen, was)
	if err != nil {
		return nil, err
	}
	d.serve(bot)
	if err := d.makeKeys(o.Rand); err != nil {
		return nil, err
	}
	if d.people, err = passwords(o.Rand); err != nil {
		return nil, err
	}
	if err := d.layOut(bot.Addr().String()); err != nil {
		return nil, err
	}
	return d, nil
}

// Config is the settings file of the node.
func (d *Demo) Config() string { return filepath.Join(d.dir, settingsFile) }

// OneTime are the passwords of the people, new in each Demo.
func (d *Demo) OneTime() (out []api.OneTime) {
	for _, p := range d.people {
		out = append(out, p.oneTime())
	}
	return out
}

// Routes are the pages of the shop.
func (d *Demo) Routes() []adapters.Route { return shopRoutes() }

// Close ends the bot and gives the folder free. The node has ended before.
func (d *Demo) Close() error {
	var err error
	if d.bot != nil {
		err = d.bot.Close()
		<-d.ended
	}
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

// serve lets the bot answer.
func (d *Demo) serve(ln net.Listener) {
	d.bot = &http.Server{Handler: bot{}, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		defer close(d.ended)
		_ = d.bot.Serve(ln) // ends with Close
	}()
}

// addresses decides where everything listens. The bot's listener is open on return; was is where the demo listened last
// time: the chat of a browser is tied to it.
func (d *Demo) addresses(listen, was string) (bot net.Listener, err error) {
	if listen != "" {
		if d.listen, err = loopback(listen); err != nil {
			return nil, err
		}
	} else if d.listen, err = free(was, firstPort); err != nil {
		return nil, err
	}
	taken := map[string]bool{d.listen: true}
	if d.ops, err = free("", firstPort+1, taken); err != nil {
		return nil, err
	}
	taken[d.ops] = true
	for port := firstPort + 2; port < firstPort+tries; port++ {
		address := localhost(port)
		if taken[address] {
			continue
		}
		if bot, err = new(net.ListenConfig).Listen(context.Background(), "tcp", address); err == nil {
			return bot, nil
		}
	}
	return nil, fmt.Errorf("opening a listener for the demo's bot: %w", err)
}

// tries is how many ports are looked at.
const tries = 100

func localhost(port int) string { return net.JoinHostPort("127.0.0.1", fmt.Sprint(port)) }

// free returns first if nobody listens there, or else the first free loopback address from a port on.
func free(first string, port int, but ...map[string]bool) (address string, err error) {
	candidates := []string{first}
	for i := range tries {
		candidates = append(candidates, localhost(port+i))
	}
	for _, address := range candidates {
		if address == "" || len(but) > 0 && but[0][address] {
			continue
		}
		var ln net.Listener
		if ln, err = net.Listen("tcp", address); err == nil {
			return address, ln.Close()
		}
	}
	return "", fmt.Errorf("all of %d ports from %d on are taken; name a free one with --listen 127.0.0.1:PORT: %w", tries, port, err)
}

// loopback checks an address that somebody asked for: it is this machine's alone, and nobody listens there. Port 0 is
// replaced by a free one.
func loopback(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("--listen %s: want an address and a port, such as 127.0.0.1:8080", listen)
	}
	ip := net.ParseIP(host)
	if host == "localhost" {
		ip = net.IPv4(127, 0, 0, 1)
	}
	if ip == nil || !ip.IsLoopback() {
		return "", fmt.Errorf("--listen %s: the demo is for this machine alone; use 127.0.0.1:PORT. What others are to reach needs a configuration: see deploy/README.md", listen)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(ip.String(), port))
	if err != nil {
		return "", fmt.Errorf("--listen %s: another program has this port; end it, or name another port: %w", listen, err)
	}
	return ln.Addr().String(), ln.Close()
}
