package web

import (
	"io"
	"sync"
)

// bufferPool keeps buffers for bodies: of messages until they are read, of answers until they are copied to a response.
// What is kept of a body is copied, so its buffer is free then.
type bufferPool struct{ sync.Pool }

const maxPooledBuffer = 64 << 10

var buffers = bufferPool{sync.Pool{New: func() any {
	b := make([]byte, 0, 1<<10)
	return &b
}}}

func (p *bufferPool) get() *[]byte { return p.Get().(*[]byte) }

func (p *bufferPool) put(b *[]byte) {
	if cap(*b) <= maxPooledBuffer {
		p.Put(b)
	}
}

// readMost reads r to its end, but no more than most bytes, into buf from its beginning.
func readMost(buf *[]byte, r io.Reader, most int) ([]byte, error) {
	b := (*buf)[:0]
	var err error
	for err == nil && len(b) < most {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		var n int
		n, err = r.Read(b[len(b):min(cap(b), most)])
		b = b[:len(b)+n]
	}
	*buf = b
	if err == io.EOF {
		err = nil
	}
	return b, err
}
