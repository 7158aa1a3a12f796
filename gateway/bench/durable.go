package bench

import (
	"fmt"
	"os"
	"sync"

	"github.com/valyala/fasthttp"
)

// journal is a file to which many append at once; those who come while it is being synced share the next sync. It is the
// least that durability takes, and nothing but a measure: it is never read, and nothing in it could be found again.
type journal struct {
	file *os.File

	mu      sync.Mutex
	due     sync.Cond // there is something to write
	waiting *batch
	err     error // of a write or sync; nothing is durable after it
}

// batch is what becomes durable by one sync.
type batch struct {
	bytes []byte
	done  chan struct{} // closed then
}

func newJournal(dir string) (*journal, error) {
	f, err := os.CreateTemp(dir, "journal-*")
	if err != nil {
		return nil, fmt.Errorf("making the journal: %w", err)
	}
	j := &journal{file: f, waiting: &batch{done: make(chan struct{})}}
	j.due.L = &j.mu
	go j.write()
	return j, nil
}

// append returns when bytes are durable.
func (j *journal) append(bytes []byte) error {
	j.mu.Lock()
	b := j.waiting
	b.bytes = append(b.bytes, bytes...)
	j.due.Signal()
	j.mu.Unlock()
	<-b.done
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// write lives as long as the process.
func (j *journal) write() {
	spare := []byte(nil)
	for {
		j.mu.Lock()
		for len(j.waiting.bytes) == 0 {
			j.due.Wait()
		}
		b := j.waiting
		j.waiting = &batch{bytes: spare[:0], done: make(chan struct{})}
		j.mu.Unlock()
		_, err := j.file.Write(b.bytes)
		if err == nil {
			err = syncData(j.file)
		}
		if err != nil {
			j.mu.Lock()
			j.err = err
			j.mu.Unlock()
		}
		spare = b.bytes
		close(b.done)
	}
}

// newDurableProxy passes requests on as newFastHTTPProxy does, and has both sides of the exchange on the disk before it
// goes on: two commits a turn, as the gateway's, without anything that a commit is for.
func newDurableProxy(upstream, dir string) (fasthttp.RequestHandler, error) {
	j, err := newJournal(dir)
	if err != nil {
		return nil, err
	}
	pass := newFastHTTPProxy(upstream)
	return func(ctx *fasthttp.RequestCtx) {
		err := j.append(ctx.PostBody())
		if err == nil {
			pass(ctx)
			err = j.append(ctx.Response.Body())
		}
		if err != nil {
			ctx.Error("the journal failed", fasthttp.StatusInternalServerError)
		}
	}, nil
}
