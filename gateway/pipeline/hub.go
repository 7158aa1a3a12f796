package pipeline

import (
	"sync"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// hub tells the watchers of this process that a conversation has grown. It may lose what it tells; the log is the truth.
type hub struct {
	mu       sync.Mutex
	watchers map[watchKey]map[*watcher]struct{}
	closed   bool
}

// watcher gets the hints of one key. Its channel has room for one wake-up: more add nothing.
type watcher struct {
	hub  *hub
	key  watchKey
	wake chan struct{}

	mu     sync.Mutex
	events []conversation.Event // kept for waiters that asked for them, bounded by keepEvents
	state  *conversation.State
	keep   bool
	other  func(signalFrame)
}

// signalFrame is a frame without a sequence, on its way to the watchers of a key.
type signalFrame struct {
	by       message.By
	name     string
	typing   bool
	position int
	read     uint64
}

const keepEvents = 64

func newHub() *hub { return &hub{watchers: map[watchKey]map[*watcher]struct{}{}} }

// watchKey is what is watched: an address, or a conversation.
type watchKey struct {
	tenant, conversation string
	address              message.Address
}

// addressKey is the key of those who follow an address, conversationKey of those who follow a conversation.
func addressKey(tenant string, a message.Address) watchKey {
	return watchKey{tenant: tenant, address: a}
}

func conversationKey(r store.Ref) watchKey {
	return watchKey{tenant: r.Tenant.Name(), conversation: r.ID}
}

// watch adds a watcher; keep makes it collect the events of hints. The caller must close it.
func (h *hub) watch(key watchKey, keep bool, other func(signalFrame)) *watcher {
	w := &watcher{hub: h, key: key, wake: make(chan struct{}, 1), keep: keep, other: other}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(w.wake)
		return w
	}
	set := h.watchers[key]
	if set == nil {
		set = map[*watcher]struct{}{}
		h.watchers[key] = set
	}
	set[w] = struct{}{}
	return w
}

func (w *watcher) close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if set := w.hub.watchers[w.key]; set != nil {
		delete(set, w)
		if len(set) == 0 {
			delete(w.hub.watchers, w.key)
		}
	}
}

// take returns what the watcher has collected since the last call.
func (w *watcher) take() ([]conversation.Event, *conversation.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.events
	w.events = nil
	return e, w.state
}

// follow watches a key for a reader of another package. Signals that find no room are lost.
func (h *hub) follow(key watchKey) adapters.Watch {
	out := &follower{signals: make(chan adapters.Signal, 16)}
	out.w = h.watch(key, false, func(f signalFrame) {
		select {
		case out.signals <- adapters.Signal{Typing: f.typing, By: f.by, Name: f.name, Position: f.position, Read: f.read}:
		default:
		}
	})
	return out
}

type follower struct {
	w       *watcher
	signals chan adapters.Signal
}

func (f *follower) Wake() <-chan struct{}           { return f.w.wake }
func (f *follower) Signals() <-chan adapters.Signal { return f.signals }
func (f *follower) Close()                          { f.w.close() }

// publish is called by the store after a durable commit. It does not block.
func (h *hub) publish(hint store.Hint) {
	if hint.State == nil {
		return
	}
	h.each([2]watchKey{addressKey(hint.Ref.Tenant.Name(), hint.State.From), conversationKey(hint.Ref)}, func(w *watcher) {
		if w.keep {
			w.mu.Lock()
			// Word of another node's commit comes from another goroutine than that of one's own.
			if w.state == nil || w.state.ID != hint.State.ID || w.state.Seq <= hint.State.Seq {
				w.state = hint.State
			}
			if len(w.events)+len(hint.Events) <= keepEvents {
				w.events = append(w.events, hint.Events...)
			} else {
				w.events = nil // a gap: the reader sees it by the sequence and reads the log
			}
			w.mu.Unlock()
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	})
}

// signal passes a frame without a sequence to the watchers of a key.
func (h *hub) signal(key watchKey, f signalFrame) {
	h.each([2]watchKey{key}, func(w *watcher) {
		if w.other != nil {
			w.other(f)
		}
	})
}

func (h *hub) each(keys [2]watchKey, f func(*watcher)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range keys {
		for w := range h.watchers[k] {
			f(w)
		}
	}
}

// close wakes everybody for the last time: their channels close.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	for _, set := range h.watchers {
		for w := range set {
			close(w.wake)
		}
	}
	h.watchers = map[watchKey]map[*watcher]struct{}{}
}
