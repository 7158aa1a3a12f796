package s3

import (
	"io"
	"net/http"
	"sync"
)

// settled is a transport that has let go of a request's body when its caller is through with the answer. A server may answer
// before it has read the body, and what carries it goes on reading then (net/http.RoundTripper); the client that repeats the
// request from its beginning has but one body for all attempts.
type settled struct{ http.RoundTripper }

func (s settled) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return s.RoundTripper.RoundTrip(r)
	}
	body := &lentBody{ReadCloser: r.Body, back: make(chan struct{})}
	r = r.Clone(r.Context())
	r.Body = body
	resp, err := s.RoundTripper.RoundTrip(r)
	if err != nil {
		body.wait(r)
		return nil, err
	}
	resp.Body = &lastBody{resp.Body, func() { body.wait(r) }}
	return resp, nil
}

// lentBody tells when nobody reads it any more.
type lentBody struct {
	io.ReadCloser
	once sync.Once
	back chan struct{}
}

func (b *lentBody) Close() error {
	defer b.once.Do(func() { close(b.back) })
	return b.ReadCloser.Close()
}

// wait returns when the body is back, which it is soon: the connection of an answer that came early is closed. Whose time is
// over does not repeat anything.
func (b *lentBody) wait(r *http.Request) {
	select {
	case <-b.back:
	case <-r.Context().Done():
	}
}

// lastBody does something after it is closed.
type lastBody struct {
	io.ReadCloser
	closed func()
}

func (b *lastBody) Close() error {
	defer b.closed()
	return b.ReadCloser.Close()
}
