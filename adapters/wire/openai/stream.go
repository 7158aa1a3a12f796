package openai

import (
	"bytes"
	"errors"
	"fmt"
)

// Stream puts a reply together from the bytes of an event stream, cut wherever the network cut them. The zero value is
// ready. It keeps what it has not yet read of an event: the caller bounds how much it feeds.
//
// Events are those of HTML's server-sent events; only their data is read. The stream is over at [DONE].
type Stream struct {
	g     gathering
	rest  []byte // of a line that has not ended
	data  []byte // of an event that has not ended
	some  bool   // the event has data
	begun bool
	cr    bool // the last line ended with CR: a LF that follows belongs to it
	done  bool
	reply bool // something of a reply was there
	any   bool // an event was there
}

// ErrCut says that a stream ended before the reply did.
var ErrCut = errors.New("the stream ended before the reply did")

// Feed reads the next bytes. After an error the stream is of no use; the error is an *Error when the server says in the
// stream that it failed, and wraps ErrMalformed otherwise. b is not kept.
func (s *Stream) Feed(b []byte) error {
	for len(b) > 0 && !s.done {
		if s.cr && b[0] == '\n' {
			b = b[1:]
			s.cr = false
			continue
		}
		s.cr = false
		end := bytes.IndexAny(b, "\r\n")
		if end < 0 {
			s.rest = append(s.rest, b...)
			return nil
		}
		line := b[:end]
		if len(s.rest) > 0 {
			s.rest = append(s.rest, line...)
			line = s.rest
		}
		s.cr, b = b[end] == '\r', b[end+1:]
		if err := s.line(line); err != nil {
			return err
		}
		s.rest = s.rest[:0]
	}
	return nil
}

// Done reports whether the server has said that the stream is over.
func (s *Stream) Done() bool { return s.done }

// Reply returns the reply when no more bytes come. It is ErrCut when there were events, but the server neither said how the
// reply ended nor that the stream is over. The last event counts without the empty line after it.
func (s *Stream) Reply() (Reply, error) {
	if !s.done && len(s.rest) > 0 {
		rest := s.rest
		s.rest = nil
		if err := s.line(rest); err != nil {
			return Reply{}, s.middle(err)
		}
	}
	if !s.done {
		if err := s.event(); err != nil {
			return Reply{}, s.middle(err)
		}
	}
	switch {
	case !s.any:
		return Reply{}, fmt.Errorf("%w: the stream has no event", ErrMalformed)
	case !s.done && s.g.reply.Finish == "":
		return Reply{}, ErrCut
	case !s.reply:
		return Reply{}, fmt.Errorf("%w: the stream has no choice", ErrMalformed)
	}
	return s.g.done(), nil
}

// SoFar returns what of a reply has come: of one that broke off, to count what it cost. It is no answer.
func (s *Stream) SoFar() Reply { return s.g.done() }

// middle says what is wrong with a last event that was never ended and cannot be read: most likely it was cut.
func (s *Stream) middle(err error) error {
	if e := (*Error)(nil); errors.As(err, &e) || !s.any {
		return err
	}
	return ErrCut
}

var byteOrderMark = []byte("\xef\xbb\xbf")

func (s *Stream) line(line []byte) error {
	if !s.begun {
		s.begun = true
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	if len(line) == 0 {
		return s.event()
	}
	value, ok := bytes.CutPrefix(line, []byte("data"))
	if !ok || len(value) > 0 && value[0] != ':' {
		return nil // a comment, the name of an event, its id, or nothing that is known
	}
	value = bytes.TrimPrefix(bytes.TrimPrefix(value, []byte(":")), []byte(" "))
	if s.some {
		s.data = append(s.data, '\n')
	}
	s.data, s.some = append(s.data, value...), true
	return nil
}

// event reads the data of an event that has ended.
func (s *Stream) event() error {
	data := bytes.TrimSpace(s.data)
	s.data, s.some = s.data[:0], false
	switch {
	case len(data) == 0:
		return nil
	case string(data) == "[DONE]":
		s.done, s.any = true, true
		return nil
	}
	c, err := decodeCompletion(data)
	if err != nil {
		return err
	}
	s.any = true
	s.g.head(c)
	for i := range c.Choices {
		choice := &c.Choices[i]
		if choice.Index != 0 {
			continue
		}
		s.reply = true
		if choice.Delta != nil { // a message beside it repeats all that was said so far
			s.g.add(choice.Delta)
		}
		if choice.Finish != nil && *choice.Finish != "" {
			s.g.reply.Finish = string(*choice.Finish)
		}
	}
	return nil
}
