// Package client calls the API of administration: over the operator's socket of a node on this machine, or over HTTP with
// an API key.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"turnout/adapters"
	"turnout/gateway/api/local"
)

// Client calls one node. It is safe for concurrent use.
type Client struct {
	http   *http.Client
	base   string
	tenant string
	key    adapters.Secret
}

// maxAnswer is the longest JSON answer that is read.
const maxAnswer = 64 << 20

// Socket returns a client of the node that serves the socket at file. tenant is the tenant that calls are about; "" will
// do for a node with one.
func Socket(file, tenant string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return local.Dial(ctx, file) }
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, ExpectContinueTimeout: asked}}, base: "http://node", tenant: tenant}
}

// Remote returns a client of the node at a URL such as "https://chat.example.com", with an API key. A key is not sent over
// plain HTTP to another machine, and not to where an answer redirects to.
func Remote(server string, key adapters.Secret) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the server is a URL such as https://chat.example.com")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, errors.New("a key is not sent over plain HTTP to another machine; use https")
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		http: &http.Client{CheckRedirect: stay, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ExpectContinueTimeout: asked}},
		base: strings.TrimSuffix(server, "/"), key: key,
	}, nil
}

// asksFirst is the size from which a body is only sent when the node wants it, or has said nothing for the time asked.
const (
	asksFirst = 64 << 10
	asked     = 5 * time.Second
)

// ErrNoNode says that nothing listens where a node would.
var ErrNoNode = errors.New("no node answers")

// Problem is a request that the node refused.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	// Body is the whole document: some codes add fields.
	Body []byte `json:"-"`
}

func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	return fmt.Sprintf("%s (%d %s)", text, p.Status, p.Code)
}

// Do sends a request: body as JSON unless it is nil, and decodes the answer into answer unless that is nil. path begins
// with "/v1/admin/"; ids in it are escaped with url.PathEscape by the caller. The error is a *Problem when the node
// refused. headers are pairs of a name and a value.
func (c *Client) Do(ctx context.Context, method, path string, body, answer any, headers ...string) error {
	res, err := c.send(ctx, method, path, body, headers)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading the answer: %w", err)
	case len(b) > maxAnswer:
		return fmt.Errorf("reading the answer: it is longer than %d bytes", maxAnswer)
	case answer == nil || len(b) == 0:
		return nil
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return fmt.Errorf("decoding the answer: %w", err)
	}
	return nil
}

// Stream sends a request like Do and returns the answer's body, which the caller closes.
func (c *Client) Stream(ctx context.Context, method, path string, body any, headers ...string) (io.ReadCloser, error) {
	res, err := c.send(ctx, method, path, body, headers)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

func (c *Client) send(ctx context.Context, method, path string, body any, headers []string) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, in)
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if req.ContentLength > asksFirst {
		req.Header.Set("Expect", "100-continue") // a refusal comes before the body, not as a broken connection in it
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if c.tenant != "" {
		req.Header.Set("Turnout-Tenant", c.tenant)
	}
	if !c.key.Empty() {
		req.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreached(err)
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, problemOf(res)
}

// unreached says what to do about a node that does not answer.
func (c *Client) unreached(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (is it running?): %w", ErrNoNode, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the socket is for the user that the node runs as; use sudo -u: %w", err)
	}
	return fmt.Errorf("calling the node: %w", err)
}

// problemOf reads what an answer that is no success says.
func problemOf(res *http.Response) error {
	p := &Problem{Status: res.StatusCode, Title: http.StatusText(res.StatusCode)}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || kind != "application/problem+json" || json.Unmarshal(b, p) != nil || p.Code == "" {
		return fmt.Errorf("the server answered %s, and not as a node does", res.Status)
	}
	p.Body = b
	if after := res.Header.Get("Retry-After"); after != "" {
		if s, err := time.ParseDuration(after + "s"); err == nil {
			p.Detail += " Try again in " + s.String() + "."
		}
	}
	return p
}
