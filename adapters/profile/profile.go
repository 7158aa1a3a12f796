// Package profile asks a tenant's own system over HTTP who a customer is to it: the state of the account, and what the
// customer wanted before.
//
// It asks by what a channel verified: the subject, mail address and phone number of a profile, which exist only where a
// channel proved them (a signed identity, the signed word of an app's server). One Look is one request: nothing is retried,
// no redirect is followed, and every connection goes through the guarded dialer, so that neither a redirect nor a name that
// resolves to something else leads to an address of the operator's own.
package profile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"turnout/adapters"
	"turnout/adapters/hook"
	"turnout/adapters/message"
	"turnout/adapters/netguard"
	"turnout/rules/safeexpr"
)

const (
	// idleConn is shorter than what common servers keep an idle connection for.
	idleConn = 1500 * time.Millisecond
	// maxHeader bounds the header of an answer.
	maxHeader = 32 << 10
	// maxIdentity is the most bytes of an identity that is asked by.
	maxIdentity = 320
)

// Directory is one system behind a URL. It is safe for concurrent use.
type Directory struct {
	cfg     Config
	to      *template
	headers []hook.Header
	request []requestField
	answer  mapping
	now     func() time.Time
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	client  *http.Client
	life    context.Context
	end     context.CancelFunc
}

type requestField struct {
	name    string
	program *safeexpr.Program
}

var (
	_ adapters.Directory = (*Directory)(nil)
	_ adapters.Reacher   = (*Directory)(nil)
)

