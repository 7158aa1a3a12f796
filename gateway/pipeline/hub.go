package pipeline

import (
	"slices"
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
	// followers are many and wait for long: a slice each, as nearly every key has one.
	followers map[watchKey][]*follower
	closed    bool
}

// watcher gets the hints of one key, for somebody who waits for an outcome. Its channel has room for one wake-up: more add
// nothing.
type watcher struct {
	hub  *hub
	key  watchKey
	wake chan struct{}

	mu     sync.Mutex
	events []conversation.Event // bounded by keepEvents
	state  *conversation.State
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

// keepSignals is how many wait for a follower that does not take them.
const keepSignals = 16

func newHub() *hub {
	return &hub{watchers: map[watchKey]map[*watcher]struct{}{}, followers: map[watchKey][]*follower{}}
}

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

// watch adds a watcher. The caller must close it.
func (h *hub) watch(key watchKey) *watcher {
	w := &watcher{hub: h, key: key, wake: make(chan struct{}, 1)}
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

// follow watches a key for a reader of another package, which wake tells to look. Signals that find no room are lost.
func (h *hub) follow(key watchKey, wake func()) adapters.Watch {
	f := &follower{hub: h, key: key, wake: wake}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.followers[key] = append(h.followers[key], f)
	}
	return f
}

// follower holds what came since its reader looked last.
type follower struct {
	hub  *hub
	key  watchKey
	wake func()

	mu      sync.Mutex
	news    bool
	signals []adapters.Signal
}

// Take implements adapters.Watch.
func (f *follower) Take() (news bool, signals []adapters.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news, signals = f.news, f.signals
	f.news, f.signals = false, nil
	return news, signals
}

// Close implements adapters.Watch.
func (f *follower) Close() {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	all := f.hub.followers[f.key]
	if i := slices.Index(all, f); i >= 0 {
		all = slices.Delete(all, i, i+1)
	}
	if len(all) == 0 {
		delete(f.hub.followers, f.key)
	} else {
		f.hub.followers[f.key] = all
	}
}

// publish is called by the store after a durable commit. It does not block.
func (h *hub) publish(hint store.Hint) {
	if hint.State == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range [2]watchKey{addressKey(hint.Ref.Tenant.Name(), hint.State.From), conversationKey(hint.Ref)} {
		for w := range h.watchers[key] {
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
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
		for _, f := range h.followers[key] {
			f.mu.Lock()
			f.news = true
			f.mu.Unlock()
			f.wake()
		}
	}
}

// signal passes a frame without a sequence to the followers of a key.
func (h *hub) signal(key watchKey, s signalFrame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.followers[key] {
		f.mu.Lock()
		room := len(f.signals) < keepSignals
		if room {
			f.signals = append(f.signals, adapters.Signal{Typing: s.typing, By: s.by, Name: s.name, Position: s.position, Read: s.read})
		}
		f.mu.Unlock()
		if room {
			f.wake()
		}
	}
}

// close wakes those who wait for the last time: their channels close. Followers hear no more.
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
	h.watchers, h.followers = map[watchKey]map[*watcher]struct{}{}, map[watchKey][]*follower{}
}
