package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
)

// lines reads a file line by line, one ahead, with a digest over all lines before the current one.
type lines struct {
	r       *bufio.Reader
	sum     hash.Hash
	before  []byte // the digest, while the current line is that of the end
	n       int
	cur     []byte
	ahead   []byte
	has     bool // ahead is a line
	touched bool // ahead was read
}

// next returns the next line without its line break; ok is false at the end. It is valid until the call after the next.
func (l *lines) next() (line []byte, ok bool, err error) {
	if l.n > 0 {
		l.sum.Write(l.cur)
		l.sum.Write([]byte{'\n'})
	}
	if _, _, err := l.peek(); err != nil {
		return nil, false, err
	}
	l.n++
	l.cur, l.ahead = l.ahead, l.cur[:0]
	ok = l.has
	l.has, l.touched = false, false
	if bytes.HasPrefix(l.cur, []byte(`{"end":`)) {
		l.before = l.sum.Sum(nil)
	}
	return l.cur, ok, nil
}

// peek returns the line after the current one.
func (l *lines) peek() (line []byte, ok bool, err error) {
	if l.touched {
		return l.ahead, l.has, nil
	}
	l.touched = true
	l.ahead = l.ahead[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.ahead = append(l.ahead, part...)
		switch {
		case len(l.ahead) > maxLine:
			return nil, false, fmt.Errorf("%w: line %d has more than %d bytes", ErrNotExport, l.n+1, maxLine)
		case err == nil:
			l.has = true
			l.ahead = l.ahead[:len(l.ahead)-1]
			return l.ahead, true, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			// A line without its end was cut off: it is shown as it is, and is none.
			l.has = len(l.ahead) > 0
			if l.has {
				l.ahead = append(l.ahead, " (cut off)"...)
			}
			return l.ahead, l.has, nil
		default:
			return nil, false, fmt.Errorf("reading line %d: %w", l.n+1, err)
		}
	}
}
