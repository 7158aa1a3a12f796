package api

import (
	"errors"
	"time"

	"turnout/adapters"
	"turnout/gateway/queue"
	"turnout/gateway/store"
)

// Work implements live.User: it sends what is new.
func (k *socket) Work() (next time.Time) {
	now := time.Now()
	if !now.Before(k.asked.Add(k.s.timing.again)) {
		k.asked = now
		if !k.s.auth.again(k.who, k.token) {
			k.Close(closeExpired)
			return time.Time{}
		}
	}
	if err := k.write(now); err != nil {
		k.Close(closeLater) // the client took nothing in time, or is gone
		return time.Time{}
	}
	next = k.polled.Add(k.s.timing.poll)
	if again := k.asked.Add(k.s.timing.again); again.Before(next) {
		next = again
	}
	return next
}

func (k *socket) write(now time.Time) error {
	k.mu.Lock()
	orders := k.orders
	k.orders = nil
	k.mu.Unlock()
	for _, o := range orders {
		if err := k.obey(o); err != nil {
			return err
		}
	}
	// Wake-ups are hints and may be lost: the queues are looked at without one too.
	if k.changed.Swap(false) || !now.Before(k.polled.Add(k.s.timing.poll)) {
		k.polled = now
		if err := k.changes(); err != nil {
			return err
		}
	}
	for conv, f := range k.feeds {
		if !f.woken.Swap(false) {
			continue
		}
		news, signals := f.watch.Take()
		if news {
			if err := k.events(conv); err != nil {
				return err
			}
		}
		for _, seen := range signals {
			if err := k.send(seenFrame(conv, seen)); err != nil {
				return err
			}
		}
	}
	return nil
}

// changes sends what changed in the queues.
func (k *socket) changes() error {
	for !k.Over() {
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
	for more := f != nil; more && !k.Over(); {
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
	k.Close(closeTrouble)
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
	f.watch = k.s.o.Queue.Follow(k.agent, f.conversation, func() {
		f.woken.Store(true)
		k.Wake()
	})
	if k.feeds == nil {
		k.feeds = map[string]*followed{}
	}
	k.feeds[f.conversation] = f
	return k.events(f.conversation)
}

// seenFrame is what was observed of a customer.
func seenFrame(conv string, seen adapters.Signal) serverFrame {
	if seen.Read > 0 {
		return serverFrame{Type: "read", Conversation: conv, VSeq: seen.Read}
	}
	return serverFrame{Type: "typing", Conversation: conv, On: &seen.Typing}
}

func (k *socket) unfollow(conv string) {
	if f := k.feeds[conv]; f != nil {
		delete(k.feeds, conv)
		f.watch.Close()
	}
}

func (k *socket) unfollowAll() {
	for conv := range k.feeds {
		k.unfollow(conv)
	}
}
