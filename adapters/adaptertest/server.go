package adaptertest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"turnout/adapters"
	"turnout/adapters/problem"
)

// Server serves a channel on loopback, as the gateway would.
type Server struct {
	URL     string // "http://127.0.0.1:…"
	Channel adapters.Channel
	Client  *http.Client
	stop    func()
}

// Serve builds nothing and mounts the channel's routes. It is stopped at the end of the test, or with Stop.
func Serve(t testing.TB, ch adapters.Channel) *Server {
	t.Helper()
	r := router.New()
	bodies := map[string]int64{}
	for _, route := range ch.Routes() {
		r.Handle(route.Method, route.Path, poison(route.Handler))
		bodies[route.Path] = route.MaxBody
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &fasthttp.Server{
		Handler: r.Handler, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		MaxRequestBodySize: 256 << 10, NoDefaultServerHeader: true, Logger: silent{},
		DisablePreParseMultipartForm: true, KeepHijackedConns: true,
		ErrorHandler: func(ctx *fasthttp.RequestCtx, err error) {
			if errors.Is(err, fasthttp.ErrBodyTooLarge) {
				problem.Write(ctx, fasthttp.StatusRequestEntityTooLarge, problem.CodeTooLarge, "The body is too large.")
				return
			}
			problem.Write(ctx, fasthttp.StatusBadRequest, problem.CodeBadRequest, "The request is not valid HTTP.")
		},
		HeaderReceived: func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
			return fasthttp.RequestConfig{MaxRequestBodySize: int(bodies[string(h.RequestURI())])}
		},
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	transport := &http.Transport{}
	s := &Server{
		URL: "http://" + listener.Addr().String(), Channel: ch,
		Client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			_ = listener.Close()
			<-served
			if err := ch.Close(); err != nil {
				t.Errorf("closing the channel: %v", err)
			}
			transport.CloseIdleConnections()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = server.ShutdownWithContext(ctx)
		})
	}
	t.Cleanup(s.stop)
	return s
}

// Stop ends the server the way the gateway does: no more connections, then the channel's Close.
func (s *Server) Stop() { s.stop() }

// Do sends a request and returns the response with its whole body.
func (s *Server) Do(t testing.TB, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	resp, err := s.Client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the body: %v", req.Method, req.URL.Path, err)
	}
	return resp, body
}

// poison overwrites the request's buffers once the handler is done with them: what the handler kept without copying
// becomes visibly wrong.
func poison(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		next(ctx)
		if ctx.Hijacked() {
			return
		}
		for _, b := range [][]byte{ctx.Request.Body(), ctx.Request.Header.Peek("Authorization"), ctx.QueryArgs().QueryString()} {
			for i := range b {
				b[i] = '#'
			}
		}
	}
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// VerifyNoLeak fails the test if goroutines are left that belong to neither the test nor a library's process-wide
// services.
func VerifyNoLeak(t testing.TB, before goleak.Option) {
	t.Helper()
	if err := goleak.Find(before, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// The janitors of a fasthttp server and of a client sleep out their intervals after the last connection is gone.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner")); err != nil {
		t.Errorf("goroutines are left: %v", err)
	}
}
