package live

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// errTooLarge says that a message is larger than the socket takes.
var errTooLarge = errors.New("the message is too large")

// maxPooled is the largest buffer that is kept for others.
const maxPooled = 64 << 10

// frames holds buffers for frames on their way out.
var frames = sync.Pool{New: func() any { return new([]byte) }}

// appendFrame appends a frame of the server: whole, and without a mask (RFC 6455 section 5.1).
func appendFrame(b []byte, op ws.OpCode, payload []byte) []byte {
	h := ws.Header{Fin: true, OpCode: op, Length: int64(len(payload))}
	w := bytes.NewBuffer(b)
	_ = ws.WriteHeader(w, h) // a buffer takes all
	return append(w.Bytes(), payload...)
}

// reader reads messages. It is a socket's while bytes come, and somebody else's then.
type reader struct {
	buffered bufio.Reader
	source   source
	ws       wsutil.Reader
	message  bytes.Buffer
	socket   *Socket
}

// source is a connection of which some bytes were read already.
type source struct {
	head []byte
	conn io.Reader
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	return s.conn.Read(p)
}

type readerPool struct{ sync.Pool }

var readers = readerPool{sync.Pool{New: func() any { return new(reader) }}}

func (p *readerPool) get(s *Socket, head []byte) *reader {
	r := p.Get().(*reader)
	r.socket = s
	r.source = source{head, s.conn}
	r.buffered.Reset(&r.source)
	r.ws = wsutil.Reader{
		Source: &r.buffered, State: ws.StateServerSide, MaxMessageSize: s.o.MessageBytes,
		OnIntermediate: r.control,
	}
	return r
}

func (p *readerPool) put(r *reader) {
	r.socket, r.source, r.ws = nil, source{}, wsutil.Reader{}
	r.buffered.Reset(nil)
	if r.message.Cap() <= maxPooled {
		p.Put(r)
	}
}

// empty reports whether everything that has arrived is read.
func (r *reader) empty() bool { return len(r.source.head) == 0 && r.buffered.Buffered() == 0 }

// next reads a message of the client, or one control frame, which it has answered. The message is valid until the next.
func (r *reader) next() (ws.OpCode, []byte, error) {
	h, err := r.ws.NextFrame()
	switch {
	case errors.Is(err, wsutil.ErrMessageTooLarge), errors.Is(err, wsutil.ErrFrameTooLarge):
		return 0, nil, errTooLarge
	case err != nil:
		return 0, nil, err
	case h.OpCode.IsControl():
		err := r.control(h, &r.ws)
		if err == nil {
			err = r.ws.Discard()
		}
		return h.OpCode, nil, err
	case h.OpCode == ws.OpBinary:
		return h.OpCode, nil, nil // its end does not matter
	}
	r.message.Reset()
	_, err = r.message.ReadFrom(&r.ws)
	if errors.Is(err, wsutil.ErrMessageTooLarge) {
		err = errTooLarge
	}
	return h.OpCode, r.message.Bytes(), err
}

func (r *reader) control(h ws.Header, body io.Reader) error {
	var buf [ws.MaxControlFramePayloadSize]byte
	n, err := io.ReadFull(body, buf[:h.Length])
	if err != nil && (n > 0 || h.Length > 0) {
		return err
	}
	return r.socket.control(h.OpCode, buf[:n])
}
