package web

import (
	"errors"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/adapters/problem"
)

// hello takes the first frame, checks who it is and what may be seen, and says that the socket is ready.
func (s *socket) hello() (first []message.Visible, more, ok bool) {
	raw, err := s.receive()
	if err != nil {
		s.refuse(closePolicy, nil)
		return nil, false, false
	}
	p := s.c.parsers.Get()
	f, err := readFrame(p, raw, s.c.cfg.Limits.TextBytes)
	s.c.parsers.Put(p)
	if err != nil || f.kind != frameHello {
		s.refuse(closePolicy, badRequest(`The first frame must be {"type":"hello","token":TOKEN,"after":CURSOR}.`))
		return nil, false, false
	}
	if s.visitor, err = s.c.tokens.read([]byte(f.token)); err != nil {
		code := closePolicy
		if errors.Is(err, errExpired) {
			code = closeExpired
		}
		s.refuse(code, &adapters.RefusedError{Code: problem.CodeUnauthenticated, Detail: tokenAdvice(err)})
		return nil, false, false
	}
	s.from = s.c.address(s.visitor.address())
	if s.follower, err = newFollower(s.c.deps.Timeline, s.from, f.after); err != nil {
		s.refuse(closePolicy, err)
		return nil, false, false
	}
	if !s.c.streams.join(s.from.Address) {
		s.refuse(closeLater, &adapters.RefusedError{Code: problem.CodeRateLimited, Detail: "Too many sockets of one visitor. Close one."})
		return nil, false, false
	}
	s.watch = s.c.deps.Timeline.Watch(s.from)
	if first, more, err = s.ready(f.after); err != nil {
		s.watch.Close()
		s.c.streams.leave(s.from.Address)
		code := closeTrouble
		if errors.Is(err, adapters.ErrNotFound) {
			code = closePolicy
		}
		s.refuse(code, err)
		return nil, false, false
	}
	return first, more, true
}

// ready reads the first page, for the state in it, and sends the ready frame before any of its events.
func (s *socket) ready(after string) (first []message.Visible, more bool, err error) {
	work, cancel := s.c.request()
	defer cancel()
	if first, more, err = s.follower.next(work); err != nil {
		return nil, false, err
	}
	frame := readyFrame{Type: "ready", Visitor: s.from.Address, Cursor: adapters.Cursor(after), Conversation: s.follower.conversation, End: s.follower.end}
	if s.follower.owner.Kind != "" {
		frame.Owner, frame.Position = &s.follower.owner, s.follower.owner.Position
	}
	return first, more, s.send(encode(frame))
}

// refuse ends a socket that never became ready.
func (s *socket) refuse(code int, err error) {
	if err != nil {
		_ = s.send(encode(newErrorFrame("", err)))
	}
	s.stop(code)
	s.goodbye(s.code)
}
