package embedded

import (
	"strings"
	"sync"

	"turnout/adapters/message"
	"turnout/gateway/store"
)

// recent is what a partition remembers of its last questions, so that accepting a message asks the disk once and not when
// it is looked for and again when it is committed. Entries are true until a commit of the partition changes them, and that
// commit does: whoever fills them in holds the partition's lock.
type recent struct {
	mu sync.Mutex
	// missing are ids that no generation holds, next the place for the next one.
	missing [8]idHash
	next    int
	// bound is where addresses write now, empty for those that have no conversation.
	bound map[sender]string
}

type sender struct {
	tenant store.Tenant
	addr   message.Address
}

// maxBound bounds the addresses that a partition remembers.
const maxBound = 64

func (r *recent) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing, r.next, r.bound = [8]idHash{}, 0, nil
}

// absent reports whether an id is known to be held nowhere.
func (r *recent) absent(h idHash) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.missing {
		if r.missing[i] == h {
			return true
		}
	}
	return false
}

// missed remembers that an id is held nowhere.
func (r *recent) missed(h idHash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missing[r.next] = h
	r.next = (r.next + 1) % len(r.missing)
}

// written forgets that ids were held nowhere.
func (r *recent) written(hashes []idHash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range hashes {
		for i := range r.missing {
			if r.missing[i] == h {
				r.missing[i] = idHash{}
			}
		}
	}
}

// conversation returns where an address writes; ok is false when that is not remembered.
func (r *recent) conversation(t store.Tenant, a message.Address) (conv string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	conv, ok = r.bound[sender{t, a}]
	return conv, ok
}

// bind remembers where an address writes. The address is copied: its caller may use the memory again.
func (r *recent) bind(t store.Tenant, a message.Address, conv string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bound == nil {
		r.bound = map[sender]string{}
	}
	if _, known := r.bound[sender{t, a}]; !known && len(r.bound) >= maxBound {
		for old := range r.bound {
			delete(r.bound, old)
			break
		}
	}
	a.Channel, a.Address, a.Thread = strings.Clone(a.Channel), strings.Clone(a.Address), strings.Clone(a.Thread)
	r.bound[sender{t, a}] = conv
}

// forget drops what is remembered of an address.
func (r *recent) forget(t store.Tenant, a message.Address) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.bound, sender{t, a})
}
