package whatsapp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"turnout/adapters"
	"turnout/adapters/hook"
	"turnout/adapters/netguard"
	wire "turnout/adapters/wire/whatsapp"
)

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

var errTooLarge = errors.New("more than the limit")

// readAll reads at most most bytes; more is errTooLarge.
func readAll(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		return nil, errTooLarge
	}
	return b, err
}

// call posts JSON to an endpoint of the number and returns the answer's body. Any 2xx is a success. An error is a
// *adapters.SendError.
func (c *Channel) call(ctx context.Context, endpoint string, body []byte) ([]byte, error) {
	return c.post(ctx, endpoint, "application/json", bytes.NewReader(body), int64(len(body)))
}

func (c *Channel) post(ctx context.Context, endpoint, kind string, body io.Reader, size int64) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	var wrote atomic.Bool
	trace := &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }}
	url := c.cfg.Graph + "/" + c.cfg.Number + "/" + endpoint
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, url, body)
	if err != nil {
		return nil, &adapters.SendError{Code: "graph", Class: adapters.SendOperator, Err: errors.New("the address of the Graph API cannot be used")}
	}
	// net/http repeats a request by itself when it can read the body again.
	req.GetBody, req.ContentLength = nil, size
	req.Header.Set("Content-Type", kind)
	c.sign(req)
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, classify(ctx, err, wrote.Load())
	}
	defer resp.Body.Close()
	answer, err := readAll(resp.Body, maxAnswer)
	if resp.StatusCode/100 == 2 {
		if err != nil { // taken, whatever comes after the status
			return nil, nil
		}
		return answer, nil
	}
	return nil, refused(wire.DecodeError(resp.StatusCode, answer), resp.Header.Get("Retry-After"), c.deps.Now())
}

func (c *Channel) sign(req *http.Request) {
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "turnout")
}

// classify says what a call that got no answer means. wrote is set when the request may have been on the wire.
func classify(ctx context.Context, err error, wrote bool) *adapters.SendError {
	switch {
	case errors.Is(err, netguard.ErrDenied):
		return &adapters.SendError{Code: "address_denied", Class: adapters.SendOperator, Err: netguard.ErrDenied}
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return &adapters.SendError{Code: "tls", Class: adapters.SendOperator, Err: errors.New("the certificate is not valid")}
	case errors.As(err, new(*dialError)), !wrote:
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

// sendClasses are what the classes of the platform ask of the outbox.
var sendClasses = map[wire.Class]adapters.SendClass{
	wire.ClassRetry: adapters.SendRetry, wire.ClassPace: adapters.SendRetry, wire.ClassPair: adapters.SendRetry, wire.ClassWindow: adapters.SendWindow,
	wire.ClassRecipient: adapters.SendPermanent, wire.ClassContent: adapters.SendPermanent, wire.ClassAccount: adapters.SendOperator,
}

// paceRest is how long a number rests after it sent too much, where the platform does not say.
const paceRest = 5 * time.Second

// refused says what an answer that is no success means. The platform's own answers say that nothing was taken; a failure
// without them may be of something in between, after the platform has taken it.
func refused(e *wire.Error, retryAfter string, now time.Time) *adapters.SendError {
	class := e.Class()
	out := &adapters.SendError{Code: strconv.Itoa(e.Code), Class: sendClasses[class], RetryAfter: hook.RetryAfter(retryAfter, now)}
	if e.Code < 0 {
		out.Code = strconv.Itoa(e.Status)
		out.Uncertain = e.Status >= 500 && e.Status != http.StatusServiceUnavailable
	}
	switch class {
	case wire.ClassPace:
		out.Channel = true
		if out.RetryAfter == 0 {
			out.RetryAfter = paceRest
		}
	case wire.ClassPair:
		if out.RetryAfter == 0 {
			out.RetryAfter = wire.PairWait(1)
		}
	case wire.ClassRetry:
		out.Channel = out.RetryAfter > 0
	}
	return out
}
