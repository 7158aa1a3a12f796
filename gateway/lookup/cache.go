package lookup

import (
	"container/list"
	"time"

	"turnout/adapters/message"
)

// cache keeps accounts, those that were used last, within a number and a size. Whoever holds it locks it.
type cache struct {
	entries  int
	most     int64 // bytes
	bytes    int64
	order    *list.List // of *entry, the one used last in front
	question map[string]*list.Element
}

type entry struct {
	question string
	account  *message.Account
	at       time.Time
	size     int64
}

func newCache(entries int, bytes int64) cache {
	return cache{entries: entries, most: bytes, order: list.New(), question: map[string]*list.Element{}}
}

func (c *cache) len() int { return c.order.Len() }

// get returns an entry and counts that as a use; nil for none.
func (c *cache) get(question string) *entry {
	at := c.question[question]
	if at == nil {
		return nil
	}
	c.order.MoveToFront(at)
	return at.Value.(*entry)
}

// put keeps an account in the place of the one before, and lets those go that were not used for longest.
func (c *cache) put(question string, a *message.Account, at time.Time) {
	c.drop(question)
	e := &entry{question: question, account: a, at: at, size: sizeOf(question, a)}
	c.question[question] = c.order.PushFront(e)
	c.bytes += e.size
	for last := c.order.Back(); last != nil && (c.order.Len() > c.entries || c.bytes > c.most); last = c.order.Back() {
		c.drop(last.Value.(*entry).question)
	}
}

func (c *cache) drop(question string) {
	at := c.question[question]
	if at == nil {
		return
	}
	c.bytes -= at.Value.(*entry).size
	c.order.Remove(at)
	delete(c.question, question)
}

// overhead is what an entry takes beside its texts: the entry, its place in list and map, the account's own fields.
const (
	overhead       = 400
	fieldOverhead  = 64
	ticketOverhead = 128
)

// sizeOf is about how many bytes an entry takes.
func sizeOf(question string, a *message.Account) int64 {
	n := overhead + len(question) + len(a.Subject) + len(a.Name)
	for name, v := range a.Fields {
		n += fieldOverhead + len(name)
		if s, ok := v.(string); ok {
			n += len(s)
		}
	}
	for i := range a.Tickets {
		t := &a.Tickets[i]
		n += ticketOverhead + len(t.ID) + len(t.Subject) + len(t.Status) + len(t.URL)
	}
	return int64(n)
}
