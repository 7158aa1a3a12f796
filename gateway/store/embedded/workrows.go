package embedded

import (
	"context"
	"fmt"

	"turnout/gateway/store"
)

// workRows are the conversations of one partition whose row of work stands on the disk. The row is put with the step that
// first leaves work and stays when the work is done, as the next message would put it again. A hand goes round the rows
// with each commit of the partition and takes away those of conversations that have been idle for a while. So there may be
// rows of conversations without work; there is no work without its row.
type workRows struct {
	rows []workRow
	at   map[store.Ref]int // place in rows
	hand int
}

type workRow struct {
	ref store.Ref
	// idle is since when the conversation has no work, ms; 0 while it has some, and after a start while nobody knows.
	idle int64
}

const (
	// idleRow is how long a row is kept for a conversation that has no work, ms.
	idleRow = 10 * 60 * 1000
	// sweptRows is how many rows the hand passes in one commit.
	sweptRows = 2
)

func (w *workRows) has(r store.Ref) bool {
	_, ok := w.at[r]
	return ok
}

// set notes that the row stands on the disk, and since when the conversation is idle.
func (w *workRows) set(r store.Ref, idle int64) {
	if i, ok := w.at[r]; ok {
		w.rows[i].idle = idle
		return
	}
	if w.at == nil {
		w.at = map[store.Ref]int{}
	}
	w.at[r] = len(w.rows)
	w.rows = append(w.rows, workRow{ref: r, idle: idle})
}

// remove notes that the row is gone.
func (w *workRows) remove(r store.Ref) {
	i, ok := w.at[r]
	if !ok {
		return
	}
	last := len(w.rows) - 1
	w.rows[i] = w.rows[last]
	w.at[w.rows[i].ref] = i
	w.rows[last] = workRow{}
	w.rows = w.rows[:last]
	delete(w.at, r)
}

// sweep moves the hand and appends to gone the rows under it that can be taken away, but not that of except. It leaves
// them in place: whoever takes one away on the disk removes it then.
func (w *workRows) sweep(gone []store.Ref, now int64, except store.Ref) []store.Ref {
	for range min(sweptRows, len(w.rows)) {
		w.hand = (w.hand + 1) % len(w.rows)
		if r := w.rows[w.hand]; r.idle != 0 && now-r.idle >= idleRow && r.ref != except {
			gone = append(gone, r.ref)
		}
	}
	return gone
}

// work writes the row of work where the step leaves work and none stands on the disk, and takes away old ones.
func (w *write) work() error {
	rows := &w.p.work
	if w.st.State.Working() && !rows.has(w.st.Ref) {
		if err := w.batch.Set(indexKey(dueWork, 0, w.st.Ref, ""), nil, nil); err != nil {
			return fmt.Errorf("indexing work: %w", err)
		}
	}
	w.swept = rows.sweep(w.swept[:0], w.s.now(), w.st.Ref)
	for _, r := range w.swept {
		if err := w.batch.Delete(indexKey(dueWork, 0, r, ""), nil); err != nil {
			return fmt.Errorf("indexing work: %w", err)
		}
	}
	return nil
}

// showWorkRows notes what work has written, once it is durable.
func (w *write) showWorkRows() {
	rows := &w.p.work
	for _, r := range w.swept {
		rows.remove(r)
	}
	switch {
	case w.st.State.Working():
		rows.set(w.st.Ref, 0)
	case rows.has(w.st.Ref):
		rows.set(w.st.Ref, max(w.s.now(), 1))
	}
}

// working looks whether a conversation whose row was found at the start has work indeed.
func (s *Store) working(ctx context.Context, r store.Ref) (bool, error) {
	p, err := s.lockWrite(ctx, r)
	if err != nil {
		return false, err
	}
	defer s.unlockWrite(p)
	rec, err := s.record(r)
	if err != nil {
		return false, err
	}
	if rec == nil || !rec.state.Working() {
		s.work.remove(dueKey{ref: r})
		if p.work.has(r) {
			p.work.set(r, max(s.now(), 1))
		}
		return false, nil
	}
	s.work.confirm(dueKey{ref: r})
	return true, nil
}
