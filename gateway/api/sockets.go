package api

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// sockets keeps count of the open sockets and can end them all.
type sockets struct {
	most, perAgent int

	mu     sync.Mutex
	closed bool
	opened int
	agents map[accountKey]int
	all    map[*socket]struct{}
	idle   chan struct{} // closed when the last one leaves after close
}

func newSockets(most, perAgent int) *sockets {
	return &sockets{
		most: most, perAgent: perAgent, agents: map[accountKey]int{}, all: map[*socket]struct{}{}, idle: make(chan struct{}),
	}
}

// open counts a socket in, if there is room and the server is not stopping. A socket that was opened must leave.
func (l *sockets) open(s *socket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.opened >= l.most {
		return false
	}
	l.opened++
	l.all[s] = struct{}{}
	return true
}

// join counts an open socket for its agent, if there is room.
func (l *sockets) join(s *socket, a accountKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.agents[a] >= l.perAgent {
		return false
	}
	l.agents[a]++
	s.joined = &a
	return true
}

func (l *sockets) leave(s *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, s)
	if a := s.joined; a != nil {
		if l.agents[*a]--; l.agents[*a] == 0 {
			delete(l.agents, *a)
		}
		s.joined = nil
	}
	if l.opened--; l.opened == 0 && l.closed {
		close(l.idle)
	}
}

// close ends all sockets with code 1012 and lets in no more. It waits for them until ctx ends.
func (l *sockets) close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		if l.opened == 0 {
			close(l.idle)
		}
	}
	open := slices.Collect(maps.Keys(l.all))
	l.mu.Unlock()
	for _, s := range open {
		s.Close(closeRestart)
	}
	select {
	case <-l.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
