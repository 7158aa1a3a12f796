package callback

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"turnout/adapters"
	"turnout/adapters/hook"
	"turnout/adapters/message"
	"turnout/adapters/netguard"
)

// ownOutbound is what the app's server gets.
type ownOutbound struct {
	V       int          `json:"v"` // 1
	ID      string       `json:"id"`
	Channel string       `json:"channel"`
	To      string       `json:"to"`
	Thread  string       `json:"thread,omitempty"`
	By      message.By   `json:"by"`
	Message message.Part `json:"message"`
	Attempt int          `json:"attempt"`
	Retry   bool         `json:"retry,omitempty"`
}

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// Send implements adapters.Sender: one POST, no redirects. Any 2xx means that the app's server has taken the message.
func (c *Channel) Send(ctx context.Context, out message.Outbound) (message.Receipt, error) {
	if !c.enter() {
		return message.Receipt{}, &adapters.SendError{Code: "closed", Class: adapters.SendRetry}
	}
	defer c.sending.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	body, err := json.Marshal(ownOutbound{
		V: 1, ID: out.ID, Channel: out.To.Channel, To: out.To.Address, Thread: out.To.Thread, By: out.By, Message: out.Part,
		Attempt: max(out.Attempt, 1), Retry: out.Retry,
	})
	if err != nil {
		return message.Receipt{}, &adapters.SendError{Code: "encoding", Err: errors.New("the message cannot be written as JSON")}
	}
	var wrote atomic.Bool
	trace := &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, c.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return message.Receipt{}, &adapters.SendError{Code: "url", Class: adapters.SendOperator, Err: errors.New("the URL cannot be used")}
	}
	c.fill(req, &out, body)
	resp, err := c.client.Do(req)
	if err != nil {
		return message.Receipt{}, classify(ctx, err, wrote.Load())
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if resp.StatusCode/100 == 2 {
		// Taken, whatever comes after the status.
		if err != nil || len(answer) > maxAnswer {
			answer = nil
		}
		return message.Receipt{ProviderID: providerID(answer)}, nil
	}
	return message.Receipt{}, refused(resp.StatusCode, resp.Header.Get("Retry-After"), c.deps.Now())
}

func (c *Channel) fill(req *http.Request, out *message.Outbound, body []byte) {
	h := req.Header
	for _, x := range c.headers {
		h.Set(x.Name, x.Value)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json")
	h.Set("User-Agent", "turnout")
	// In its usual spelling this header makes net/http repeat a request on a connection that broke after it was sent.
	h["idempotency-key"] = []string{out.ID}
	h.Set("X-Turnout-Attempt", strconv.Itoa(max(out.Attempt, 1)))
	if out.Retry {
		h.Set("X-Turnout-Retry", "true")
	}
	if c.out != nil {
		timestamp := strconv.FormatInt(c.deps.Now().Unix(), 10)
		h.Set(hook.HeaderTimestamp, timestamp)
		h.Set(hook.HeaderSignature, hook.Sign(c.out, timestamp, body))
	}
}

// providerID reads the app's own id of the message from an answer; an answer without one is as good.
func providerID(answer []byte) string {
	var a struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(answer, &a) != nil || !visibleASCII(a.ID, maxIDChars) {
		return ""
	}
	return a.ID
}

// classify says what a call that got no answer means. wrote is set when the request may have been on the wire. The texts
// of the client's errors hold the URL, so none is kept.
func classify(ctx context.Context, err error, wrote bool) *adapters.SendError {
	var dial *dialError
	switch {
	case errors.Is(err, netguard.ErrDenied):
		return &adapters.SendError{Code: "address_denied", Class: adapters.SendOperator, Err: netguard.ErrDenied}
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return &adapters.SendError{Code: "tls", Class: adapters.SendOperator, Err: errors.New("the certificate is not valid")}
	case errors.As(err, &dial), !wrote:
		code := "unreachable"
		if ctx.Err() != nil {
			code = "timeout"
		}
		return &adapters.SendError{Code: code, Class: adapters.SendRetry, Err: errors.New("no connection")}
	case ctx.Err() != nil:
		return &adapters.SendError{Code: "timeout", Class: adapters.SendRetry, Uncertain: true, Err: errors.New("no answer in time")}
	}
	return &adapters.SendError{Code: "broken", Class: adapters.SendRetry, Uncertain: true, Err: errors.New("the connection broke before an answer")}
}

// refused says what a status that is no success means.
func refused(status int, retryAfter string, now time.Time) *adapters.SendError {
	e := &adapters.SendError{Code: strconv.Itoa(status), Class: adapters.SendPermanent}
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable, status == http.StatusTooEarly,
		status == http.StatusRequestTimeout:
		e.Class, e.RetryAfter = adapters.SendRetry, hook.RetryAfter(retryAfter, now)
		e.Channel = e.RetryAfter > 0
	case status >= 500: // a proxy may have passed it on, a server may have failed after it took it
		e.Class, e.Uncertain, e.RetryAfter = adapters.SendRetry, true, hook.RetryAfter(retryAfter, now)
	case status == http.StatusConflict:
		e.Class, e.Code = adapters.SendWindow, "window_closed"
	case status < 400, status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		status == http.StatusMethodNotAllowed, status == http.StatusProxyAuthRequired:
		e.Class = adapters.SendOperator
	}
	return e
}