// New builds a directory from its section. It opens no connection. Errors name the field.
func New(spec adapters.Spec, d adapters.Deps) (adapters.Directory, error) {
	var cfg Config
	if err := spec.Decode(&cfg); err != nil {
		return nil, fmt.Errorf("decoding profile: %w", err)
	}
	to, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("checking profile: %w", err)
	}
	dir := &Directory{cfg: cfg, to: to, now: d.Now, dial: d.Dial}
	if dir.headers, err = hook.Headers(cfg.Headers, d.Secret, "accept"); err != nil {
		return nil, fmt.Errorf("checking profile: %w", err)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(cfg.Request)) {
		p, err := safeexpr.Compile(cfg.Request[name], requestEnv(&message.Profile{}), safeexpr.Options{})
		if err != nil {
			errs = append(errs, fmt.Errorf("request.%s: %w", name, err))
		}
		dir.request = append(dir.request, requestField{name: name, program: p})
	}
	dir.answer, err = newMapping(&cfg)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("compiling profile: %w", err)
	}
	dir.life, dir.end = context.WithCancel(context.Background())
	dir.client = &http.Client{
		Transport: &http.Transport{
			DialContext: d.Dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			MaxConnsPerHost: cfg.MaxConns, MaxIdleConnsPerHost: cfg.MaxConns, IdleConnTimeout: idleConn,
			MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return dir, nil
}

// Close implements adapters.Directory.
func (d *Directory) Close() error {
	d.end()
	d.client.CloseIdleConnections()
	return nil
}

// question is what is sent.
type question struct {
	url  string
	body []byte // nil for a GET
}

// Asks implements adapters.Directory. The question is a digest: it can be kept beside what was answered without keeping
// whom it was about.
func (d *Directory) Asks(p *message.Profile) (string, bool) {
	q, ok := d.question(p)
	if !ok {
		return "", false
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d %s\n%d %s\n", len(q.url), q.url, len(p.Subject), p.Subject)
	h.Write(q.body)
	return string(h.Sum(nil)), true
}

// question makes what is sent of a profile; false when the profile lacks what is asked by, or when what it has cannot stand
// where it would have to.
func (d *Directory) question(p *message.Profile) (q question, ok bool) {
	if p == nil || p.Subject == "" {
		return q, false
	}
	path, ok := fillIn(d.to.path, p, inPath)
	if !ok {
		return q, false
	}
	query, ok := fillIn(d.to.query, p, inQuery)
	if !ok {
		return q, false
	}
	u := *d.to.url
	u.RawQuery = query
	var err error
	if u.Path, err = url.PathUnescape(path); err != nil {
		return q, false
	}
	u.RawPath = path
	q.url = u.String()
	if d.cfg.Method == http.MethodGet {
		return q, true
	}
	body := map[string]any{}
	env := requestEnv(p)
	for _, f := range d.request {
		v, err := f.program.Eval(env)
		if err != nil {
			return q, false
		}
		body[f.name] = v
	}
	if q.body, err = json.Marshal(body); err != nil {
		return q, false
	}
	return q, true
}

// requestEnv is what the expressions of a request see.
func requestEnv(p *message.Profile) map[string]any {
	fields := p.Fields
	if fields == nil {
		fields = map[string]any{}
	}
	return map[string]any{
		"subject": p.Subject, "email": p.Email, "phone": p.Phone, "name": p.Name, "level": p.Level, "fields": fields,
	}
}

func fillIn(pieces []piece, p *message.Profile, escape func(string) (string, bool)) (string, bool) {
	var b strings.Builder
	for _, piece := range pieces {
		if piece.hole == "" {
			b.WriteString(piece.text)
			continue
		}
		v := map[string]string{"subject": p.Subject, "email": p.Email, "phone": p.Phone}[piece.hole]
		if v == "" || len(v) > maxIdentity || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", false
		}
		v, ok := escape(v)
		if !ok {
			return "", false
		}
		b.WriteString(v)
	}
	return b.String(), true
}

// inPath escapes an identity for a path. What would end its segment, or walk to another, is not asked by: some servers take
// an escaped slash for a slash.
func inPath(v string) (string, bool) {
	if strings.ContainsAny(v, `/\`) || strings.Trim(v, ".") == "" {
		return "", false
	}
	return url.PathEscape(v), true
}

func inQuery(v string) (string, bool) { return url.QueryEscape(v), true }

// Look implements adapters.Directory.
func (d *Directory) Look(ctx context.Context, p *message.Profile) (message.Account, error) {
	q, ok := d.question(p)
	if !ok {
		return message.Account{}, garbage("the profile has not what the directory is asked by")
	}
	if d.life.Err() != nil { // AfterFunc cancels in its own time
		return message.Account{}, &adapters.LookError{Kind: adapters.LookUnreachable, Err: errors.New("the directory is closed")}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(d.life, cancel)
	defer stop()
	body, status, err := d.ask(ctx, q)
	if err != nil {
		return message.Account{}, err
	}
	a, err := d.answer.account(body, status)
	if err != nil {
		return message.Account{}, err
	}
	a.Subject, a.At = p.Subject, d.now().UTC().Truncate(time.Millisecond)
	return a, nil
}

// ask sends one request. A nil body is the answer that there is no such customer.
func (d *Directory) ask(ctx context.Context, q question) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, d.cfg.Method, q.url, bytes.NewReader(q.body))
	if err != nil {
		return nil, 0, garbage("the request cannot be made")
	}
	for _, h := range d.headers {
		req.Header.Set(h.Name, h.Value)
	}
	req.Header.Set("Accept", "application/json")
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "turnout")
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, 0, classify(ctx, err)
	}
	defer resp.Body.Close()
	switch status := resp.StatusCode; {
	case status == http.StatusNotFound, status == http.StatusNoContent:
		return nil, status, nil
	case status < 200 || status > 299:
		return nil, 0, &adapters.LookError{Kind: adapters.LookStatus, Status: status}
	case resp.Header.Get("Content-Encoding") != "":
		return nil, 0, garbage("the response is compressed, which was not asked for")
	case !isJSON(resp.Header.Get("Content-Type")):
		return nil, 0, garbage("the response is not JSON")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(d.cfg.MaxResponse)+1))
	switch {
	case len(body) > d.cfg.MaxResponse:
		return nil, 0, &adapters.LookError{Kind: adapters.LookTooLarge, Err: errors.New("the response is larger than max_response")}
	case err != nil:
		return nil, 0, classify(ctx, err)
	case len(body) == 0:
		return nil, 0, garbage("the response is empty")
	}
	return body, resp.StatusCode, nil
}

// isJSON takes JSON under any of its names, and a server that says nothing at its word.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json"))
}

// classify says how a request failed. The texts of the client's errors hold the URL, and with it whom it was about: none
// of them is kept.
func classify(ctx context.Context, err error) *adapters.LookError {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, netguard.ErrDenied):
		return &adapters.LookError{Kind: adapters.LookRefused, Err: netguard.ErrDenied}
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return &adapters.LookError{Kind: adapters.LookTimeout, Err: errors.New("no whole answer in time")}
	}
	return &adapters.LookError{Kind: adapters.LookUnreachable, Err: errors.New("no connection, or it broke")}
}

func garbage(what string) *adapters.LookError {
	return &adapters.LookError{Kind: adapters.LookGarbage, Err: errors.New(what)}
}

// Reach implements adapters.Reacher: the server is there and, if the section names a customer to try it with, answers in a
// way that the mapping reads.
func (d *Directory) Reach(ctx context.Context) error {
	addr := d.to.url.Host
	if d.to.url.Port() == "" {
		addr = net.JoinHostPort(d.to.url.Hostname(), map[bool]string{false: "80", true: "443"}[d.to.url.Scheme == "https"])
	}
	conn, err := d.dial(ctx, "tcp", addr)
	switch {
	case errors.Is(err, netguard.ErrDenied):
		return fmt.Errorf("url: the address is private or reserved; if the system is really there, add its network to limits.allow_networks: %w", netguard.ErrDenied)
	case err != nil:
		return fmt.Errorf("url: the server cannot be reached: %w", err)
	}
	conn.Close()
	if d.cfg.Probe == "" {
		return nil
	}
	p := &message.Profile{Subject: d.cfg.Probe, Email: d.cfg.Probe, Phone: d.cfg.Probe}
	if _, err := d.Look(ctx, p); err != nil {
		return fmt.Errorf("probe: the server is there, but asking it for this customer fails: %w", err)
	}
	return nil
}
