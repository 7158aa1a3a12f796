package api

import (
	"errors"
	"time"

	"github.com/fasthttp/websocket"

	"turnout/adapters"
	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// write sends what is new until the socket ends, and then the close code.
func (k *socket) write(wake <-chan struct{}) {
	ping := time.NewTicker(k.s.timing.ping)
	defer ping.Stop()
	// Wake-ups are hints and may be lost: the queues are looked at without one too.
	poll := time.NewTicker(k.s.timing.poll)
	defer poll.Stop()

	err := k.changes()
	for err == nil {
		select {
		case <-k.life.Done():
			k.goodbye()
			return
		case o := <-k.orders:
			err = k.obey(o)
		case <-wake:
			err = k.changes()
		case <-poll.C:
			err = k.changes()
		case conv := <-k.dirty:
			err = k.events(conv)
		case <-ping.C:
			if !k.s.auth.again(k.who, k.token) {
				k.stop(closeExpired)
				continue
			}
			err = k.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(k.s.timing.write))
		}
	}
	k.stop(closeLater) // the client took nothing in time, or is gone
	k.goodbye()
}

// changes sends what changed in the queues.
func (k *socket) changes() error {
	for !k.stopped() {
		work, cancel := k.work()
		items, next, err := k.s.o.Queue.Changes(work, k.agent, k.cursor, changesPage)
		if errors.Is(err, store.ErrGap) {
			_, next, err = k.s.o.Queue.Changes(work, k.agent, "", 0)
			if err == nil {
				k.cursor = next
				err = k.send(serverFrame{Type: "resync", Cursor: next})
				cancel()
				return err
			}
		}
		cancel()
		if err != nil {
			return k.trouble(err)
		}
		k.cursor = next
		if len(items) == 0 {
			return nil
		}
		if err := k.send(serverFrame{Type: "queue", Cursor: next, Changes: items}); err != nil {
			return err
		}
	}
	return nil
}

// events sends what a followed conversation holds beyond what the client has.
func (k *socket) events(conv string) error {
	f := k.feeds[conv]
	for more := f != nil; more && !k.stopped(); {
		work, cancel := k.work()
		page, err := k.s.o.Queue.Events(work, k.agent, conv, queue.Window{After: f.after, Limit: followPage})
		cancel()
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, queue.ErrForbidden) {
			k.unfollow(conv)
			return k.send(serverFrame{Type: "unfollowed", Conversation: conv, Code: details(err).Code})
		}
		if err != nil {
			return k.trouble(err)
		}
		for i := range page.Events {
			if err := k.send(serverFrame{Type: "event", Conversation: conv, Event: &page.Events[i]}); err != nil {
				return err
			}
			f.after = page.Events[i].Seq
		}
		more = page.More
	}
	return nil
}

// trouble passes over a store that cannot be read at the moment: what was missed is sent at the next look.
func (k *socket) trouble(err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return nil
	}
	k.s.o.Log.Error("reading for a socket", "agent", k.agent.ID, "err", err)
	k.stop(closeTrouble)
	return err
}

// obey carries out what the reader wants.
func (k *socket) obey(o order) error {
	switch {
	case o.follow != nil:
		return k.follow(o.follow)
	case o.unfollow != "":
		k.unfollow(o.unfollow)
		return nil
	}
	return k.send(o.frame)
}

// follow begins to follow a conversation, or follows it anew from another place.
func (k *socket) follow(f *followed) error {
	k.unfollow(f.conversation)
	if len(k.feeds) >= maxFollowed {
		return k.send(errorFrame(f.conversation, refuse("rate_limited", "Too many conversations are followed. Unfollow one.")))
	}
	watch := k.s.o.Queue.Follow(k.agent, f.conversation)
	f.stop = watch.Close
	k.feeds[f.conversation] = f
	go func() {
		defer k.s.recovered("a socket's follower")
		for {
			select {
			case _, ok := <-watch.Wake():
				if !ok {
					return
				}
			case seen := <-watch.Signals():
				k.seen(f.conversation, seen)
				continue
			case <-f.done:
				return
			}
			select {
			case k.dirty <- f.conversation:
			case <-f.done:
				return
			}
		}
	}()
	return k.events(f.conversation)
}

// seen passes on what was observed of a customer. It says nothing that matters later: without room it is dropped.
func (k *socket) seen(conv string, seen adapters.Signal) {
	f := serverFrame{Type: "typing", Conversation: conv, On: &seen.Typing}
	if seen.Read > 0 {
		f = serverFrame{Type: "read", Conversation: conv, VSeq: seen.Read}
	}
	select {
	case k.orders <- order{frame: f}:
	default:
	}
}

func (k *socket) unfollow(conv string) {
	if f := k.feeds[conv]; f != nil {
		delete(k.feeds, conv)
		close(f.done)
		f.stop()
	}
}

func (k *socket) unfollowAll() {
	for conv := range k.feeds {
		k.unfollow(conv)
	}
}
