package live

import (
	"io"
	"net"
	"testing"
	"time"
)

// heard is a user that keeps what it hears.
type heard struct {
	Socket
	texts []string
	done  chan struct{}
}

func (h *heard) Receive(text []byte) { h.texts = append(h.texts, string(text)) }
func (h *heard) Work() time.Time     { return time.Time{} }
func (h *heard) Closed()             { close(h.done) }

// FuzzFrames: whatever a client sends, the socket ends without a panic, hears no message over its limit, and the same
// bytes in one piece and in many are the same messages and the same end.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{
		"\x81\x85\x00\x00\x00\x00hello", "\x01\x82\x00\x00\x00\x00he\x89\x80\x00\x00\x00\x00\x80\x83\x00\x00\x00\x00llo",
		"\x88\x82\x01\x02\x03\x04\x02\xea", "\x82\x81\x00\x00\x00\x00x", "\x81\xfe\x00\x80", "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00x",
		"\xc1\x87\x00\x00\x00\x00\xf2\x48\xcd\xc9\xc9\x07\x00", "\x80\x80\x00\x00\x00\x00", "\x8a\x80\x00\x00\x00\x00\x81\x80\x00\x00\x00\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		whole, code := hear(t, sent, len(sent))
		pieces, again := hear(t, sent, 1)
		if code != again || len(whole) != len(pieces) {
			t.Fatalf("in one piece %q and %d, in many %q and %d", whole, code, pieces, again)
		}
		for i := range whole {
			if whole[i] != pieces[i] || len(whole[i]) > 64 {
				t.Fatalf("in one piece %q, in many %q", whole, pieces)
			}
		}
	})
}

func hear(t *testing.T, sent []byte, piece int) ([]string, int) {
	h := &heard{done: make(chan struct{})}
	o := &Options{
		MessageBytes: 64, First: time.Minute, Silence: time.Minute, Ping: time.Hour, Write: time.Minute, Goodbye: time.Minute,
		Recovered: func(v any) { t.Errorf("a panic: %v", v) },
	}
	h.Open(&script{sent: sent, piece: max(piece, 1)}, nil, o, h)
	<-h.done
	return h.texts, h.Code()
}

// script is a connection whose client sends what it holds, in pieces, takes everything, and is gone then.
type script struct {
	net.Conn
	sent  []byte
	piece int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.sent) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.sent[:min(s.piece, len(s.sent))])
	s.sent = s.sent[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
