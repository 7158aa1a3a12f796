package web

import (
	"errors"
	"time"

	"turnout/adapters"
	"turnout/adapters/problem"
)

// hello takes the first frame, checks who it is and what may be seen, and says that the socket is ready.
func (s *socket) hello(raw []byte) {
	p := s.c.parsers.Get()
	f, err := readFrame(p, raw, s.c.cfg.Limits.TextBytes)
	s.c.parsers.Put(p)
	if err != nil || f.kind != frameHello {
		s.refuse(closePolicy, badRequest(`The first frame must be {"type":"hello","token":TOKEN,"after":CURSOR}.`))
		return
	}
	if s.visitor, err = s.c.tokens.read([]byte(f.token)); err != nil {
		code := closePolicy
		if errors.Is(err, errExpired) {
			code = closeExpired
		}
		s.refuse(code, &adapters.RefusedError{Code: problem.CodeUnauthenticated, Detail: tokenAdvice(err)})
		return
	}
	s.from = s.c.address(s.visitor.address())
	if s.follower, err = newFollower(s.c.deps.Timeline, s.from, f.after); err != nil {
		s.refuse(closePolicy, err)
		return
	}
	if !s.c.streams.join(s.from.Address) {
		s.refuse(closeLater, &adapters.RefusedError{Code: problem.CodeRateLimited, Detail: "Too many sockets of one visitor. Close one."})
		return
	}
	s.ends = time.Now().Add(s.visitor.expires.Sub(s.c.deps.Now()))
	// What wakes the socket before it is ready finds nobody at work: the first look comes after ready.
	s.watch = s.c.deps.Timeline.Watch(s.from, s.news)
	if err := s.ready(f.after); err != nil {
		code := closeTrouble
		if errors.Is(err, adapters.ErrNotFound) {
			code = closePolicy
		}
		s.refuse(code, err)
		return
	}
	s.helloed.Store(true)
	s.Wake()
}

// news is called by the watch.
func (s *socket) news() {
	if s.helloed.Load() {
		s.Wake()
	}
}

// ready reads the first page, for the state in it, and sends the ready frame before any of its events.
func (s *socket) ready(after string) (err error) {
	work, cancel := s.c.request()
	defer cancel()
	if s.first, s.more, err = s.follower.next(work); err != nil {
		return err
	}
	frame := readyFrame{Type: "ready", Visitor: s.from.Address, Cursor: adapters.Cursor(after), Conversation: s.follower.conversation, End: s.follower.end}
	if s.follower.owner.Kind != "" {
		frame.Owner, frame.Position = &s.follower.owner, s.follower.owner.Position
	}
	return s.Send(encode(frame))
}

// refuse ends a socket that never became ready.
func (s *socket) refuse(code int, err error) {
	_ = s.Send(encode(newErrorFrame("", err)))
	s.Close(code)
}
