package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fastjson"
)

// kindEcho is the bot behind every side.
const kindEcho = "echo"

// readyPrefix begins the line that a peer prints when it listens; the address follows.
const readyPrefix = "ready "

// upstreamConns is more than a side ever needs, so none has to wait for a connection to the bot.
const upstreamConns = 4096

// Peer is the process of a bot or proxy: kind is "echo", FastHTTP, Durable or NetHTTP, upstream the address that a proxy
// passes on to, dir the folder in which Durable keeps its journal. It listens on a free port of the loopback interface, writes "ready ADDRESS" to out and serves until ctx or in
// has ended: the one who started it holds the other end of in, so that no peer outlives its run.
func Peer(ctx context.Context, kind, upstream, dir string, in io.Reader, out io.Writer) error {
	serve, err := newPeer(kind, upstream, dir)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		// Nothing is ever sent; only the end matters.
		_, _ = io.Copy(io.Discard, in)
	}()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	if _, err := fmt.Fprintf(out, "%s%s\n", readyPrefix, listener.Addr()); err != nil {
		return errors.Join(fmt.Errorf("saying that the peer is ready: %w", err), listener.Close())
	}
	if err := serve(listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

func newPeer(kind, upstream, dir string) (func(net.Listener) error, error) {
	if kind != kindEcho && upstream == "" {
		return nil, errors.New("a proxy needs the address of its upstream")
	}
	switch kind {
	case kindEcho:
		return fasthttpServer(newEcho()).Serve, nil
	case FastHTTP:
		return fasthttpServer(newFastHTTPProxy(upstream)).Serve, nil
	case Durable:
		h, err := newDurableProxy(upstream, dir)
		if err != nil {
			return nil, err
		}
		return fasthttpServer(h).Serve, nil
	case NetHTTP:
		return (&http.Server{Handler: newNetHTTPProxy(upstream), ReadHeaderTimeout: time.Minute}).Serve, nil
	}
	return nil, fmt.Errorf("unknown kind of peer %q", kind)
}

func fasthttpServer(h fasthttp.RequestHandler) *fasthttp.Server {
	return &fasthttp.Server{
		Handler: h, NoDefaultServerHeader: true, NoDefaultDate: true, DisableHeaderNamesNormalizing: true,
	}
}

// newEcho answers what was said with replyBytes of JSON.
func newEcho() fasthttp.RequestHandler {
	var parsers fastjson.ParserPool
	return func(ctx *fasthttp.RequestCtx) {
		p := parsers.Get()
		defer parsers.Put(p)
		reply, err := echo(make([]byte, 0, 2*replyBytes), p, ctx.PostBody())
		if err != nil {
			ctx.Error(err.Error(), fasthttp.StatusBadRequest)
			return
		}
		ctx.Response.Header.SetContentType("application/json")
		ctx.Response.SetBodyRaw(reply)
	}
}

// newFastHTTPProxy passes requests on as they are: the least that a proxy in Go can do.
func newFastHTTPProxy(upstream string) fasthttp.RequestHandler {
	client := &fasthttp.HostClient{
		Addr: upstream, MaxConns: upstreamConns, NoDefaultUserAgentHeader: true,
		DisableHeaderNamesNormalizing: true, DisablePathNormalizing: true,
	}
	return func(ctx *fasthttp.RequestCtx) {
		if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
			ctx.Error("the upstream failed", fasthttp.StatusBadGateway)
		}
	}
}

func newNetHTTPProxy(upstream string) http.Handler {
	target := &url.URL{Scheme: "http", Host: upstream}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{
			MaxIdleConns: upstreamConns, MaxIdleConnsPerHost: upstreamConns, DisableCompression: true,
		},
		BufferPool: &bufferPool{sync.Pool{New: func() any { return new([copyBytes]byte) }}},
	}
}

// copyBytes is the size that ReverseProxy uses without a pool.
const copyBytes = 32 << 10

type bufferPool struct{ arrays sync.Pool }

func (p *bufferPool) Get() []byte { return p.arrays.Get().(*[copyBytes]byte)[:] }

func (p *bufferPool) Put(b []byte) { p.arrays.Put((*[copyBytes]byte)(b)) }
